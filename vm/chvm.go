package vm

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"margay/nodedb"
)

// A ChangeRequest is what chvm was asked, as it was typed.
type ChangeRequest struct {
	Add       []string // size[=model], lists too
	Format    string
	Detach    []string
	Purge     []string
	Resize    []string // disk[,disk]=size
	CPUs      string
	Memory    string
	Optical   string
	Eject     bool
	Other     []string // key=value
	AddNIC    []string // network[=model]
	RemoveNIC []string
	SetNIC    []string // nic=network[=model]
	Scheduler []string
	HotAdd    string // on, off
	Serial    string // on, off
	// SerialProxy is where hosts reach the concentrator that guests' serial
	// ports are to end at, by the address of the host.
	SerialProxy func(host string) (string, error)
	proxy       string // of this guest
}

// A planner works out a Change while keeping track of what the guest will be.
type planner struct {
	vm    VM
	g     *Guest
	spec  Spec  // as it will be
	cards []int // numbers of new network cards
	c     Change
}

// PlanChange works out the one reconfiguration that does all of a request.
// datastore is where new disks go; iso is what Optical named; networks are
// the port groups that AddNIC and SetNIC named, in their order; macs are for
// new cards.
func PlanChange(v VM, g *Guest, req ChangeRequest, datastore string, iso Path, networks, macs []string) (*Change, error) {
	if v.Spec == nil {
		return nil, Errorf(ErrInvalid, "VM is in an invalid state")
	}
	p := &planner{vm: v, g: g, spec: cloneSpec(*v.Spec)}
	steps := []func() error{
		func() error { return p.remove(req.Detach, false) },
		func() error { return p.remove(req.Purge, true) },
		func() error { return p.resize(req.Resize) },
		func() error { return p.add(req.Add, req.Format, datastore) },
		func() error { return p.nics(req, networks, macs) },
		func() error { return p.cpus(req.CPUs) },
		func() error { return p.memory(req.Memory) },
		func() error { return p.serial(req) },
		func() error { return p.optical(req.Optical, iso, req.Eject) },
		func() error { return p.other(req) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &p.c, nil
}

func cloneSpec(s Spec) Spec {
	s.Controllers = append([]Controller(nil), s.Controllers...)
	s.Disks = append([]Disk(nil), s.Disks...)
	s.CDROMs = append([]CDROM(nil), s.CDROMs...)
	s.NICs = append([]NIC(nil), s.NICs...)
	s.Extra = append([]Setting(nil), s.Extra...)
	return s
}

func (p *planner) running() bool { return p.vm.State == nodedb.PowerOn }

// needsOff is the host's own sentence for what it does only to guests that
// are off, and what to do about it.
func needsOff(what string) error {
	return Errorf(ErrPowerState, "%s needs the guest off: The attempted operation cannot be performed in the current state (Powered on).", what)
}

func (p *planner) remove(ids []string, purge bool) error {
	for _, id := range splitIDs(ids) {
		d, err := p.spec.FindDisk(id)
		if err != nil {
			return err
		}
		if p.running() && busOf(&p.spec, d.Controller) == IDE {
			return needsOff("taking off an IDE disk")
		}
		p.c.RemoveDisks = append(p.c.RemoveDisks, DiskRemoval{*d, purge})
		key := d.Key
		p.spec.Disks = without(p.spec.Disks, func(d Disk) bool { return d.Key == key })
	}
	return nil
}

// splitIDs takes a list from each word: "Hard disk 2,d200:1".
func splitIDs(words []string) []string {
	var out []string
	for _, w := range words {
		for _, f := range strings.Split(w, ",") {
			if f = strings.TrimSpace(f); f != "" {
				out = append(out, f)
			}
		}
	}
	return out
}

func busOf(s *Spec, key int32) Bus {
	if c := s.Controller(key); c != nil {
		return c.Bus
	}
	if key == 200 || key == 201 {
		return IDE
	}
	return ""
}

func (p *planner) resize(reqs []string) error {
	for _, r := range reqs {
		ids, size, ok := strings.Cut(r, "=")
		if !ok {
			return Errorf(ErrInvalid, "Could not parse options, --resize %s: write disk=size", r)
		}
		amount, err := ParseDiskAmount(size)
		if err != nil {
			return err
		}
		for _, id := range splitIDs([]string{ids}) {
			if err := p.grow(id, amount); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *planner) grow(id string, amount Amount) error {
	d, err := p.spec.FindDisk(id)
	if err != nil {
		return err
	}
	kb := amount.Of(d.KB)
	switch {
	case kb < d.KB:
		return Errorf(ErrInvalid, "%s is %s MB; a disk cannot be made smaller", d.Label, megabytes(d.KB))
	case kb > MaxDiskKB:
		return Errorf(ErrInvalid, "%s: over 62T, the largest disk that ESXi makes", d.Label)
	case d.Parent != nil:
		return Errorf(ErrInvalid, "%s is linked to %s; a linked disk cannot grow", d.Label, d.Parent)
	case len(p.vm.Snapshots) > 0:
		return Errorf(ErrInvalid, "%s cannot grow while the guest has snapshots (%s)", d.Label, strings.Join(p.vm.Snapshots, ", "))
	case p.running() && busOf(&p.spec, d.Controller) == IDE:
		return needsOff("growing an IDE disk")
	case kb == d.KB:
		return nil
	}
	d.KB = kb
	p.c.GrowDisks = append(p.c.GrowDisks, *d)
	return nil
}

func (p *planner) add(sizes []string, format, datastore string) error {
	f := p.g.Format
	if format != "" {
		var err error
		if f, err = ParseFormat(format); err != nil {
			return err
		}
	}
	for _, word := range sizes {
		for _, item := range strings.FieldsFunc(word, func(r rune) bool { return r == ',' || r == ':' }) {
			if err := p.addOne(item, f, datastore); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *planner) addOne(item string, f Format, datastore string) error {
	size, model, hasModel := strings.Cut(item, "=")
	kb, err := ParseDiskSize(size)
	if err != nil {
		return err
	}
	bus := p.bus()
	if hasModel {
		if bus, err = ParseBus(model); err != nil {
			return err
		}
	}
	if p.running() && !bus.HotPlug() {
		return needsOff("adding an IDE disk")
	}
	d, added, err := p.spec.newDisk(bus, kb, f, datastore)
	if err != nil {
		return err
	}
	if added != nil {
		p.c.AddControllers = append(p.c.AddControllers, *added)
	}
	p.c.AddDisks = append(p.c.AddDisks, d)
	return nil
}

// bus is what new disks hang on: what the table says of the first location,
// else the table's model.
func (p *planner) bus() Bus {
	if len(p.g.Storage) > 0 && p.g.Storage[0].Bus != "" {
		return p.g.Storage[0].Bus
	}
	return p.g.Bus
}

// newDisk adds a disk to s in the next free place.
func (s *Spec) newDisk(bus Bus, kb int64, f Format, datastore string) (Disk, *Controller, error) {
	key, unit, added, err := s.Place(bus)
	if err != nil {
		return Disk{}, nil, err
	}
	d := Disk{Key: -100 - int32(len(s.Disks)), Controller: key, Unit: unit, KB: kb, Format: f,
		Mode: "persistent", Path: Path{Datastore: datastore}, New: true}
	s.Disks = append(s.Disks, d)
	if added != nil {
		added = &Controller{added.Key, added.Bus, added.Number}
	}
	return d, added, nil
}

func (p *planner) cpus(want string) error {
	if want == "" {
		return nil
	}
	a, err := ParseCount(want)
	if err != nil {
		return err
	}
	n := int(a.Of(int64(p.spec.CPUs)))
	if n < 1 {
		return Errorf(ErrInvalid, "a guest needs at least one cpu; it has %d", p.spec.CPUs)
	}
	if c := p.spec.CoresPerSocket; c > 1 && n%c != 0 {
		return Errorf(ErrInvalid, "%d cpus do not divide into sockets of %d cores", n, c)
	}
	if p.running() && n != p.spec.CPUs {
		if n < p.spec.CPUs {
			return needsOff("taking cpus away")
		}
		if !p.spec.CPUHotAdd {
			return needsOff("adding cpus without the hot-add flag")
		}
	}
	p.c.CPUs = &n
	return nil
}

func (p *planner) memory(want string) error {
	if want == "" {
		return nil
	}
	a, err := ParseMemoryAmount(want)
	if err != nil {
		return err
	}
	mb := a.Of(p.spec.MemoryMB)
	if mb < 4 {
		return Errorf(ErrInvalid, "a guest needs at least 4 MB; it has %d MB", p.spec.MemoryMB)
	}
	if p.running() && mb != p.spec.MemoryMB {
		if mb < p.spec.MemoryMB {
			return needsOff("taking memory away")
		}
		if !p.spec.MemoryHotAdd {
			return needsOff("adding memory without the hot-add flag")
		}
	}
	p.c.MemoryMB = &mb
	return nil
}

func (p *planner) optical(image string, iso Path, eject bool) error {
	if image == "" && !eject {
		return nil
	}
	if len(p.spec.CDROMs) == 0 {
		what := "insert ISO image"
		if eject {
			what = "perform eject"
		}
		return Errorf(ErrNotFound, "Unable to find Optical drive in VM to %s", what)
	}
	cd := p.spec.CDROMs[0]
	if eject {
		cd.ISO, cd.Connected = Path{}, false
	} else {
		cd.ISO, cd.Connected = iso, true
	}
	p.c.EditCDROM = &cd
	return nil
}

func (p *planner) other(req ChangeRequest) error {
	for _, item := range req.Other {
		if !strings.Contains(item, "=") {
			return Errorf(ErrInvalid, "Invalid format for other parameter specification")
		}
		k, v, _ := strings.Cut(item, "=")
		if err := CheckSetting(k); err != nil {
			return err
		}
		p.c.Extra = append(p.c.Extra, Setting{strings.TrimSpace(k), strings.TrimSpace(v)})
	}
	if err := twice(p.c.Extra); err != nil {
		return err
	}
	sched, err := ParseScheduler(req.Scheduler)
	if err != nil {
		return err
	}
	p.c.Scheduler = sched
	if len(req.Scheduler) > 0 { // what is asked for must fit what stays
		all := p.spec.Scheduler
		all.merge(sched)
		if err := all.check(); err != nil {
			return err
		}
	}
	if req.HotAdd == "" {
		return nil
	}
	on := strings.EqualFold(req.HotAdd, "on")
	if !on && !strings.EqualFold(req.HotAdd, "off") {
		return Errorf(ErrInvalid, "--hotadd %s: on or off", req.HotAdd)
	}
	if p.running() {
		return needsOff("changing the hot-add flags")
	}
	p.c.CPUHotAdd, p.c.MemoryHotAdd = &on, &on
	return nil
}

// FindNIC finds a network card by its label ("Network adapter 2"), its number
// ("2") or its address.
func (s *Spec) FindNIC(id string) (*NIC, error) {
	id = strings.TrimSpace(id)
	hw, _ := net.ParseMAC(id)
	_, notNumber := strconv.Atoi(id)
	for i := range s.NICs {
		n := &s.NICs[i]
		switch {
		case strings.EqualFold(n.Label, id),
			notNumber == nil && strings.EqualFold(n.Label, "Network adapter "+id),
			hw != nil && n.MAC == hw.String():
			return n, nil
		}
	}
	return nil, Errorf(ErrNotFound, "Network adapter:  %s does not exist", id)
}

// maxNICs is how many cards a guest may have ("vSphere configuration
// maximums", virtual machine networking).
const maxNICs = 10

// firstNICKey is the key of ethernet0.
const firstNICKey = 4000

func (p *planner) nics(req ChangeRequest, networks, macs []string) error {
	for _, id := range splitIDs(req.RemoveNIC) {
		n, err := p.spec.FindNIC(id)
		if err != nil {
			return err
		}
		p.c.RemoveNICs = append(p.c.RemoveNICs, *n)
		key := n.Key
		p.spec.NICs = without(p.spec.NICs, func(n NIC) bool { return n.Key == key })
	}
	for i, word := range req.AddNIC {
		_, model, _ := strings.Cut(word, "=")
		m, _ := p.nicModel(model)
		if err := m.fits(p.spec.Version); err != nil {
			return err
		}
		p.addNIC(NIC{MAC: macs[i], MACType: "manual", Network: networks[i], Model: m, Connected: true})
	}
	networks = networks[min(len(req.AddNIC), len(networks)):]
	for i, word := range req.SetNIC {
		if err := p.setNIC(word, networks[i]); err != nil {
			return err
		}
	}
	if len(p.spec.NICs) > maxNICs {
		return Errorf(ErrInvalid, "a guest has room for %d network cards", maxNICs)
	}
	return nil
}

func (p *planner) nicModel(word string) (NICModel, string) {
	if word == "" {
		word = p.g.NICModel
	}
	return ParseNICModel(word)
}

// addNIC puts a card in. The host gives it the first number that is free, and
// is told not to check an address that is outside what it knows.
func (p *planner) addNIC(n NIC) {
	number := 0
	for slices.ContainsFunc(p.spec.NICs, func(o NIC) bool { return o.Key == firstNICKey+int32(number) }) || slices.Contains(p.cards, number) {
		number++
	}
	p.cards = append(p.cards, number)
	if hw, err := net.ParseMAC(n.MAC); err == nil && RangeOf(hw) != RangeStatic {
		p.c.Extra = append(p.c.Extra, Setting{fmt.Sprintf("ethernet%d.checkMACAddress", number), "false"})
	}
	n.Key = -200 - int32(len(p.spec.NICs))
	p.c.AddNICs = append(p.c.AddNICs, n)
	p.spec.NICs = append(p.spec.NICs, n)
}

// setNIC moves a card to another network, or makes it another model. ESXi
// cannot change a card's model: it is taken out and a new one put in with the
// same address.
func (p *planner) setNIC(word, network string) error {
	id, rest, _ := strings.Cut(word, "=")
	n, err := p.spec.FindNIC(id)
	if err != nil {
		return err
	}
	if network != "" {
		n.Network = network
	}
	_, model, hasModel := strings.Cut(rest, "=")
	m := n.Model
	if hasModel {
		m, _ = ParseNICModel(model)
	}
	if err := m.fits(p.spec.Version); err != nil {
		return err
	}
	if m == n.Model {
		p.c.EditNICs = append(p.c.EditNICs, *n)
		return nil
	}
	old := *n
	p.c.RemoveNICs = append(p.c.RemoveNICs, old)
	p.spec.NICs = without(p.spec.NICs, func(x NIC) bool { return x.Key == old.Key })
	old.Model, old.MACType = m, "manual"
	p.addNIC(old)
	return nil
}
