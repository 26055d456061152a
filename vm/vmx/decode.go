package vmx

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"margay/vm"
)

// Codec is both ways in one value, for those who are handed it.
type Codec struct{}

// Decode reads a .vmx file.
func (Codec) Decode(b []byte) (*vm.Spec, error) {
	d, err := Parse(b)
	if err != nil {
		return nil, err
	}
	return d.Spec()
}

// Encode writes a .vmx file for a guest that is new.
func (Codec) Encode(s *vm.Spec) ([]byte, error) { return Encode(s) }

// Change does a change to a .vmx file and keeps all else that is in it.
func (Codec) Change(old []byte, c *vm.Change) ([]byte, error) {
	d, err := Parse(old)
	if err != nil {
		return nil, err
	}
	s, err := d.Spec()
	if err != nil {
		return nil, err
	}
	s.Apply(c)
	d.Update(s)
	return d.Format(), nil
}

// Spec is what the document says a guest is. Keys without a field of their own
// are in Extra, in order.
func (d *Document) Spec() (*vm.Spec, error) {
	s := &vm.Spec{
		Name: d.value("displayName"), GuestID: guestID(d.value("guestOS")), Firmware: d.value("firmware"), Annotation: d.value("annotation"),
		CPUHotAdd: yes(d.value("vcpu.hotadd")), MemoryHotAdd: yes(d.value("mem.hotadd")), EnterSetup: yes(d.value("bios.forceSetupOnce")),
		UUID: joinUUID(d.value("uuid.bios")),
	}
	if v := d.value("virtualHW.version"); v != "" {
		s.Version = fmt.Sprintf("vmx-%02s", v)
	}
	if err := d.numbers(s); err != nil {
		return nil, err
	}
	if err := d.scheduler(&s.Scheduler); err != nil {
		return nil, err
	}
	d.controllers(s)
	d.drives(s)
	d.nics(s)
	d.boot(s)
	for _, k := range d.Keys() {
		if !known(strings.ToLower(k)) {
			s.Extra = append(s.Extra, vm.Setting{Key: k, Value: d.value(k)})
		}
	}
	return s, nil
}

func (d *Document) int(key string, def int64) (int64, error) {
	v := d.value(key)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return 0, vm.Errorf(vm.ErrInvalid, "vmx: %s = %q is no number", key, clip(v))
	}
	return n, nil
}

func (d *Document) numbers(s *vm.Spec) error {
	cpus, err := d.int("numvcpus", 1)
	if err != nil {
		return err
	}
	cores, err := d.int("cpuid.coresPerSocket", 0)
	if err != nil {
		return err
	}
	s.MemoryMB, err = d.int("memSize", 32)
	s.CPUs, s.CoresPerSocket = int(cpus), int(cores)
	return err
}

// scheduler reads the claims on the host; "unlimited" is -1.
func (d *Document) scheduler(s *vm.Scheduler) error {
	for _, f := range []struct {
		key string
		dst **int64
	}{
		{"sched.cpu.min", &s.CPUReservation}, {"sched.cpu.max", &s.CPULimit},
		{memMin, &s.MemReservation}, {"sched.mem.max", &s.MemLimit},
	} {
		v, ok := d.Get(f.key)
		if f.key == memMin && !ok {
			v, ok = d.Get("sched.mem.min")
		}
		if !ok {
			continue
		}
		n := int64(-1)
		if !strings.EqualFold(v, "unlimited") && v != "-1" {
			var err error
			if n, err = strconv.ParseInt(v, 10, 64); err != nil {
				return vm.Errorf(vm.ErrInvalid, "vmx: %s = %q is no number", f.key, clip(v))
			}
		}
		*f.dst = &n
	}
	s.CPUShares, s.MemShares, s.Latency = d.value("sched.cpu.shares"), d.value("sched.mem.shares"), d.value("sched.cpu.latencySensitivity")
	return nil
}

const memMin = "sched.mem.minsize"

// joinUUID reads "50 11 5e 16 9b dc 49 d7-f1 71 ...".
func joinUUID(s string) string {
	u := strings.NewReplacer(" ", "", "-", "").Replace(s)
	if len(u) != 32 {
		return ""
	}
	return strings.ToLower(u[:8] + "-" + u[8:12] + "-" + u[12:16] + "-" + u[16:20] + "-" + u[20:])
}

func splitUUID(s string) string {
	u := strings.ReplaceAll(s, "-", "")
	if len(u) != 32 {
		return ""
	}
	var b []string
	for i := 0; i < 32; i += 2 {
		b = append(b, u[i:i+2])
	}
	return strings.Join(b[:8], " ") + "-" + strings.Join(b[8:], " ")
}

func (d *Document) controllers(s *vm.Spec) {
	s.Controllers = []vm.Controller{{Key: 200, Bus: vm.IDE}, {Key: 201, Bus: vm.IDE, Number: 1}}
	for n := range 4 {
		if p := fmt.Sprintf("scsi%d.", n); yes(d.value(p + "present")) {
			bus := vm.Bus(strings.ToLower(d.value(p + "virtualDev")))
			if !bus.SCSI() {
				bus = vm.LSILogic
			}
			s.Controllers = append(s.Controllers, vm.Controller{Key: bus.ControllerKey(n), Bus: bus, Number: n})
		}
	}
	for _, bus := range []vm.Bus{vm.SATA, vm.NVMe} {
		for n := range 4 {
			if yes(d.value(fmt.Sprintf("%s%d.present", bus, n))) {
				s.Controllers = append(s.Controllers, vm.Controller{Key: bus.ControllerKey(n), Bus: bus, Number: n})
			}
		}
	}
}

// A place is where a drive hangs: "scsi0:1".
type place struct {
	bus       string
	ctl, unit int
}

func (p place) String() string { return fmt.Sprintf("%s%d:%d", p.bus, p.ctl, p.unit) }

// parsePlace reads the part of a key before its dot.
func parsePlace(s string) (place, bool) {
	for _, bus := range []string{"scsi", "ide", "sata", "nvme"} {
		rest, ok := strings.CutPrefix(s, bus)
		if !ok {
			continue
		}
		ctl, unit, ok := strings.Cut(rest, ":")
		c, err1 := strconv.ParseUint(ctl, 10, 8)
		u, err2 := strconv.ParseUint(unit, 10, 8)
		return place{bus, int(c), int(u)}, ok && err1 == nil && err2 == nil && c < 4 && u < 64
	}
	return place{}, false
}

// controller is the key of the controller that a place is on.
func (p place) controller() int32 {
	switch p.bus {
	case "ide":
		return 200 + int32(p.ctl)
	case "sata":
		return 15000 + int32(p.ctl)
	case "nvme":
		return 31000 + int32(p.ctl)
	}
	return 1000 + int32(p.ctl)
}

// key is the key that ESXi gives the device in a place.
func (p place) key() int32 {
	c, u := int32(p.ctl), int32(p.unit)
	switch p.bus {
	case "ide":
		return 3000 + 2*c + u
	case "sata":
		return 16000 + 30*c + u
	case "nvme":
		return 32000 + 15*c + u
	}
	return 2000 + 16*c + u
}

// placeOf is the place of a controller's unit.
func placeOf(key int32, unit int) place {
	switch {
	case key >= 31000:
		return place{"nvme", int(key - 31000), unit}
	case key >= 15000:
		return place{"sata", int(key - 15000), unit}
	case key >= 1000:
		return place{"scsi", int(key - 1000), unit}
	}
	return place{"ide", int(key - 200), unit}
}

// places are those that something is in, in the order of ESXi's keys.
func (d *Document) places() []place {
	var out []place
	for _, k := range d.Keys() {
		head, tail, _ := strings.Cut(strings.ToLower(k), ".")
		if p, ok := parsePlace(head); ok && tail == "present" && yes(d.value(k)) {
			out = append(out, p)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].key() < out[j].key() })
	return out
}

func (d *Document) drives(s *vm.Spec) {
	for _, p := range d.places() {
		if p.bus == "ide" && p.unit > 1 {
			continue
		}
		kind := strings.ToLower(d.value(p.String() + ".deviceType"))
		file := d.value(p.String() + ".fileName")
		if strings.Contains(kind, "cdrom") {
			cd := vm.CDROM{Key: p.key(), Label: fmt.Sprintf("CD/DVD drive %d", len(s.CDROMs)+1), Controller: p.controller(), Unit: p.unit}
			start, has := d.Get(p.String() + ".startConnected")
			cd.Connected = !has || yes(start)
			if kind == "cdrom-image" {
				cd.ISO = filePath(file)
			}
			s.CDROMs = append(s.CDROMs, cd)
			continue
		}
		s.Disks = append(s.Disks, vm.Disk{Key: p.key(), Label: fmt.Sprintf("Hard disk %d", len(s.Disks)+1), Controller: p.controller(), Unit: p.unit,
			Path: filePath(file), Mode: d.value(p.String() + ".mode")})
	}
}

// filePath reads a file's name: one without a datastore lies beside the .vmx.
func filePath(s string) vm.Path {
	if p, err := vm.ParseVolume(s); err == nil {
		return p
	}
	return vm.Path{File: s}
}

func (d *Document) nics(s *vm.Spec) {
	for n := range 10 {
		p := fmt.Sprintf("ethernet%d.", n)
		if !yes(d.value(p + "present")) {
			continue
		}
		start, has := d.Get(p + "startConnected")
		nic := vm.NIC{Key: 4000 + int32(n), Label: fmt.Sprintf("Network adapter %d", len(s.NICs)+1), Network: d.value(p + "networkName"),
			Model: d.model(p), Connected: !has || yes(start)}
		nic.MAC, nic.MACType = d.mac(p)
		s.NICs = append(s.NICs, nic)
	}
}

// model reads a card's model. vmxnet with the feature bits 15 is what is
// called vmxnet2; no model is the card that is a vlance until its driver asks
// for more.
func (d *Document) model(p string) vm.NICModel {
	switch dev := strings.ToLower(d.value(p + "virtualDev")); dev {
	case "":
		return vm.Flexible
	case "vlance":
		return vm.PCNet32
	case "vmxnet":
		if d.value(p+"features") == "15" {
			return vm.VMXNet2
		}
		return vm.VMXNet
	default:
		return vm.NICModel(dev)
	}
}

func (d *Document) mac(p string) (mac, kind string) {
	switch strings.ToLower(d.value(p + "addressType")) {
	case "static":
		return strings.ToLower(d.value(p + "address")), "manual"
	case "vpx":
		return strings.ToLower(d.value(p + "generatedAddress")), "assigned"
	}
	return strings.ToLower(d.value(p + "generatedAddress")), "generated"
}

// boot reads the order, one word a kind of device.
func (d *Document) boot(s *vm.Spec) {
	list := d.value("bios.bootOrder")
	if list == "" {
		list = strings.TrimPrefix(d.value(vm.BootKey), "allow:")
	}
	seen := map[vm.BootDevice]bool{}
	for _, w := range strings.Split(list, ",") {
		var kind vm.BootDevice
		switch w = strings.ToLower(strings.TrimSpace(w)); {
		case strings.HasPrefix(w, "ethernet"), w == "net":
			kind = vm.BootNet
		case w == "hdd", w == "hd":
			kind = vm.BootDisk
		case strings.HasPrefix(w, "cd"):
			kind = vm.BootCD
		case w == "floppy", w == "fd":
			kind = vm.BootFloppy
		default:
			continue
		}
		if !seen[kind] {
			seen[kind] = true
			s.Boot = append(s.Boot, kind)
		}
	}
}

// known says whether a key has a field in Spec.
func known(k string) bool {
	switch k {
	case ".encoding", "config.version", "virtualhw.version", "displayname", "guestos", "firmware", "annotation", "vcpu.hotadd", "mem.hotadd",
		"bios.forcesetuponce", "bios.bootorder", "bios.hddorder", "uuid.bios", "numvcpus", "cpuid.corespersocket", "memsize",
		"sched.cpu.min", "sched.cpu.max", "sched.cpu.shares", memMin, "sched.mem.min", "sched.mem.max", "sched.mem.shares", "sched.cpu.latencysensitivity":
		return true
	}
	head, tail, _ := strings.Cut(k, ".")
	if _, ok := parsePlace(head); ok {
		return in(tail, "present", "filename", "devicetype", "mode", "startconnected")
	}
	switch strings.TrimRight(head, "0123456789") {
	case "scsi":
		return in(tail, "present", "virtualdev")
	case "sata", "nvme":
		return tail == "present"
	case "ethernet":
		return in(tail, "present", "networkname", "virtualdev", "features", "addresstype", "address", "generatedaddress", "startconnected")
	}
	return false
}

func in(s string, list ...string) bool {
	for _, x := range list {
		if s == x {
			return true
		}
	}
	return false
}
