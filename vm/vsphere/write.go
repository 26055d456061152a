package vsphere

import (
	"context"
	"fmt"
	"strconv"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// A writer turns devices of a Spec or a Change into those of a request.
type writer struct {
	c       *Conn
	spec    types.VirtualMachineConfigSpec
	devices object.VirtualDeviceList // what the guest has now
	net     plugs
}

func (w *writer) add(op types.VirtualDeviceConfigSpecOperation, file types.VirtualDeviceConfigSpecFileOperation, d types.BaseVirtualDevice) {
	w.spec.DeviceChange = append(w.spec.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: op, FileOperation: file, Device: d})
}

const (
	opAdd    = types.VirtualDeviceConfigSpecOperationAdd
	opEdit   = types.VirtualDeviceConfigSpecOperationEdit
	opRemove = types.VirtualDeviceConfigSpecOperationRemove
)

// controllerKey is how a request names a controller: the two of IDE are there
// in every guest, others that are to be made have a negative key.
func (w *writer) controllerKey(key int32) int32 {
	if key == 200 || key == 201 || w.devices.FindByKey(key) != nil {
		return key
	}
	return -key
}

func (w *writer) controller(k vm.Controller) error {
	if k.Bus == vm.IDE || w.devices.FindByKey(k.Key) != nil {
		return nil
	}
	base := types.VirtualController{VirtualDevice: types.VirtualDevice{Key: -k.Key}, BusNumber: int32(k.Number)}
	scsi := types.VirtualSCSIController{VirtualController: base, SharedBus: types.VirtualSCSISharingNoSharing}
	switch k.Bus {
	case vm.LSILogic:
		w.add(opAdd, "", &types.VirtualLsiLogicController{VirtualSCSIController: scsi})
	case vm.LSISAS:
		w.add(opAdd, "", &types.VirtualLsiLogicSASController{VirtualSCSIController: scsi})
	case vm.BusLogic:
		w.add(opAdd, "", &types.VirtualBusLogicController{VirtualSCSIController: scsi})
	case vm.PVSCSI:
		w.add(opAdd, "", &types.ParaVirtualSCSIController{VirtualSCSIController: scsi})
	case vm.SATA:
		w.add(opAdd, "", &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: base}})
	case vm.NVMe:
		w.add(opAdd, "", &types.VirtualNVMEController{VirtualController: base})
	default:
		return vm.Errorf(vm.ErrInvalid, "controller %q is unknown", k.Bus)
	}
	return nil
}

// disk adds a disk. Both of its sizes are set: one alone means nothing to some
// versions.
func (w *writer) disk(d vm.Disk) {
	unit := int32(d.Unit)
	mode := d.Mode
	if mode == "" {
		mode = string(types.VirtualDiskModePersistent)
	}
	b := &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: d.Path.String()},
		DiskMode:                     mode,
	}
	if d.New {
		b.ThinProvisioned = types.NewBool(d.Format == vm.Thin || d.Format == "")
		b.EagerlyScrub = types.NewBool(d.Format == vm.EagerZeroedThick)
	}
	if d.Parent != nil {
		b.ThinProvisioned, b.EagerlyScrub = nil, nil
		b.Parent = &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: d.Parent.String()},
			DiskMode:                     mode,
		}
	}
	file := types.VirtualDeviceConfigSpecFileOperation("")
	if d.New {
		file = types.VirtualDeviceConfigSpecFileOperationCreate
	}
	key := d.Key
	if key > 0 {
		key = -key
	}
	w.add(opAdd, file, &types.VirtualDisk{
		VirtualDevice:   types.VirtualDevice{Key: key, Backing: b, ControllerKey: w.controllerKey(d.Controller), UnitNumber: &unit},
		CapacityInKB:    d.KB,
		CapacityInBytes: d.KB * 1024,
	})
}

func (w *writer) cdrom(cd vm.CDROM) {
	unit := int32(cd.Unit)
	w.add(opAdd, "", &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{
		Key: cd.Key, ControllerKey: w.controllerKey(cd.Controller), UnitNumber: &unit, Backing: opticalBacking(cd), Connectable: opticalPlug(cd),
	}})
}

// opticalBacking is an image, or the drive of whoever looks at the console.
func opticalBacking(cd vm.CDROM) types.BaseVirtualDeviceBackingInfo {
	if cd.ISO.IsZero() {
		return &types.VirtualCdromRemoteAtapiBackingInfo{VirtualDeviceRemoteDeviceBackingInfo: types.VirtualDeviceRemoteDeviceBackingInfo{UseAutoDetect: types.NewBool(false)}}
	}
	return &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: cd.ISO.String()}}
}

func opticalPlug(cd vm.CDROM) *types.VirtualDeviceConnectInfo {
	return &types.VirtualDeviceConnectInfo{StartConnected: cd.Connected, Connected: cd.Connected, AllowGuestControl: true}
}

func (w *writer) nic(ctx context.Context, n vm.NIC) error {
	backing, err := w.net(ctx, n.Network)
	if err != nil {
		return err
	}
	card := types.VirtualEthernetCard{
		VirtualDevice: types.VirtualDevice{Key: n.Key, Backing: backing,
			Connectable: &types.VirtualDeviceConnectInfo{StartConnected: n.Connected, Connected: n.Connected, AllowGuestControl: true}},
		WakeOnLanEnabled: types.NewBool(true),
	}
	if card.Key > 0 {
		card.Key = -card.Key
	}
	setMAC(&card, n)
	d, err := nicDevice(n.Model, card)
	if err != nil {
		return err
	}
	w.add(opAdd, "", d)
	return nil
}

func setMAC(card *types.VirtualEthernetCard, n vm.NIC) {
	card.AddressType, card.MacAddress = string(types.VirtualEthernetCardMacTypeGenerated), ""
	if n.MAC != "" {
		card.AddressType, card.MacAddress = string(types.VirtualEthernetCardMacTypeManual), n.MAC
	}
}

func nicDevice(m vm.NICModel, card types.VirtualEthernetCard) (types.BaseVirtualDevice, error) {
	switch m {
	case vm.E1000, "":
		return &types.VirtualE1000{VirtualEthernetCard: card}, nil
	case vm.E1000e:
		return &types.VirtualE1000e{VirtualEthernetCard: card}, nil
	case vm.VMXNet3:
		return &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}, nil
	case vm.VMXNet2:
		return &types.VirtualVmxnet2{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}, nil
	case vm.VMXNet:
		return &types.VirtualVmxnet{VirtualEthernetCard: card}, nil
	case vm.PCNet32, vm.Flexible: // flexible is a pcnet32 that becomes a vmxnet when its driver asks
		return &types.VirtualPCNet32{VirtualEthernetCard: card}, nil
	}
	return nil, vm.Errorf(vm.ErrInvalid, "network card model %q is unknown", m)
}

// create is the request that makes a guest.
func (w *writer) create(ctx context.Context, s *vm.Spec) error {
	w.spec = types.VirtualMachineConfigSpec{
		Name: s.Name, Uuid: s.UUID, GuestId: s.GuestID, Firmware: s.Firmware, Version: s.Version, Annotation: s.Annotation,
		NumCPUs: int32(s.CPUs), MemoryMB: s.MemoryMB,
		Files: &types.VirtualMachineFileInfo{VmPathName: s.Home.String()},
	}
	if s.CoresPerSocket > 1 {
		n := int32(s.CoresPerSocket)
		w.spec.NumCoresPerSocket = &n
	}
	if s.CPUHotAdd {
		w.spec.CpuHotAddEnabled = &s.CPUHotAdd
	}
	if s.MemoryHotAdd {
		w.spec.MemoryHotAddEnabled = &s.MemoryHotAdd
	}
	w.scheduler(s.Scheduler)
	for _, k := range s.Controllers {
		if err := w.controller(k); err != nil {
			return err
		}
	}
	for _, cd := range s.CDROMs {
		w.cdrom(cd)
	}
	for _, d := range s.Disks {
		w.disk(d)
	}
	for _, n := range s.NICs {
		if err := w.nic(ctx, n); err != nil {
			return err
		}
	}
	w.extra(s.Extra)
	return nil
}

func (w *writer) extra(list []vm.Setting) {
	for _, e := range list {
		w.spec.ExtraConfig = append(w.spec.ExtraConfig, &types.OptionValue{Key: e.Key, Value: e.Value})
	}
}

func (w *writer) scheduler(s vm.Scheduler) {
	if s.CPUReservation != nil || s.CPULimit != nil || s.CPUShares != "" {
		w.spec.CpuAllocation = &types.ResourceAllocationInfo{Reservation: s.CPUReservation, Limit: s.CPULimit, Shares: sharesInfo(s.CPUShares)}
	}
	if s.MemReservation != nil || s.MemLimit != nil || s.MemShares != "" {
		w.spec.MemoryAllocation = &types.ResourceAllocationInfo{Reservation: s.MemReservation, Limit: s.MemLimit, Shares: sharesInfo(s.MemShares)}
	}
	if s.Latency != "" {
		w.spec.LatencySensitivity = &types.LatencySensitivity{Level: types.LatencySensitivitySensitivityLevel(s.Latency)}
	}
}

func sharesInfo(s string) *types.SharesInfo {
	if s == "" {
		return nil
	}
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		return &types.SharesInfo{Level: types.SharesLevelCustom, Shares: int32(n)}
	}
	return &types.SharesInfo{Level: types.SharesLevel(s)}
}

// change is the request that does all of a change at once.
func (w *writer) change(ctx context.Context, c *vm.Change) error {
	if c.CPUs != nil {
		w.spec.NumCPUs = int32(*c.CPUs)
	}
	if c.MemoryMB != nil {
		w.spec.MemoryMB = *c.MemoryMB
	}
	w.spec.GuestId, w.spec.Uuid = c.GuestID, c.UUID
	if c.Annotation != nil {
		w.spec.Annotation = *c.Annotation
	}
	w.spec.CpuHotAddEnabled, w.spec.MemoryHotAddEnabled = c.CPUHotAdd, c.MemoryHotAdd
	w.scheduler(c.Scheduler)
	w.extra(c.Extra)
	w.boot(c)
	for _, step := range []func(context.Context, *vm.Change) error{w.removals, w.edits, w.additions, w.serials} {
		if err := step(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// device finds a device of the guest as it is: a request that changes one
// must carry all of it.
func (w *writer) device(key int32, name string) (types.BaseVirtualDevice, error) {
	if d := w.devices.FindByKey(key); d != nil {
		return d, nil
	}
	return nil, vm.Errorf(vm.ErrNotFound, "%s is no longer there", name)
}

func (w *writer) removals(_ context.Context, c *vm.Change) error {
	for _, r := range c.RemoveDisks {
		d, err := w.device(r.Disk.Key, r.Disk.Label)
		if err != nil {
			return err
		}
		file := types.VirtualDeviceConfigSpecFileOperation("")
		if r.Purge {
			file = types.VirtualDeviceConfigSpecFileOperationDestroy
		}
		w.add(opRemove, file, d)
	}
	for _, n := range c.RemoveNICs {
		d, err := w.device(n.Key, n.Label)
		if err != nil {
			return err
		}
		w.add(opRemove, "", d)
	}
	return nil
}

func (w *writer) edits(ctx context.Context, c *vm.Change) error {
	for _, g := range c.GrowDisks {
		d, err := w.device(g.Key, g.Label)
		if err != nil {
			return err
		}
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			return vm.Errorf(vm.ErrInvalid, "%s is no disk", g.Label)
		}
		disk.CapacityInKB, disk.CapacityInBytes = g.KB, g.KB*1024
		w.add(opEdit, "", disk)
	}
	for _, n := range c.EditNICs {
		if err := w.editNIC(ctx, n); err != nil {
			return err
		}
	}
	if c.EditCDROM == nil {
		return nil
	}
	d, err := w.device(c.EditCDROM.Key, c.EditCDROM.Label)
	if err != nil {
		return err
	}
	v := d.GetVirtualDevice()
	v.Backing, v.Connectable = opticalBacking(*c.EditCDROM), opticalPlug(*c.EditCDROM)
	w.add(opEdit, "", d)
	return nil
}

func (w *writer) editNIC(ctx context.Context, n vm.NIC) error {
	d, err := w.device(n.Key, n.Label)
	if err != nil {
		return err
	}
	card, ok := d.(types.BaseVirtualEthernetCard)
	if !ok {
		return vm.Errorf(vm.ErrInvalid, "%s is no network card", n.Label)
	}
	if n.Network != "" {
		if card.GetVirtualEthernetCard().Backing, err = w.net(ctx, n.Network); err != nil {
			return err
		}
	}
	if n.MAC != "" && n.MACType == "manual" {
		setMAC(card.GetVirtualEthernetCard(), n)
	}
	w.add(opEdit, "", d)
	return nil
}

func (w *writer) additions(ctx context.Context, c *vm.Change) error {
	for _, k := range c.AddControllers {
		if err := w.controller(k); err != nil {
			return err
		}
	}
	for _, d := range c.AddDisks {
		w.disk(d)
	}
	if c.AddCDROM != nil {
		w.cdrom(*c.AddCDROM)
	}
	for _, n := range c.AddNICs {
		if err := w.nic(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// boot sets the firmware's boot options. An order names devices, by key, in
// the order in which the guest has them.
func (w *writer) boot(c *vm.Change) {
	if !c.SetBoot && c.Setup == nil {
		return
	}
	o := &types.VirtualMachineBootOptions{EnterBIOSSetup: c.Setup}
	w.spec.BootOptions = o
	if !c.SetBoot {
		return
	}
	for _, kind := range c.Boot {
		o.BootOrder = append(o.BootOrder, w.bootable(kind)...)
	}
	if len(o.BootOrder) == 0 {
		// An empty element resets the order; an empty list would change nothing.
		o.BootOrder = []types.BaseVirtualMachineBootOptionsBootableDevice{&types.VirtualMachineBootOptionsBootableDevice{}}
	}
}

func (w *writer) bootable(kind vm.BootDevice) []types.BaseVirtualMachineBootOptionsBootableDevice {
	var out []types.BaseVirtualMachineBootOptionsBootableDevice
	switch kind {
	case vm.BootCD:
		return append(out, &types.VirtualMachineBootOptionsBootableCdromDevice{})
	case vm.BootFloppy:
		return append(out, &types.VirtualMachineBootOptionsBootableFloppyDevice{})
	}
	for _, d := range w.devices {
		switch d := d.(type) {
		case *types.VirtualDisk:
			if kind == vm.BootDisk {
				out = append(out, &types.VirtualMachineBootOptionsBootableDiskDevice{DeviceKey: d.Key})
			}
		case types.BaseVirtualEthernetCard:
			if kind == vm.BootNet {
				out = append(out, &types.VirtualMachineBootOptionsBootableEthernetDevice{DeviceKey: d.GetVirtualEthernetCard().Key})
			}
		}
	}
	return out
}

// plugs finds what a card on a network is plugged into, by the network's name.
type plugs func(ctx context.Context, name string) (types.BaseVirtualDeviceBackingInfo, error)

// network finds it among the networks of a host, which it reads once.
func (c *Conn) network(host types.ManagedObjectReference) plugs {
	var known map[string]types.ManagedObjectReference
	return func(ctx context.Context, name string) (types.BaseVirtualDeviceBackingInfo, error) {
		if known == nil {
			var err error
			if known, err = c.networksOf(ctx, host); err != nil {
				return nil, err
			}
		}
		ref, ok := known[name]
		if !ok {
			return nil, vm.Errorf(vm.ErrNotFound, "the host has no network %q", name)
		}
		if ref.Type == "Network" {
			return &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: name}}, nil
		}
		n, ok := object.NewReference(c.vc, ref).(object.NetworkReference)
		if !ok {
			return nil, vm.Errorf(vm.ErrUnsupported, "network %q is a %s", name, ref.Type)
		}
		b, err := n.EthernetCardBackingInfo(ctx)
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", name, wrap(err))
		}
		return b, nil
	}
}
