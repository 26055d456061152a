package vm

import (
	"fmt"
)

// A Change is everything that one reconfiguration does to a guest. Nil and
// empty fields leave things as they are.
type Change struct {
	CPUs         *int
	MemoryMB     *int64
	GuestID      string
	UUID         string // as vSphere writes it
	Annotation   *string
	CPUHotAdd    *bool
	MemoryHotAdd *bool
	Scheduler    Scheduler

	AddControllers []Controller
	AddDisks       []Disk
	RemoveDisks    []DiskRemoval
	GrowDisks      []Disk // with their new size
	AddNICs        []NIC
	EditNICs       []NIC
	RemoveNICs     []NIC
	AddCDROM       *CDROM
	EditCDROM      *CDROM
	AddSerial      *SerialPort
	RemoveSerial   []SerialPort
	Extra          []Setting

	SetBoot bool // Boot is to be stored, even if empty
	Boot    []BootDevice
	Setup   *bool
}

// A DiskRemoval takes a disk off a guest; Purge deletes its file too.
type DiskRemoval struct {
	Disk  Disk
	Purge bool
}

// Empty says whether nothing would change.
func (c *Change) Empty() bool { return len(c.Describe()) == 0 }

// Describe says what the change does, one line each, for a dry run.
func (c *Change) Describe() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if c.CPUs != nil {
		add("cpus: %d", *c.CPUs)
	}
	if c.MemoryMB != nil {
		add("memory: %d MB", *c.MemoryMB)
	}
	if c.GuestID != "" {
		add("guest id: %s", c.GuestID)
	}
	if c.UUID != "" {
		add("uuid: %s", c.UUID)
	}
	if c.Annotation != nil {
		add("annotation: %s", *c.Annotation)
	}
	if c.CPUHotAdd != nil {
		add("cpu hot add: %v", *c.CPUHotAdd)
	}
	if c.MemoryHotAdd != nil {
		add("memory hot add: %v", *c.MemoryHotAdd)
	}
	out = append(out, c.Scheduler.describe()...)
	return append(out, c.describeDevices()...)
}

func (c *Change) describeDevices() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, k := range c.AddControllers {
		add("add controller: %s %d", k.Bus, k.Number)
	}
	for _, d := range c.AddDisks {
		add("add disk: %s MB %s at %s on %s", megabytes(d.KB), d.Format, d.ID(), d.Path)
	}
	for _, d := range c.RemoveDisks {
		word := "detach"
		if d.Purge {
			word = "purge"
		}
		add("%s disk: %s", word, d.Disk)
	}
	for _, d := range c.GrowDisks {
		add("grow disk: %s (%s) to %s MB", d.Label, d.ID(), megabytes(d.KB))
	}
	for _, n := range c.AddNICs {
		add("add nic: %s %s on %s", n.Model, n.MAC, n.Network)
	}
	for _, n := range c.EditNICs {
		add("move nic: %s to %s", n.Label, n.Network)
	}
	for _, n := range c.RemoveNICs {
		add("remove nic: %s %s", n.Label, n.MAC)
	}
	for _, cd := range []*CDROM{c.AddCDROM, c.EditCDROM} {
		if cd == nil {
			continue
		}
		if cd.ISO.IsZero() {
			add("eject cd")
			continue
		}
		add("insert cd: %s", cd.ISO)
	}
	for _, p := range c.RemoveSerial {
		add("remove serial port: %s", p.Label)
	}
	if p := c.AddSerial; p != nil {
		add("add serial port: %s at %s", p.URI, p.Proxy)
	}
	for _, e := range c.Extra {
		add("set %s = %q", e.Key, e.Value)
	}
	if c.SetBoot {
		add("boot order: %v", c.Boot)
	}
	if c.Setup != nil {
		add("enter setup: %v", *c.Setup)
	}
	return out
}

func (s Scheduler) describe() []string {
	var out []string
	num := func(name string, v *int64) {
		if v != nil {
			out = append(out, fmt.Sprintf("%s: %d", name, *v))
		}
	}
	word := func(name, v string) {
		if v != "" {
			out = append(out, name+": "+v)
		}
	}
	num("cpu reservation", s.CPUReservation)
	num("cpu limit", s.CPULimit)
	word("cpu shares", s.CPUShares)
	num("memory reservation", s.MemReservation)
	num("memory limit", s.MemLimit)
	word("memory shares", s.MemShares)
	word("latency sensitivity", s.Latency)
	return out
}

// Apply does a change to a Spec: what a guest will be. Backends that write
// whole definitions use it, and so do tests of those that do not.
func (s *Spec) Apply(c *Change) {
	if c.CPUs != nil {
		s.CPUs = *c.CPUs
	}
	if c.MemoryMB != nil {
		s.MemoryMB = *c.MemoryMB
	}
	if c.GuestID != "" {
		s.GuestID = c.GuestID
	}
	if c.UUID != "" {
		s.UUID = c.UUID
	}
	if c.Annotation != nil {
		s.Annotation = *c.Annotation
	}
	if c.CPUHotAdd != nil {
		s.CPUHotAdd = *c.CPUHotAdd
	}
	if c.MemoryHotAdd != nil {
		s.MemoryHotAdd = *c.MemoryHotAdd
	}
	s.Scheduler.merge(c.Scheduler)
	s.applyDevices(c)
	for _, e := range c.Extra {
		s.Set(e.Key, e.Value)
	}
	if c.SetBoot {
		s.Boot = c.Boot
	}
	if c.Setup != nil {
		s.EnterSetup = *c.Setup
	}
}

func (s *Spec) applyDevices(c *Change) {
	for _, r := range c.RemoveDisks {
		s.Disks = without(s.Disks, func(d Disk) bool { return d.Key == r.Disk.Key })
	}
	for _, r := range c.RemoveNICs {
		s.NICs = without(s.NICs, func(n NIC) bool { return n.Key == r.Key })
	}
	for _, k := range c.AddControllers {
		if s.Controller(k.Key) == nil {
			s.Controllers = append(s.Controllers, k)
		}
	}
	for _, g := range c.GrowDisks {
		if d := s.Disk(g.Key); d != nil {
			d.KB = g.KB
		}
	}
	s.Disks = append(s.Disks, c.AddDisks...)
	for _, e := range c.EditNICs {
		for i := range s.NICs {
			if s.NICs[i].Key == e.Key {
				s.NICs[i] = e
			}
		}
	}
	s.NICs = append(s.NICs, c.AddNICs...)
	if c.AddCDROM != nil {
		s.CDROMs = append(s.CDROMs, *c.AddCDROM)
	}
	if c.EditCDROM != nil {
		for i := range s.CDROMs {
			if s.CDROMs[i].Key == c.EditCDROM.Key {
				s.CDROMs[i] = *c.EditCDROM
			}
		}
	}
}

func without[T any](list []T, gone func(T) bool) []T {
	var out []T
	for _, x := range list {
		if !gone(x) {
			out = append(out, x)
		}
	}
	return out
}

func (s *Scheduler) merge(c Scheduler) {
	for _, p := range []struct{ dst, src **int64 }{
		{&s.CPUReservation, &c.CPUReservation}, {&s.CPULimit, &c.CPULimit},
		{&s.MemReservation, &c.MemReservation}, {&s.MemLimit, &c.MemLimit},
	} {
		if *p.src != nil {
			*p.dst = *p.src
		}
	}
	for _, p := range []struct{ dst, src *string }{
		{&s.CPUShares, &c.CPUShares}, {&s.MemShares, &c.MemShares}, {&s.Latency, &c.Latency},
	} {
		if *p.src != "" {
			*p.dst = *p.src
		}
	}
}
