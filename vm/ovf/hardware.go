package ovf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"margay/vm"
)

// Kinds of hardware (DMTF CIM schema, CIM_ResourceAllocationSettingData).
const (
	kindCPU      = "3"
	kindMemory   = "4"
	kindIDE      = "5"
	kindSCSI     = "6"
	kindEthernet = "10"
	kindFloppy   = "14"
	kindCD       = "15"
	kindDVD      = "16"
	kindDisk     = "17"
	kindStorage  = "20" // SATA and NVMe, by VMware's subtype
	kindUSB      = "23"
	kindDisplay  = "24"
)

// hardware reads the guest itself.
func (p *Package) hardware(s *system, option string) error {
	h := s.Hardware[0]
	if len(h.Items) > maxItems {
		return invalidf("%d pieces of hardware", len(h.Items))
	}
	p.Spec = vm.Spec{Name: p.Name, GuestID: guestID(s.OS.Type, s.OS.ID), Annotation: strings.TrimSpace(s.Note), CPUs: 1, MemoryMB: 512}
	for _, t := range strings.Fields(h.Type) {
		if strings.HasPrefix(t, "vmx-") {
			p.Spec.Version = t
		}
	}
	for _, c := range h.Config {
		switch c.Key {
		case "firmware":
			p.Spec.Firmware = c.Value
		case "cpuHotAddEnabled":
			p.Spec.CPUHotAdd = yes(c.Value)
		case "memoryHotAddEnabled":
			p.Spec.MemoryHotAdd = yes(c.Value)
		}
	}
	for _, e := range h.Extra {
		if strings.ContainsAny(e.Key+e.Value, "\r\n") || e.Key == "" {
			return invalidf("setting %q has a line break in it", clip(e.Key))
		}
		p.Spec.Extra = append(p.Spec.Extra, vm.Setting{Key: e.Key, Value: e.Value})
	}
	items := chosen(h.Items, option)
	b := &builder{p: p, controllers: map[string]*vm.Controller{}}
	// Controllers first: what hangs on them may stand before them.
	for _, step := range []func(item) error{b.controller, b.device} {
		for _, it := range items {
			if err := step(it); err != nil {
				return err
			}
		}
	}
	for _, key := range []int32{200, 201} {
		if p.Spec.Controller(key) == nil {
			p.Spec.Controllers = append(p.Spec.Controllers, vm.Controller{Key: key, Bus: vm.IDE, Number: int(key - 200)})
		}
	}
	return nil
}

// chosen are the items of one size: those that name it take the place of
// those of the same number that name none.
func chosen(items []item, option string) []item {
	var out []item
	for _, it := range items {
		if it.Configuration != "" && !slices.Contains(strings.Fields(it.Configuration), option) {
			continue
		}
		at := slices.IndexFunc(out, func(o item) bool { return o.id() != "" && o.id() == it.id() })
		if at >= 0 {
			out[at] = it
			continue
		}
		out = append(out, it)
	}
	return out
}

func (it item) id() string {
	if it.ID != "" {
		return it.ID
	}
	return it.OldID
}

// A builder puts the hardware together.
type builder struct {
	p           *Package
	controllers map[string]*vm.Controller // by instance
}

func (b *builder) controller(it item) error {
	s := &b.p.Spec
	var bus vm.Bus
	switch it.Type {
	case kindIDE:
		bus = vm.IDE
	case kindSCSI:
		bus = scsiBus(it.SubType)
	case kindStorage:
		bus = vm.SATA
		if strings.Contains(strings.ToLower(it.SubType), "nvme") {
			bus = vm.NVMe
		}
	default:
		return nil
	}
	n, most := 0, 4
	if bus == vm.IDE {
		most = 2
		if v, err := strconv.Atoi(strings.TrimSpace(it.Address)); err == nil && v >= 0 && v < 2 && s.Controller(200+int32(v)) == nil {
			n = v
		}
	}
	for ; s.Controller(bus.ControllerKey(n)) != nil; n++ {
	}
	if n >= most {
		return invalidf("more than %d %s controllers", most, bus)
	}
	k := vm.Controller{Key: bus.ControllerKey(n), Bus: bus, Number: n}
	s.Controllers = append(s.Controllers, k)
	b.controllers[it.id()] = &k
	return nil
}

func scsiBus(sub string) vm.Bus {
	switch strings.ToLower(strings.Fields(sub + " x")[0]) {
	case "virtualscsi":
		return vm.PVSCSI
	case "lsilogicsas":
		return vm.LSISAS
	case "buslogic":
		return vm.BusLogic
	}
	return vm.LSILogic
}

func (b *builder) device(it item) error {
	s := &b.p.Spec
	switch it.Type {
	case kindCPU:
		n, err := number(it.Quantity, 1)
		if err != nil || n < 1 || n > 1024 {
			return invalidf("%q processors", clip(it.Quantity))
		}
		s.CPUs = int(n)
		if c, err := strconv.Atoi(it.Sockets); err == nil && c > 1 && s.CPUs%c == 0 {
			s.CoresPerSocket = c
		}
		return nil
	case kindMemory:
		kb, err := capacity(it.Quantity, memoryUnit(it.Units))
		if err != nil {
			return invalidf("memory: %v", err)
		}
		s.MemoryMB = (kb/1024 + 3) / 4 * 4
		return nil
	case kindEthernet:
		return b.nic(it)
	case kindDisk:
		return b.disk(it)
	case kindCD, kindDVD:
		key, unit, err := b.at(it, true)
		if err != nil {
			return err
		}
		s.CDROMs = append(s.CDROMs, vm.CDROM{Key: -50 - int32(len(s.CDROMs)), Controller: key, Unit: unit})
		return nil
	case kindIDE, kindSCSI, kindStorage, kindFloppy, kindUSB, kindDisplay, "1":
		return nil
	}
	if it.Required != "" && !yes(it.Required) {
		b.p.Notes = append(b.p.Notes, fmt.Sprintf("%s (kind %s) is left out", it.Name, it.Type))
		return nil
	}
	return invalidf("%s: hardware of kind %q is not known here", clip(it.Name), clip(it.Type))
}

// memoryUnit is megabytes where nothing is said.
func memoryUnit(s string) string {
	if strings.TrimSpace(s) == "" {
		return "megabytes"
	}
	return s
}

func (b *builder) nic(it item) error {
	s := &b.p.Spec
	if len(s.NICs) == 10 {
		return invalidf("more than 10 network cards")
	}
	n := vm.NIC{Key: -200 - int32(len(s.NICs)), MACType: "generated", Connected: it.Automatic == "" || yes(it.Automatic)}
	if len(it.Connection) > 0 {
		n.Network = it.Connection[0]
	}
	if !slices.Contains(b.p.Networks, n.Network) {
		return invalidf("%s is on network %q, which the package does not name", clip(it.Name), clip(n.Network))
	}
	n.Model = vm.E1000
	if f := strings.Fields(it.SubType); len(f) > 0 {
		n.Model, _ = vm.ParseNICModel(f[0])
	}
	s.NICs = append(s.NICs, n)
	return nil
}

func (b *builder) disk(it item) error {
	s := &b.p.Spec
	d := vm.Disk{Key: -100 - int32(len(s.Disks)), Mode: "persistent", New: true}
	if len(it.Host) == 0 {
		return invalidf("%s names no disk", clip(it.Name))
	}
	id := it.Host[0][strings.LastIndexByte(it.Host[0], '/')+1:]
	at := slices.IndexFunc(b.p.Disks, func(d Disk) bool { return d.ID == id })
	if at < 0 {
		return invalidf("%s is disk %q, which the package does not name", clip(it.Name), clip(id))
	}
	d.KB, d.Path.File = b.p.Disks[at].KB, b.p.Disks[at].File
	var err error
	if d.Controller, d.Unit, err = b.at(it, false); err != nil {
		return err
	}
	s.Disks = append(s.Disks, d)
	return nil
}

// at is where a drive hangs: where the item says, or where there is room.
func (b *builder) at(it item, cd bool) (int32, int, error) {
	s := &b.p.Spec
	k := b.controllers[it.Parent]
	if k == nil {
		bus := vm.LSILogic
		if cd {
			bus = vm.IDE
		}
		key, unit, _, err := s.Place(bus)
		return key, unit, err
	}
	n, err := number(it.OnParent, -1)
	if err != nil || n > 63 {
		return 0, 0, invalidf("%s: place %q", clip(it.Name), clip(it.OnParent))
	}
	taken := func(u int) bool {
		return slices.ContainsFunc(s.Disks, func(d vm.Disk) bool { return d.Controller == k.Key && d.Unit == u }) ||
			slices.ContainsFunc(s.CDROMs, func(c vm.CDROM) bool { return c.Controller == k.Key && c.Unit == u })
	}
	if n >= 0 && !taken(int(n)) && (k.Bus != vm.IDE || n < 2) {
		return k.Key, int(n), nil
	}
	for u := 0; u < 16 && (k.Bus != vm.IDE || u < 2); u++ {
		if !taken(u) && !(k.Bus.SCSI() && u == 7) {
			return k.Key, u, nil
		}
	}
	return 0, 0, invalidf("%s: no room on its controller", clip(it.Name))
}

// Operating systems by the number that CIM gives them, where the descriptor
// has no word of VMware's (CIM_OperatingSystem.OSType).
var osNumbers = map[string]string{
	"36": "otherLinuxGuest", "79": "rhel6Guest", "80": "rhel6_64Guest", "93": "ubuntuGuest", "94": "ubuntu64Guest", "95": "debian6Guest", "96": "debian6_64Guest",
	"97": "otherLinuxGuest", "100": "other3xLinuxGuest", "101": "otherLinux64Guest", "102": "otherGuest64", "106": "centosGuest", "107": "centos64Guest",
	"108": "oracleLinuxGuest", "109": "oracleLinux64Guest", "84": "sles11Guest", "85": "sles11_64Guest",
}

func guestID(word, number string) string {
	if word != "" {
		if word == "linux64Guest" {
			return "otherLinux64Guest"
		}
		return word
	}
	if id, ok := osNumbers[number]; ok {
		return id
	}
	return "otherGuest"
}
