package domxml

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"margay/vm"
)

func toDomain(s *vm.Spec) *domain {
	cur := kib(s.MemoryMB << 10)
	d := &domain{
		Type: "vmware", Name: s.Name, UUID: s.UUID, Description: s.Annotation, Memory: cur, Current: &cur,
		VCPU: vcpu{strconv.Itoa(max(1, s.CPUs))}, OS: osType{Type: archType{archOf(s.GuestID), "hvm"}},
		Clock: &clock{"utc"}, OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",
	}
	if s.Firmware == "efi" {
		d.OS.Firmware = "efi"
	}
	for _, b := range s.Boot {
		d.OS.Boot = append(d.OS.Boot, dev{bootWord(b)})
	}
	if c := s.CoresPerSocket; c > 0 && s.CPUs%c == 0 && s.CPUs > 0 {
		d.CPU = &cpu{&topology{s.CPUs / c, c, 1}}
	}
	writeClaims(s, d)
	d.Metadata = &metadata{toGuest(s)}
	for _, c := range s.Controllers {
		if c.Bus != vm.IDE {
			d.Devices.Controllers = append(d.Devices.Controllers, controller{typeOf(c.Bus), c.Number, modelOf(c.Bus)})
		}
	}
	for _, k := range s.Disks {
		d.Devices.Disks = append(d.Devices.Disks, toDisk(s, "disk", k.Controller, k.Unit, k.Path))
	}
	for _, c := range s.CDROMs {
		d.Devices.Disks = append(d.Devices.Disks, toDisk(s, "cdrom", c.Controller, c.Unit, c.ISO))
		if !c.Connected && !c.ISO.IsZero() {
			d.Devices.Disks[len(d.Devices.Disks)-1].Source.StartupPol = "optional"
		}
	}
	for i, n := range s.NICs {
		d.Devices.Interfaces = append(d.Devices.Interfaces, toInterface(s, i, n))
	}
	return d
}

// archOf is the architecture that a guest id stands for; libvirt knows no more
// of the operating system.
func archOf(id string) string {
	if strings.Contains(id, "64") {
		return "x86_64"
	}
	return "i686"
}

func bootWord(b vm.BootDevice) string {
	switch b {
	case vm.BootNet:
		return "network"
	case vm.BootCD:
		return "cdrom"
	}
	return string(b)
}

// shareUnit is what one processor's shares are worth at each level.
func shareUnit(level string) (int64, bool) {
	switch level {
	case "low":
		return 500, true
	case "normal":
		return 1000, true
	case "high":
		return 2000, true
	}
	return 0, false
}

func writeClaims(s *vm.Spec, d *domain) {
	if w := s.Scheduler.CPUShares; w != "" {
		if unit, ok := shareUnit(w); ok {
			w = strconv.FormatInt(unit*int64(max(1, s.CPUs)), 10)
		}
		d.CPUTune = &cpuTune{w}
	}
	if m := s.Scheduler.MemReservation; m != nil && *m > 0 {
		a := kib(*m << 10)
		d.MemTune = &memTune{&a}
	}
}

func toGuest(s *vm.Spec) *guest {
	g := &guest{ID: s.GuestID, Version: s.Version, CPUHot: s.CPUHotAdd, MemHot: s.MemoryHotAdd, Limit: s.Scheduler.CPULimit, Reserve: s.Scheduler.CPUReservation,
		MemLimit: s.Scheduler.MemLimit, MemShare: s.Scheduler.MemShares, Latency: s.Scheduler.Latency, Setup: s.EnterSetup}
	for _, e := range s.Extra {
		g.Settings = append(g.Settings, setting{e.Key, e.Value})
	}
	return g
}

func typeOf(b vm.Bus) string {
	if b.SCSI() {
		return "scsi"
	}
	return string(b)
}

func modelOf(b vm.Bus) string {
	switch {
	case b == vm.PVSCSI:
		return "vmpvscsi"
	case b.SCSI():
		return string(b)
	}
	return ""
}

// slot is a device's place as libvirt has it: the IDE channel is its bus.
func slot(key int32, unit int) (bus string, a address) {
	switch {
	case key >= 31000:
		return "nvme", address{"drive", int(key - 31000), 0, unit}
	case key >= 15000:
		return "sata", address{"drive", int(key - 15000), 0, unit}
	case key >= 1000:
		return "scsi", address{"drive", int(key - 1000), 0, unit}
	}
	return "ide", address{"drive", 0, int(key - 200), unit}
}

func toDisk(s *vm.Spec, device string, key int32, unit int, file vm.Path) disk {
	bus, a := slot(key, unit)
	k := disk{Type: "file", Device: device, Target: target{devName(bus, a), bus}, Address: &a}
	switch {
	case !file.IsZero():
		k.Source = &source{File: fileName(file)}
	case device == "cdrom":
		k.Type = "block" // a drive without image is the client's own
	}
	return k
}

func fileName(p vm.Path) string {
	if p.Datastore == "" {
		return p.File
	}
	return p.String()
}

// devName is the name that libvirt derives from a place: unit 7 of a SCSI
// controller is the controller itself and has none.
func devName(bus string, a address) string {
	switch bus {
	case "ide":
		return "hd" + letters(a.Bus*2+a.Unit)
	case "sata":
		return "sd" + letters(a.Controller*30+a.Unit)
	case "nvme":
		return fmt.Sprintf("nvme%dn%d", a.Controller, a.Unit+1)
	}
	u := a.Unit
	if u > 7 {
		u--
	}
	return "sd" + letters(a.Controller*15+u)
}

func letters(n int) string {
	s := ""
	for n++; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return s
}

func toInterface(s *vm.Spec, i int, n vm.NIC) iface {
	f := iface{Type: "bridge", Source: &source{Bridge: n.Network}}
	if n.MAC != "" {
		f.MAC = &mac{Address: n.MAC}
		switch n.MACType {
		case "generated":
			f.MAC.Type = "generated"
		case "manual":
			f.MAC.Type = "static"
		}
		if v, ok := s.Setting(fmt.Sprintf("ethernet%d.checkMACAddress", i)); ok && strings.EqualFold(v, "false") || n.MACType == "manual" && foreign(n.MAC) {
			f.MAC.Check = "no"
		}
	}
	switch n.Model {
	case "", vm.Flexible:
	case vm.PCNet32:
		f.Model = &model{"vlance"}
	default:
		f.Model = &model{string(n.Model)}
	}
	if !n.Connected {
		f.Link = &link{"down"}
	}
	return f
}

func foreign(s string) bool {
	hw, err := net.ParseMAC(s)
	return err == nil && vm.RangeOf(hw) == vm.RangeForeign
}
