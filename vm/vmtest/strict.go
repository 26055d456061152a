package vmtest

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A checker looks at a request as a host would, and gives new devices the
// keys and labels that a host gives them.
type checker struct {
	ctx  *simulator.Context
	host *simulator.HostSystem
	on   bool // the guest runs
	w    *World
	have object.VirtualDeviceList
	keys map[int32]int32 // of the request to real
	cfg  *types.VirtualMachineConfigInfo
}

func (c *checker) check(spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	for _, f := range []func(*types.VirtualMachineConfigSpec) types.BaseMethodFault{c.numbers, c.devices} {
		if fault := f(spec); fault != nil {
			return fault
		}
	}
	return nil
}

func (c *checker) numbers(s *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	if s.MemoryMB != 0 && s.MemoryMB%4 != 0 || s.MemoryMB < 0 {
		return invalid("configSpec.memoryMB")
	}
	if s.NumCPUs < 0 || s.NumCPUs > 768 {
		return invalid("configSpec.numCPUs")
	}
	if s.GuestId != "" && !slices.Contains(types.VirtualMachineGuestOsIdentifier("").Strings(), s.GuestId) {
		return invalid("configSpec.guestId")
	}
	if u := strings.ReplaceAll(s.Uuid, "-", ""); s.Uuid != "" && (len(u) != 32 || strings.Trim(strings.ToLower(u), "0123456789abcdef") != "") {
		return invalid("configSpec.uuid")
	}
	for _, a := range []*types.ResourceAllocationInfo{s.CpuAllocation, s.MemoryAllocation} {
		if a != nil && a.Limit != nil && a.Reservation != nil && *a.Limit >= 0 && *a.Limit < *a.Reservation {
			return invalid("configSpec.allocation.limit")
		}
	}
	if c.cfg == nil || !c.on {
		return nil
	}
	hot := func(b *bool) bool { return b != nil && *b }
	if s.MemoryMB != 0 && int32(s.MemoryMB) != c.cfg.Hardware.MemoryMB && (int32(s.MemoryMB) < c.cfg.Hardware.MemoryMB || !hot(c.cfg.MemoryHotAddEnabled)) ||
		s.NumCPUs != 0 && s.NumCPUs != c.cfg.Hardware.NumCPU && (s.NumCPUs < c.cfg.Hardware.NumCPU || !hot(c.cfg.CpuHotAddEnabled)) ||
		s.CpuHotAddEnabled != nil || s.MemoryHotAddEnabled != nil || s.GuestId != "" || s.Uuid != "" {
		return wrongState(types.VirtualMachinePowerStatePoweredOn, types.VirtualMachinePowerStatePoweredOff)
	}
	return nil
}

func (c *checker) devices(s *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	guest, version := s.GuestId, s.Version
	if c.cfg != nil && guest == "" {
		guest = c.cfg.GuestId
	}
	if c.cfg != nil && version == "" {
		version = c.cfg.Version
	}
	for i, change := range s.DeviceChange {
		if d := change.GetVirtualDeviceConfigSpec(); d.Operation == types.VirtualDeviceConfigSpecOperationAdd && !offered(d.Device, guest, versionNumber(version)) {
			return &types.DeviceUnsupportedForVmPlatform{InvalidDeviceSpec: types.InvalidDeviceSpec{DeviceIndex: int32(i)}}
		}
		d := change.GetVirtualDeviceConfigSpec()
		var f types.BaseMethodFault
		switch d.Operation {
		case types.VirtualDeviceConfigSpecOperationAdd:
			f = c.add(i, d)
		case types.VirtualDeviceConfigSpecOperationEdit:
			f = c.edit(i, d)
		case types.VirtualDeviceConfigSpecOperationRemove:
			f = c.remove(i, d)
		default:
			f = badDevice(i, "operation")
		}
		if f != nil {
			return f
		}
	}
	nics := 0
	for _, d := range c.have {
		if _, ok := d.(types.BaseVirtualEthernetCard); ok {
			nics++
		}
	}
	if nics > 10 {
		return &types.TooManyDevices{}
	}
	return nil
}

func (c *checker) needOff() types.BaseMethodFault {
	return wrongState(types.VirtualMachinePowerStatePoweredOn, types.VirtualMachinePowerStatePoweredOff)
}

func (c *checker) isIDE(key int32) bool {
	_, ok := c.have.FindByKey(key).(*types.VirtualIDEController)
	return ok
}

func (c *checker) remove(i int, d *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	key := d.Device.GetVirtualDevice().Key
	have := c.have.FindByKey(key)
	if have == nil {
		return badDevice(i, "device.key")
	}
	if _, serial := have.(*types.VirtualSerialPort); c.on && (serial || c.isIDE(have.GetVirtualDevice().ControllerKey)) {
		return c.needOff()
	}
	c.have = slices.DeleteFunc(slices.Clone(c.have), func(x types.BaseVirtualDevice) bool { return x.GetVirtualDevice().Key == key })
	return nil
}

func (c *checker) edit(i int, d *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	v := d.Device.GetVirtualDevice()
	have := c.have.FindByKey(v.Key)
	if have == nil || fmt.Sprintf("%T", have) != fmt.Sprintf("%T", d.Device) {
		return badDevice(i, "device.key")
	}
	if disk, ok := d.Device.(*types.VirtualDisk); ok {
		old := have.(*types.VirtualDisk)
		if disk.CapacityInKB != old.CapacityInKB && c.on && c.isIDE(v.ControllerKey) {
			return c.needOff()
		}
		if disk.CapacityInBytes != disk.CapacityInKB*1024 {
			return badDevice(i, "device.capacityInBytes")
		}
	}
	if card, ok := d.Device.(types.BaseVirtualEthernetCard); ok {
		if c.on && card.GetVirtualEthernetCard().MacAddress != have.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard().MacAddress {
			return c.needOff()
		}
		return c.card(i, card)
	}
	return nil
}

func (c *checker) add(i int, d *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	v := d.Device.GetVirtualDevice()
	asked := v.Key
	var f types.BaseMethodFault
	switch dev := d.Device.(type) {
	case types.BaseVirtualController:
		f = c.controller(i, dev)
	case *types.VirtualDisk:
		f = c.disk(i, d, dev)
	case *types.VirtualCdrom:
		if f = c.slot(i, v); f == nil {
			c.label(v, unitKey(c.have, v), "CD/DVD drive", 1)
		}
	case *types.VirtualSerialPort:
		f = c.serialPort(i, dev)
	case types.BaseVirtualEthernetCard:
		if f = c.card(i, dev); f == nil {
			c.label(v, 4000, "Network adapter", 1)
		}
	}
	if f != nil {
		return f
	}
	if asked <= 0 && v.Key > 0 {
		c.keys[asked] = v.Key
	}
	c.have = append(slices.Clone(c.have), d.Device)
	return nil
}

// label gives a device the first free key from base on, and the first free
// number for its label.
func (c *checker) label(v *types.VirtualDevice, base int32, kind string, first int) {
	v.Key = base
	for c.have.FindByKey(v.Key) != nil {
		v.Key++
	}
	taken := map[string]bool{}
	for _, d := range c.have {
		if info := d.GetVirtualDevice().DeviceInfo; info != nil {
			taken[info.GetDescription().Label] = true
		}
	}
	n := first
	for taken[fmt.Sprintf("%s %d", kind, n)] {
		n++
	}
	v.DeviceInfo = &types.Description{Label: fmt.Sprintf("%s %d", kind, n)}
}

func (c *checker) controller(i int, dev types.BaseVirtualController) types.BaseMethodFault {
	k := dev.GetVirtualController()
	base, most, kind := int32(0), int32(4), ""
	switch dev.(type) {
	case *types.VirtualIDEController:
		return badDevice(i, "device") // both are there
	case types.BaseVirtualSCSIController:
		base, kind = 1000, "SCSI controller"
	case types.BaseVirtualSATAController:
		base, kind = 15000, "SATA controller"
	case *types.VirtualNVMEController:
		base, kind = 31000, "NVME controller"
	default:
		return nil
	}
	if k.BusNumber < 0 || k.BusNumber >= most || c.have.FindByKey(base+k.BusNumber) != nil {
		return badDevice(i, "device.busNumber")
	}
	asked := k.Key
	k.Key = base + k.BusNumber
	k.DeviceInfo = &types.Description{Label: fmt.Sprintf("%s %d", kind, k.BusNumber)}
	k.ControllerKey = 100
	c.keys[asked] = k.Key
	return nil
}

// slot checks the place that a device asks for.
func (c *checker) slot(i int, v *types.VirtualDevice) types.BaseMethodFault {
	if real, ok := c.keys[v.ControllerKey]; ok {
		v.ControllerKey = real
	}
	ctl := c.have.FindByKey(v.ControllerKey)
	if ctl == nil || v.UnitNumber == nil {
		return badDevice(i, "device.controllerKey")
	}
	most := int32(15)
	switch ctl.(type) {
	case *types.VirtualIDEController:
		if most = 1; c.on {
			return c.needOff()
		}
	case types.BaseVirtualSCSIController:
		if *v.UnitNumber == 7 {
			return badDevice(i, "device.unitNumber")
		}
	case types.BaseVirtualSATAController:
		most = 29
	case *types.VirtualNVMEController:
		most = 14
	default:
		return badDevice(i, "device.controllerKey")
	}
	if *v.UnitNumber < 0 || *v.UnitNumber > most {
		return badDevice(i, "device.unitNumber")
	}
	for _, d := range c.have {
		o := d.GetVirtualDevice()
		if o.ControllerKey == v.ControllerKey && o.UnitNumber != nil && *o.UnitNumber == *v.UnitNumber {
			return badDevice(i, "device.unitNumber")
		}
	}
	return nil
}

// unitKey is the key that a host derives from a device's place.
func unitKey(have object.VirtualDeviceList, v *types.VirtualDevice) int32 {
	u := *v.UnitNumber
	switch ctl := have.FindByKey(v.ControllerKey).(type) {
	case *types.VirtualIDEController:
		return 3000 + 2*ctl.BusNumber + u
	case types.BaseVirtualSCSIController:
		return 2000 + 16*ctl.GetVirtualSCSIController().BusNumber + u
	case types.BaseVirtualSATAController:
		return 16000 + 30*ctl.GetVirtualSATAController().BusNumber + u
	case *types.VirtualNVMEController:
		return 32000 + 15*ctl.BusNumber + u
	}
	return 9000
}

func (c *checker) disk(i int, d *types.VirtualDeviceConfigSpec, disk *types.VirtualDisk) types.BaseMethodFault {
	if f := c.slot(i, &disk.VirtualDevice); f != nil {
		return f
	}
	b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok {
		return badDevice(i, "device.backing")
	}
	if f := c.backing(i, b); f != nil {
		return f
	}
	if ds, _ := splitPath(b.FileName); d.FileOperation != "" && c.w != nil && c.w.readOnly(ds) {
		return &types.CannotCreateFile{FileFault: types.FileFault{File: b.FileName}}
	}
	fresh := d.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate
	if fresh && (disk.CapacityInKB <= 0 || disk.CapacityInBytes != disk.CapacityInKB*1024) {
		return badDevice(i, "device.capacityInKB")
	}
	if fresh && b.Parent == nil && !truth(b.ThinProvisioned) {
		ds, _ := splitPath(b.FileName)
		if free := c.datastore(ds).Summary.FreeSpace; free < disk.CapacityInBytes {
			return &types.NoDiskSpace{FileFault: types.FileFault{File: b.FileName}, Datastore: ds}
		}
	}
	if b.Parent != nil && !fresh {
		return badDevice(i, "device.backing.parent")
	}
	c.label(&disk.VirtualDevice, unitKey(c.have, &disk.VirtualDevice), "Hard disk", 1)
	return nil
}

func truth(b *bool) bool { return b != nil && *b }

func (c *checker) backing(i int, b *types.VirtualDiskFlatVer2BackingInfo) types.BaseMethodFault {
	ds, _ := splitPath(b.FileName)
	if b.FileName != "" && c.datastore(ds) == nil {
		return &types.InvalidDatastorePath{InvalidDatastore: types.InvalidDatastore{Name: ds}, DatastorePath: b.FileName}
	}
	modes := []string{"persistent", "nonpersistent", "undoable", "append", "independent_persistent", "independent_nonpersistent"}
	if !slices.Contains(modes, b.DiskMode) {
		return badDevice(i, "device.backing.diskMode")
	}
	return nil
}

// datastore finds one that the guest's host has mounted.
func (c *checker) datastore(name string) *simulator.Datastore {
	for _, ref := range c.host.Datastore {
		if ds, ok := c.ctx.Map.Get(ref).(*simulator.Datastore); ok && ds.Name == name {
			return ds
		}
	}
	return nil
}

func (c *checker) card(i int, dev types.BaseVirtualEthernetCard) types.BaseMethodFault {
	n := dev.GetVirtualEthernetCard()
	switch b := n.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		if !hasNetwork(c.ctx, c.host, b.DeviceName) {
			return &types.InvalidDeviceBacking{InvalidDeviceSpec: types.InvalidDeviceSpec{InvalidVmConfig: types.InvalidVmConfig{Property: "deviceChange.device.backing"}, DeviceIndex: int32(i)}}
		}
	case nil:
		return badDevice(i, "device.backing")
	}
	if n.AddressType == string(types.VirtualEthernetCardMacTypeManual) {
		hw, err := net.ParseMAC(n.MacAddress)
		if err != nil || len(hw) != 6 || hw[0]&1 != 0 {
			return badDevice(i, "device.macAddress")
		}
	}
	return nil
}

func hasNetwork(ctx *simulator.Context, h *simulator.HostSystem, name string) bool {
	for _, ref := range h.Network {
		if e := ctx.Map.FindByName(name, []types.ManagedObjectReference{ref}); e != nil {
			return true
		}
	}
	return false
}
