package vsphere

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// toSpec reads a guest's configuration.
func toSpec(c *types.VirtualMachineConfigInfo, networks map[string]string) *vm.Spec {
	s := &vm.Spec{
		Name: c.Name, UUID: c.Uuid, GuestID: c.GuestId, Firmware: c.Firmware, Version: c.Version, Annotation: c.Annotation,
		CPUs: int(c.Hardware.NumCPU), CoresPerSocket: cores(c.Hardware.NumCoresPerSocket), MemoryMB: int64(c.Hardware.MemoryMB),
		CPUHotAdd: truth(c.CpuHotAddEnabled), MemoryHotAdd: truth(c.MemoryHotAddEnabled),
	}
	s.Home, _ = vm.ParsePath(c.Files.VmPathName)
	readScheduler(c, &s.Scheduler)
	r := &reader{s: s, networks: networks}
	for _, d := range c.Hardware.Device {
		r.device(d)
	}
	for _, e := range c.ExtraConfig {
		o := e.GetOptionValue()
		s.Extra = append(s.Extra, vm.Setting{Key: o.Key, Value: fmt.Sprint(o.Value)})
	}
	readBoot(c, s)
	return s
}

func truth(b *bool) bool { return b != nil && *b }

func readScheduler(c *types.VirtualMachineConfigInfo, s *vm.Scheduler) {
	if a := c.CpuAllocation; a != nil {
		s.CPUReservation, s.CPULimit, s.CPUShares = a.Reservation, a.Limit, shares(a.Shares)
	}
	if a := c.MemoryAllocation; a != nil {
		s.MemReservation, s.MemLimit, s.MemShares = a.Reservation, a.Limit, shares(a.Shares)
	}
	if c.LatencySensitivity != nil {
		s.Latency = string(c.LatencySensitivity.Level)
	}
}

func shares(s *types.SharesInfo) string {
	switch {
	case s == nil:
		return ""
	case s.Level == types.SharesLevelCustom:
		return fmt.Sprint(s.Shares)
	}
	return string(s.Level)
}

// A reader turns devices into those of a Spec. A device without a label gets
// the one that it would have by its place among its kind.
type reader struct {
	s        *vm.Spec
	networks map[string]string
}

func (r *reader) device(d types.BaseVirtualDevice) {
	v := d.GetVirtualDevice()
	switch d := d.(type) {
	case *types.VirtualIDEController:
		r.controller(v.Key, vm.IDE, d.BusNumber)
	case *types.VirtualLsiLogicController:
		r.controller(v.Key, vm.LSILogic, d.BusNumber)
	case *types.VirtualLsiLogicSASController:
		r.controller(v.Key, vm.LSISAS, d.BusNumber)
	case *types.VirtualBusLogicController:
		r.controller(v.Key, vm.BusLogic, d.BusNumber)
	case *types.ParaVirtualSCSIController:
		r.controller(v.Key, vm.PVSCSI, d.BusNumber)
	case *types.VirtualAHCIController:
		r.controller(v.Key, vm.SATA, d.BusNumber)
	case *types.VirtualNVMEController:
		r.controller(v.Key, vm.NVMe, d.BusNumber)
	case *types.VirtualDisk:
		r.disk(d)
	case *types.VirtualCdrom:
		r.cdrom(d)
	case *types.VirtualSerialPort:
		r.serial(d)
	case types.BaseVirtualEthernetCard:
		r.nic(d)
	}
}

func (r *reader) controller(key int32, bus vm.Bus, n int32) {
	r.s.Controllers = append(r.s.Controllers, vm.Controller{Key: key, Bus: bus, Number: int(n)})
}

func label(v *types.VirtualDevice, kind string, n int) string {
	if v.DeviceInfo != nil {
		if l := v.DeviceInfo.GetDescription().Label; l != "" {
			return l
		}
	}
	return fmt.Sprintf("%s %d", kind, n+1)
}

func unit(v *types.VirtualDevice) int {
	if v.UnitNumber == nil {
		return 0
	}
	return int(*v.UnitNumber)
}

func (r *reader) disk(d *types.VirtualDisk) {
	out := vm.Disk{
		Key: d.Key, Label: label(&d.VirtualDevice, "Hard disk", len(r.s.Disks)), Controller: d.ControllerKey, Unit: unit(&d.VirtualDevice),
		KB: d.CapacityInKB, Format: vm.ZeroedThick,
	}
	if d.CapacityInBytes > 0 {
		out.KB = d.CapacityInBytes / 1024
	}
	if b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		out.Path, _ = vm.ParsePath(b.GetVirtualDeviceFileBackingInfo().FileName)
	}
	switch b := d.Backing.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		out.Mode = b.DiskMode
		switch {
		case truth(b.ThinProvisioned):
			out.Format = vm.Thin
		case truth(b.EagerlyScrub):
			out.Format = vm.EagerZeroedThick
		}
		if b.Parent != nil {
			if p, err := vm.ParsePath(b.Parent.FileName); err == nil {
				out.Parent = &p
			}
		}
	case *types.VirtualDiskSeSparseBackingInfo:
		out.Mode, out.Format = b.DiskMode, vm.Thin
		if b.Parent != nil {
			if p, err := vm.ParsePath(b.Parent.FileName); err == nil {
				out.Parent = &p
			}
		}
	}
	r.s.Disks = append(r.s.Disks, out)
}

func (r *reader) cdrom(d *types.VirtualCdrom) {
	out := vm.CDROM{Key: d.Key, Label: label(&d.VirtualDevice, "CD/DVD drive", len(r.s.CDROMs)), Controller: d.ControllerKey, Unit: unit(&d.VirtualDevice)}
	if b, ok := d.Backing.(*types.VirtualCdromIsoBackingInfo); ok {
		out.ISO, _ = vm.ParsePath(b.FileName)
	}
	if d.Connectable != nil {
		out.Connected = d.Connectable.StartConnected
	}
	r.s.CDROMs = append(r.s.CDROMs, out)
}

func (r *reader) nic(d types.BaseVirtualEthernetCard) {
	c := d.GetVirtualEthernetCard()
	out := vm.NIC{Key: c.Key, Label: label(&c.VirtualDevice, "Network adapter", len(r.s.NICs)), MAC: strings.ToLower(c.MacAddress), MACType: strings.ToLower(c.AddressType), Model: nicModel(d)}
	switch b := c.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		out.Network = b.DeviceName
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		out.Network = r.networks[b.Port.PortgroupKey]
	}
	if c.Connectable != nil {
		out.Connected = c.Connectable.StartConnected
	}
	r.s.NICs = append(r.s.NICs, out)
}

func nicModel(d types.BaseVirtualEthernetCard) vm.NICModel {
	switch d.(type) {
	case *types.VirtualE1000e:
		return vm.E1000e
	case *types.VirtualVmxnet3, *types.VirtualVmxnet3Vrdma:
		return vm.VMXNet3
	case *types.VirtualVmxnet2:
		return vm.VMXNet2
	case *types.VirtualVmxnet:
		return vm.VMXNet
	case *types.VirtualPCNet32:
		return vm.PCNet32
	}
	return vm.E1000
}

// readBoot reads the order of the boot options, one word a kind of device,
// and where there is none that of the key that old BIOS guests go by.
func readBoot(c *types.VirtualMachineConfigInfo, s *vm.Spec) {
	if o := c.BootOptions; o != nil {
		s.EnterSetup = truth(o.EnterBIOSSetup)
		for _, b := range o.BootOrder {
			var kind vm.BootDevice
			switch b.(type) {
			case *types.VirtualMachineBootOptionsBootableEthernetDevice:
				kind = vm.BootNet
			case *types.VirtualMachineBootOptionsBootableDiskDevice:
				kind = vm.BootDisk
			case *types.VirtualMachineBootOptionsBootableCdromDevice:
				kind = vm.BootCD
			case *types.VirtualMachineBootOptionsBootableFloppyDevice:
				kind = vm.BootFloppy
			default:
				continue
			}
			if !slices.Contains(s.Boot, kind) {
				s.Boot = append(s.Boot, kind)
			}
		}
	}
	if classes, ok := s.Setting(vm.BootKey); ok && len(s.Boot) == 0 {
		if list, ok := strings.CutPrefix(classes, "allow:"); ok {
			if o, _, err := vm.ParseBootOrder(list); err == nil {
				s.Boot = o.Devices
			}
		}
	}
}

func cores(n *int32) int {
	if n == nil {
		return 0
	}
	return int(*n)
}
