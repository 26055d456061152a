package vmx

import (
	"fmt"
	"strconv"
	"strings"

	"margay/vm"
)

// Encode writes a new guest's .vmx. All of its disks must have their files.
func Encode(s *vm.Spec) ([]byte, error) {
	if s.Name == "" {
		return nil, vm.Errorf(vm.ErrInvalid, "vmx: the guest has no name")
	}
	d := &Document{index: map[string]int{}}
	version := s.Version
	if version == "" {
		version = "vmx-13" // the newest that ESXi 6.5 knows, and all after it
	}
	d.Set(".encoding", "UTF-8")
	d.Set("config.version", "8")
	d.Set("virtualHW.version", strings.TrimLeft(strings.TrimPrefix(version, "vmx-"), "0"))
	with := *s
	with.Version = version
	d.Update(&with)
	d.unless("nvram", s.Name+".nvram")
	// Without bridges a guest has no slots for PCI Express cards.
	d.unless("pciBridge0.present", "TRUE")
	for n := 4; n < 8; n++ {
		p := fmt.Sprintf("pciBridge%d.", n)
		d.unless(p+"present", "TRUE")
		d.unless(p+"virtualDev", "pcieRootPort")
		d.unless(p+"functions", "8")
	}
	d.unless("vmci0.present", "TRUE")
	d.unless("hpet0.present", "TRUE")
	return d.Format(), nil
}

// unless sets a key that is not there.
func (d *Document) unless(key, value string) {
	if _, ok := d.Get(key); !ok {
		d.Set(key, value)
	}
}

// Update makes the document say what s is. Keys that s knows nothing of stay
// as they are; those of devices that s does not have go.
func (d *Document) Update(s *vm.Spec) {
	want := &wish{values: map[string]string{}}
	want.scalars(s)
	want.devices(s)
	for _, e := range s.Extra {
		want.set(e.Key, e.Value)
	}
	extra := map[string]bool{}
	for _, e := range s.Extra {
		extra[strings.ToLower(e.Key)] = true
	}
	d.Delete(func(k string) bool {
		if orphan(k, want.values) {
			return true
		}
		if _, ok := want.values[k]; ok || fixed(k) {
			return false
		}
		return known(k) && !untouched(k) || !known(k) && !extra[k]
	})
	for _, k := range want.order {
		if orphan(strings.ToLower(k), want.values) {
			continue
		}
		v := want.values[strings.ToLower(k)]
		if have, ok := d.Get(k); !ok || !same(k, have, v) {
			d.Set(k, v)
		}
	}
}

// fixed are keys that belong to the file, not to the guest.
func fixed(k string) bool { return k == ".encoding" || k == "config.version" }

// untouched are keys that stand for what they are left out for: removing them
// would change nothing and lose how the operator wrote it.
func untouched(k string) bool {
	return k == "bios.hddorder" || strings.HasSuffix(k, ".present") && !strings.Contains(k, ":")
}

// orphan says whether a key is of a drive or card that is gone.
func orphan(k string, want map[string]string) bool {
	head, _, _ := strings.Cut(k, ".")
	_, drive := parsePlace(head)
	if !drive && !strings.HasPrefix(head, "ethernet") {
		return false
	}
	_, there := want[head+".present"]
	return !there
}

// same says whether two values mean one thing: TRUE and true, lsilogic and
// LsiLogic, or a file's two spellings.
func same(key, a, b string) bool {
	if strings.EqualFold(a, b) && !strings.EqualFold(key, "displayName") && !strings.EqualFold(key, "annotation") {
		return true
	}
	return a == b
}

// A wish is what keys are to be.
type wish struct {
	order  []string
	values map[string]string // by lower-case key
}

func (w *wish) set(key, value string) {
	k := strings.ToLower(key)
	if _, ok := w.values[k]; !ok {
		w.order = append(w.order, key)
	}
	w.values[k] = value
}

// unless sets a key that may be left out at its default.
func (w *wish) unless(skip bool, key, value string) {
	if !skip {
		w.set(key, value)
	}
}

func (w *wish) scalars(s *vm.Spec) {
	w.set("displayName", s.Name)
	w.unless(s.GuestID == "", "guestOS", guestOS(s.GuestID))
	w.unless(s.Version == "", "virtualHW.version", strings.TrimLeft(strings.TrimPrefix(s.Version, "vmx-"), "0"))
	w.unless(s.UUID == "", "uuid.bios", splitUUID(s.UUID))
	w.set("memSize", strconv.FormatInt(s.MemoryMB, 10))
	w.unless(s.CPUs == 0, "numvcpus", strconv.Itoa(s.CPUs))
	w.unless(s.CoresPerSocket == 0, "cpuid.coresPerSocket", strconv.Itoa(s.CoresPerSocket))
	w.unless(s.Firmware == "", "firmware", s.Firmware)
	w.unless(s.Annotation == "", "annotation", s.Annotation)
	w.unless(!s.CPUHotAdd, "vcpu.hotadd", "TRUE")
	w.unless(!s.MemoryHotAdd, "mem.hotadd", "TRUE")
	w.unless(!s.EnterSetup, "bios.forceSetupOnce", "TRUE")
	w.boot(s)
	w.claims(s.Scheduler)
}

func (w *wish) claims(s vm.Scheduler) {
	num := func(key string, v *int64) {
		switch {
		case v == nil:
		case *v < 0:
			w.set(key, "unlimited")
		default:
			w.set(key, strconv.FormatInt(*v, 10))
		}
	}
	num("sched.cpu.min", s.CPUReservation)
	num("sched.cpu.max", s.CPULimit)
	num(memMin, s.MemReservation)
	num("sched.mem.max", s.MemLimit)
	w.unless(s.CPUShares == "", "sched.cpu.shares", s.CPUShares)
	w.unless(s.MemShares == "", "sched.mem.shares", s.MemShares)
	w.unless(s.Latency == "", "sched.cpu.latencySensitivity", s.Latency)
}

func (w *wish) boot(s *vm.Spec) {
	var words []string
	for _, kind := range s.Boot {
		switch kind {
		case vm.BootNet:
			for _, n := range s.NICs {
				words = append(words, fmt.Sprintf("ethernet%d", cardNumber(n, s)))
			}
		case vm.BootDisk:
			words = append(words, "hdd")
		case vm.BootCD:
			words = append(words, "cdrom")
		case vm.BootFloppy:
			words = append(words, "floppy")
		}
	}
	w.unless(len(words) == 0, "bios.bootOrder", strings.Join(words, ","))
}

func (w *wish) devices(s *vm.Spec) {
	for _, c := range s.Controllers {
		switch {
		case c.Bus.SCSI():
			w.set(fmt.Sprintf("scsi%d.present", c.Number), "TRUE")
			w.set(fmt.Sprintf("scsi%d.virtualDev", c.Number), string(c.Bus))
		case c.Bus == vm.SATA || c.Bus == vm.NVMe:
			w.set(fmt.Sprintf("%s%d.present", c.Bus, c.Number), "TRUE")
		}
	}
	for _, d := range s.Disks {
		w.disk(d)
	}
	for _, cd := range s.CDROMs {
		w.cdrom(cd)
	}
	for _, n := range s.NICs {
		w.nic(n, cardNumber(n, s))
	}
}

func (w *wish) disk(d vm.Disk) {
	p := placeOf(d.Controller, d.Unit)
	k := p.String() + "."
	w.set(k+"present", "TRUE")
	if p.bus == "ide" {
		w.set(k+"deviceType", "ata-hardDisk")
	} else if p.bus == "scsi" {
		w.set(k+"deviceType", "scsi-hardDisk")
	}
	w.set(k+"fileName", fileName(d.Path))
	w.unless(d.Mode == "" || d.Mode == "persistent", k+"mode", strings.ReplaceAll(d.Mode, "_", "-"))
}

func fileName(p vm.Path) string {
	if p.Datastore == "" {
		return p.File
	}
	return p.Volume()
}

func (w *wish) cdrom(cd vm.CDROM) {
	k := placeOf(cd.Controller, cd.Unit).String() + "."
	w.set(k+"present", "TRUE")
	w.set(k+"startConnected", tf(cd.Connected))
	if cd.ISO.IsZero() {
		w.set(k+"deviceType", "cdrom-raw")
		return
	}
	w.set(k+"deviceType", "cdrom-image")
	w.set(k+"fileName", fileName(cd.ISO))
}

// cardNumber is which ethernetN a card is: by its key, or for a new one the
// first that is free.
func cardNumber(n vm.NIC, s *vm.Spec) int {
	if n.Key >= 4000 && n.Key < 4010 {
		return int(n.Key - 4000)
	}
	taken := map[int]bool{}
	for _, o := range s.NICs {
		if o.Key >= 4000 && o.Key < 4010 {
			taken[int(o.Key-4000)] = true
		}
	}
	at := 0
	for _, o := range s.NICs {
		if o.Key >= 4000 && o.Key < 4010 {
			continue
		}
		for taken[at] {
			at++
		}
		if o.Key == n.Key && o.MAC == n.MAC {
			return at
		}
		taken[at] = true
	}
	return at
}

func (w *wish) nic(n vm.NIC, number int) {
	k := fmt.Sprintf("ethernet%d.", number)
	w.set(k+"present", "TRUE")
	w.set(k+"networkName", n.Network)
	switch n.Model {
	case vm.Flexible: // no model at all
	case vm.PCNet32:
		w.set(k+"virtualDev", "vlance")
	case vm.VMXNet2:
		w.set(k+"virtualDev", "vmxnet")
		w.set(k+"features", "15")
	default:
		w.set(k+"virtualDev", string(n.Model))
	}
	switch {
	case n.MACType == "assigned":
		w.set(k+"addressType", "vpx")
		w.set(k+"generatedAddress", n.MAC)
	case n.MACType == "manual":
		w.set(k+"addressType", "static")
		w.set(k+"address", n.MAC)
	default:
		w.set(k+"addressType", "generated")
		w.unless(n.MAC == "", k+"generatedAddress", n.MAC)
	}
	w.unless(n.Connected, k+"startConnected", "FALSE")
}
