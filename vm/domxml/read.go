package domxml

import (
	"fmt"
	"strconv"
	"strings"

	"margay/vm"
)

func (d *domain) spec() (*vm.Spec, error) {
	if strings.TrimSpace(d.Name) == "" {
		return nil, vm.Errorf(vm.ErrInvalid, "domain: it has no name")
	}
	s := &vm.Spec{Name: strings.TrimSpace(d.Name), UUID: strings.ToLower(strings.TrimSpace(d.UUID)), Annotation: d.Description, Firmware: d.OS.Firmware,
		Controllers: []vm.Controller{{Key: 200, Bus: vm.IDE}, {Key: 201, Bus: vm.IDE, Number: 1}}}
	if s.UUID != "" {
		if err := vm.CheckUUID(s.UUID); err != nil {
			return nil, err
		}
	}
	for _, step := range []func(*vm.Spec) error{d.sizes, d.claims, d.kept, d.controllers, d.disks, d.interfaces} {
		if err := step(s); err != nil {
			return nil, err
		}
	}
	for _, b := range d.OS.Boot {
		switch b.Dev {
		case "network":
			s.Boot = append(s.Boot, vm.BootNet)
		case "hd":
			s.Boot = append(s.Boot, vm.BootDisk)
		case "cdrom":
			s.Boot = append(s.Boot, vm.BootCD)
		case "fd":
			s.Boot = append(s.Boot, vm.BootFloppy)
		}
	}
	return s, nil
}

func (d *domain) sizes(s *vm.Spec) error {
	kb, err := d.Memory.kib()
	if err != nil {
		return err
	}
	s.MemoryMB = (kb + 1023) / 1024
	if s.MemoryMB%4 != 0 { // ESXi wants a multiple of 4 MB
		s.MemoryMB += 4 - s.MemoryMB%4
	}
	n, err := strconv.Atoi(strings.TrimSpace(d.VCPU.Value))
	if err != nil || n < 1 || n > 1024 {
		return vm.Errorf(vm.ErrInvalid, "domain: %q processors", d.VCPU.Value)
	}
	s.CPUs = n
	if d.CPU != nil && d.CPU.Topology != nil {
		t := d.CPU.Topology
		if t.Cores < 1 || t.Sockets*t.Cores*max(1, t.Threads) != n {
			return vm.Errorf(vm.ErrInvalid, "domain: %d sockets of %d cores are not %d processors", t.Sockets, t.Cores, n)
		}
		s.CoresPerSocket = t.Cores
	}
	return nil
}

func (d *domain) claims(s *vm.Spec) error {
	if d.CPUTune != nil && d.CPUTune.Shares != "" {
		n, err := strconv.ParseInt(strings.TrimSpace(d.CPUTune.Shares), 10, 32)
		if err != nil || n < 0 {
			return vm.Errorf(vm.ErrInvalid, "domain: shares %q", d.CPUTune.Shares)
		}
		s.Scheduler.CPUShares = strconv.FormatInt(n, 10)
		for _, level := range []string{"low", "normal", "high"} {
			if unit, _ := shareUnit(level); unit*int64(s.CPUs) == n {
				s.Scheduler.CPUShares = level
			}
		}
	}
	if d.MemTune != nil && d.MemTune.Min != nil {
		kb, err := d.MemTune.Min.kib()
		if err != nil {
			return err
		}
		mb := kb / 1024
		s.Scheduler.MemReservation = &mb
	}
	return nil
}

// kept takes back what libvirt has no word for.
func (d *domain) kept(s *vm.Spec) error {
	s.GuestID = "otherGuest"
	if d.OS.Type.Arch == "x86_64" {
		s.GuestID = "otherGuest64"
	}
	if d.Metadata == nil || d.Metadata.Guest == nil {
		return nil
	}
	g := d.Metadata.Guest
	if g.ID != "" {
		s.GuestID = g.ID
	}
	s.Version, s.CPUHotAdd, s.MemoryHotAdd, s.EnterSetup = g.Version, g.CPUHot, g.MemHot, g.Setup
	s.Scheduler.CPULimit, s.Scheduler.CPUReservation, s.Scheduler.MemLimit = g.Limit, g.Reserve, g.MemLimit
	s.Scheduler.MemShares, s.Scheduler.Latency = g.MemShare, g.Latency
	for _, e := range g.Settings {
		s.Extra = append(s.Extra, vm.Setting{Key: e.Key, Value: e.Value})
	}
	return nil
}

func (d *domain) controllers(s *vm.Spec) error {
	for _, c := range d.Devices.Controllers {
		var bus vm.Bus
		switch c.Type {
		case "scsi":
			bus = vm.LSILogic // also "auto", where nothing says otherwise
			if c.Model != "" && c.Model != "auto" {
				var err error
				if bus, err = vm.ParseBus(c.Model); err != nil || !bus.SCSI() {
					return vm.Errorf(vm.ErrInvalid, "domain: SCSI controller model %q; auto, buslogic, lsilogic, lsisas1068 or vmpvscsi", c.Model)
				}
			}
		case "sata":
			bus = vm.SATA
		case "nvme":
			bus = vm.NVMe
		default:
			continue
		}
		if err := addController(s, bus, c.Index); err != nil {
			return err
		}
	}
	return nil
}

func addController(s *vm.Spec, bus vm.Bus, n int) error {
	if n < 0 || n > 3 {
		return vm.Errorf(vm.ErrInvalid, "domain: controller %d; ESXi has numbers 0 to 3", n)
	}
	if s.Controller(bus.ControllerKey(n)) == nil {
		s.Controllers = append(s.Controllers, vm.Controller{Key: bus.ControllerKey(n), Bus: bus, Number: n})
	}
	return nil
}

func (d *domain) disks(s *vm.Spec) error {
	for i := range d.Devices.Disks {
		if err := d.Devices.Disks[i].read(s); err != nil {
			return err
		}
	}
	return nil
}

func (k *disk) read(s *vm.Spec) error {
	if k.Device == "floppy" || k.Device == "lun" {
		return nil
	}
	bus, key, unit, err := k.place(s)
	if err != nil {
		return err
	}
	file := ""
	if k.Source != nil {
		file = k.Source.File
	}
	var p vm.Path
	if file != "" {
		if p, err = vm.ParseVolume(file); err != nil {
			p = vm.Path{File: file}
		}
	}
	if k.Device == "cdrom" {
		cd := vm.CDROM{Key: deviceKey(bus, key, unit), Label: fmt.Sprintf("CD/DVD drive %d", len(s.CDROMs)+1), Controller: key, Unit: unit, ISO: p}
		cd.Connected = file != "" && k.Source.StartupPol == ""
		s.CDROMs = append(s.CDROMs, cd)
		return nil
	}
	if file == "" {
		return vm.Errorf(vm.ErrInvalid, "domain: disk %s has no file", k.Target.Dev)
	}
	s.Disks = append(s.Disks, vm.Disk{Key: deviceKey(bus, key, unit), Label: fmt.Sprintf("Hard disk %d", len(s.Disks)+1), Controller: key, Unit: unit, Path: p})
	return nil
}

// place finds where a disk hangs: by its address, else by its name. A disk on
// a controller that is not listed brings it along; a driver's name is how old
// definitions chose its model.
func (k *disk) place(s *vm.Spec) (string, int32, int, error) {
	bus := k.Target.Bus
	if bus == "" {
		bus = "scsi"
		if strings.HasPrefix(k.Target.Dev, "hd") {
			bus = "ide"
		}
	}
	a := k.Address
	if a == nil || bus == "scsi" && a.Unit > 15 {
		// libvirt 9 counts on from controller 0; its name for the disk is right.
		var err error
		if a, err = addressOf(bus, k.Target.Dev); err != nil {
			return "", 0, 0, err
		}
	}
	switch bus {
	case "ide":
		if a.Bus < 0 || a.Bus > 1 || a.Unit < 0 || a.Unit > 1 {
			return "", 0, 0, vm.Errorf(vm.ErrInvalid, "domain: disk %s at IDE %d:%d", k.Target.Dev, a.Bus, a.Unit)
		}
		return bus, 200 + int32(a.Bus), a.Unit, nil
	case "scsi", "sata", "nvme":
	default:
		return "", 0, 0, vm.Errorf(vm.ErrInvalid, "domain: disk %s on bus %q; ide, scsi, sata or nvme", k.Target.Dev, bus)
	}
	if a.Unit < 0 || a.Unit > 29 || bus == "scsi" && (a.Unit == 7 || a.Unit > 15) {
		return "", 0, 0, vm.Errorf(vm.ErrInvalid, "domain: disk %s at unit %d", k.Target.Dev, a.Unit)
	}
	kind := map[string]vm.Bus{"scsi": vm.LSILogic, "sata": vm.SATA, "nvme": vm.NVMe}[bus]
	if k.Driver != nil && k.Driver.Name != "" && bus == "scsi" {
		if b, err := vm.ParseBus(k.Driver.Name); err == nil && b.SCSI() {
			kind = b
		}
	}
	if err := addController(s, kind, a.Controller); err != nil {
		return "", 0, 0, err
	}
	return bus, kind.ControllerKey(a.Controller), a.Unit, nil
}

// addressOf is the place that a name stands for.
func addressOf(bus, name string) (*address, error) {
	if len(name) < 3 || len(name) > 5 || strings.Trim(name[2:], "abcdefghijklmnopqrstuvwxyz") != "" {
		return nil, vm.Errorf(vm.ErrInvalid, "domain: disk %q has no address", name)
	}
	n := 0
	for _, c := range name[2:] {
		n = n*26 + int(c-'a') + 1
	}
	n--
	switch bus {
	case "ide":
		return &address{"drive", 0, n / 2, n % 2}, nil
	case "sata":
		return &address{"drive", n / 30, 0, n % 30}, nil
	}
	u := n % 15
	if u >= 7 {
		u++
	}
	return &address{"drive", n / 15, 0, u}, nil
}

// deviceKey is the key that ESXi gives the device in a place.
func deviceKey(bus string, key int32, unit int) int32 {
	u := int32(unit)
	switch bus {
	case "ide":
		return 3000 + 2*(key-200) + u
	case "sata":
		return 16000 + 30*(key-15000) + u
	case "nvme":
		return 32000 + 15*(key-31000) + u
	}
	return 2000 + 16*(key-1000) + u
}

func (d *domain) interfaces(s *vm.Spec) error {
	for i, f := range d.Devices.Interfaces {
		n := vm.NIC{Key: 4000 + int32(i), Label: fmt.Sprintf("Network adapter %d", i+1), MACType: "generated", Model: vm.Flexible, Connected: f.Link == nil || f.Link.State != "down"}
		if f.Source != nil {
			n.Network = f.Source.Bridge
		}
		if f.MAC != nil && f.MAC.Address != "" {
			n.MAC = strings.ToLower(f.MAC.Address)
			if err := vm.CheckMAC(n.MAC); err != nil {
				return err
			}
			n.MACType = macType(f.MAC.Type, n.MAC)
		}
		if f.Model != nil && f.Model.Type != "" {
			m, note := vm.ParseNICModel(f.Model.Type)
			if note != "" {
				return vm.Errorf(vm.ErrInvalid, "domain: network card model %q; vlance, vmxnet, vmxnet2, vmxnet3, e1000 or e1000e", f.Model.Type)
			}
			n.Model = m
		}
		if f.MAC != nil && f.MAC.Check == "no" {
			key := fmt.Sprintf("ethernet%d.checkMACAddress", i)
			if _, ok := s.Setting(key); !ok {
				s.Set(key, "false")
			}
		}
		s.NICs = append(s.NICs, n)
	}
	return nil
}

// macType is who made an address: what is said, else what its range tells, as
// libvirt has it.
func macType(said, address string) string {
	switch said {
	case "generated":
		return "generated"
	case "static":
		return "manual"
	}
	switch {
	case strings.HasPrefix(address, "00:0c:29:"):
		return "generated"
	case strings.HasPrefix(address, "00:50:56:") && address[9] >= '8' && address[9] <= 'b':
		return "assigned"
	}
	return "manual"
}
