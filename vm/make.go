package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"margay/nodedb"
)

// A MakeRequest is one mkvm, as it was typed.
type MakeRequest struct {
	Sizes  string // -s; empty: DefaultDisk; none: no disk
	Memory string
	CPUs   string
	Format string
	DryRun bool
	// Image is what the first disks are copied from; nil: they are made empty.
	// Linked has them hold only what differs from it.
	Image  *Image
	From   *Repository
	Linked bool
	// Fragment is added to each guest; nil: none.
	Fragment *Fragment
}

// DefaultDisk is the disk that a guest gets where mkvm names no size.
const DefaultDisk = "4G"

// Make does mkvm. The guests' addresses and UUIDs are in the table already:
// see Allocator.
func (m *Manager) Make(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, req MakeRequest, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		mk := newMaker(m, snap, hv, req)
		var wg sync.WaitGroup
		defer wg.Wait()
		if first := guests[0]; hv.About().Kind == ESX { // the only host is looked at meanwhile
			wg.Go(func() { _, _ = mk.site(ctx, first) })
		}
		guests, found := look(ctx, hv, guests, Query{Brief: true, NoState: true}, emit)
		guests = slices.DeleteFunc(guests, func(g *Guest) bool {
			_, there := found[g.Name]
			if there {
				emit(Result{Node: g.Name, Err: Errorf(ErrExists, "Virtual Machine already exists")})
			}
			return there
		})
		if !req.DryRun && slices.ContainsFunc(guests, func(g *Guest) bool { return len(g.Networks) > 0 }) {
			wg.Go(func() { _, _ = mk.owners(ctx) })
		}
		slots := make(chan struct{}, makes)
		for _, group := range byHost(guests) {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				mk.host(ctx, group, emit)
			})
		}
	})
}

// makes is on how many hosts of a vCenter guests are made at a time, and of
// how many at a time images are copied to one host.
const makes = 4

// byHost puts guests of one host, or of one cluster, together.
func byHost(guests []*Guest) [][]*Guest {
	var out [][]*Guest
	at := map[string]int{}
	for _, g := range guests {
		key := g.Host + "@" + g.Cluster
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], g)
	}
	return out
}

// A maker makes guests on one endpoint.
type maker struct {
	m    *Manager
	snap *nodedb.Snapshot
	hv   Hypervisor
	req  MakeRequest

	mu    sync.Mutex
	hosts map[string]func() (*site, error) // guarded by mu

	macMu sync.Mutex
	macs  map[string]string // address to guest that has it, on this endpoint; nil: not read; the map is guarded by macMu, what is in it by mu
}

func newMaker(m *Manager, snap *nodedb.Snapshot, hv Hypervisor, req MakeRequest) *maker {
	return &maker{m: m, snap: snap, hv: hv, req: req, hosts: map[string]func() (*site, error){}}
}

// A making is a guest on its way: what is known of it so far.
type making struct {
	g     *Guest
	st    *site
	size  Size
	facts map[string]string
	ready ready
	vmx   Path
	notes []string
}

// host makes the guests of one host. What their old files bring back is
// registered; the rest is made anew.
func (mk *maker) host(ctx context.Context, guests []*Guest, emit Emit) {
	var list []*making
	for _, g := range guests {
		w, err := mk.begin(ctx, g, emit)
		if err != nil {
			emit(Result{Node: g.Name, Err: err})
		} else if w != nil {
			list = append(list, w)
		}
	}
	if list = mk.register(ctx, list, emit); mk.req.Image != nil {
		mk.images(ctx, list, emit)
		return
	}
	mk.create(ctx, list, emit)
}

// begin prepares a guest's host; a dry run ends with it, and returns nil.
func (mk *maker) begin(ctx context.Context, g *Guest, emit Emit) (*making, error) {
	size, facts, err := mk.req.size(g)
	if err != nil {
		return nil, err
	}
	st, err := mk.site(ctx, g)
	if err != nil {
		return nil, err
	}
	if err := st.claim(ctx, size); err != nil {
		return nil, err
	}
	if mk.req.DryRun {
		emit(mk.describe(ctx, g, st, size, emit))
		return nil, nil
	}
	ready, err := st.prepare(ctx, g)
	if err != nil {
		return nil, err
	}
	home, _ := g.Home()
	vmx := Path{ready.datastores[home.String()], g.Name + "/" + g.Name + ".vmx"}
	return &making{g: g, st: st, size: size, facts: facts, ready: ready, vmx: vmx}, nil
}

// register makes guests known whose files are there, disks and all. It
// returns the others.
func (mk *maker) register(ctx context.Context, list []*making, emit Emit) (rest []*making) {
	old := make([]Making, len(list))
	for i, w := range list {
		old[i] = Making{At: w.st.where(w.g), Name: w.g.Name, Old: w.vmx}
	}
	mk.hv.Make(ctx, old, func(i int, _ VM, err error) {
		w := list[i]
		if errors.Is(err, ErrNotFound) {
			rest = append(rest, w)
			return
		}
		emit(Result{Node: w.g.Name, Err: err})
	})
	return rest
}

func (mk *maker) create(ctx context.Context, list []*making, emit Emit) {
	var wanted []Making
	var of []*making
	for _, w := range list {
		spec, err := mk.spec(ctx, w)
		if err != nil {
			emit(Result{Node: w.g.Name, Err: err})
			continue
		}
		wanted, of = append(wanted, Making{At: w.st.where(w.g), Name: w.g.Name, Spec: spec}), append(of, w)
	}
	mk.hv.Make(ctx, wanted, func(i int, _ VM, err error) {
		w := of[i]
		if err != nil {
			emit(Result{Node: w.g.Name, Err: err})
			return
		}
		emit(Result{Node: w.g.Name, Facts: w.facts, Warn: strings.Join(w.notes, "; ")})
	})
}

// spec is what a guest is made of, checked.
func (mk *maker) spec(ctx context.Context, w *making) (*Spec, error) {
	if err := mk.clash(ctx, w.g, len(w.g.Networks)); err != nil {
		return nil, err
	}
	spec, notes, err := mk.build(w.g, w.size, w.ready)
	if err != nil {
		return nil, err
	}
	more, err := w.st.offered(ctx, w.g, spec)
	if err != nil {
		return nil, err
	}
	w.notes = append(notes, more...)
	spec.Home = Path{Datastore: w.vmx.Datastore}
	if err := noVNC(w.st.host.Version, spec.Extra); err != nil {
		return nil, err
	}
	return spec, w.st.room(w.g, spec)
}

func (mk *maker) images(ctx context.Context, list []*making, emit Emit) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, makes)
	for _, w := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := mk.clash(ctx, w.g, len(w.g.Networks)); err != nil {
				emit(Result{Node: w.g.Name, Err: err})
				return
			}
			emit(mk.fromImage(ctx, w.g, w.st, w.size, w.ready, w.vmx, w.facts, emit))
		})
	}
	wg.Wait()
}

// clash refuses addresses, of a guest's first so many cards, that another guest
// on the same endpoint has which the table may know nothing of.
func (mk *maker) clash(ctx context.Context, g *Guest, cards int) error {
	if cards == 0 {
		return nil
	}
	macs, err := mk.owners(ctx)
	if err != nil {
		return err
	}
	mk.mu.Lock()
	defer mk.mu.Unlock()
	for i := range cards {
		mac := g.MAC(i)
		if mac == "" {
			continue
		}
		if owner := macs[mac]; owner != "" && owner != g.Name {
			return Errorf(ErrExists, "mac %s is that of guest %s on %s; change one of them", mac, owner, g.Endpoint)
		}
		macs[mac] = g.Name
	}
	return nil
}

// owners reads whose addresses are whose, once.
func (mk *maker) owners(ctx context.Context) (map[string]string, error) {
	mk.macMu.Lock()
	defer mk.macMu.Unlock()
	if mk.macs != nil {
		return mk.macs, nil
	}
	vms, err := mk.hv.VMs(ctx, Query{Detail: true})
	if err != nil {
		return nil, err
	}
	mk.macs = map[string]string{}
	for _, v := range vms {
		if v.Spec == nil {
			continue
		}
		for _, n := range v.Spec.NICs {
			mk.macs[n.MAC] = v.Name
		}
	}
	return mk.macs, nil
}

func (mk *maker) describe(ctx context.Context, g *Guest, st *site, size Size, emit Emit) Result {
	lines, ready, err := st.plan(g)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	if mk.req.Image != nil {
		size = mk.req.imageSizes(size)
	}
	spec, notes, err := mk.build(g, size, ready)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	more, err := st.offered(ctx, g, spec)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	notes = append(notes, more...)
	if mk.req.Image != nil {
		lines = append(lines, fmt.Sprintf("would copy image %s to %s", mk.req.Image.Name, spec.Disks[0].Path))
	}
	for _, line := range append(lines, spec.Describe()...) {
		emit(Result{Node: g.Name, Text: line})
	}
	return Result{Node: g.Name, Warn: strings.Join(notes, "; ")}
}

// A Size is how large a guest is made.
type Size struct {
	CPUs     int
	MemoryMB int64
	Disks    []int64 // KiB each; empty: none
	Format   Format
}

// size is what mkvm asks for, the table's values where it is silent, the
// defaults last. The table learns what was asked only where it had a value.
func (r MakeRequest) size(g *Guest) (Size, map[string]string, error) {
	s := Size{CPUs: g.CPUs, MemoryMB: g.MemoryMB, Format: g.Format}
	facts := map[string]string{}
	if r.CPUs != "" {
		a, err := ParseCount(r.CPUs)
		if err != nil || a.Sign != 0 {
			return s, nil, Errorf(ErrInvalid, "--cpus %s: not a number above 0", r.CPUs)
		}
		s.CPUs = int(a.Value)
		if g.CPUs != 0 {
			facts["vm.cpus"] = fmt.Sprint(s.CPUs)
		}
	}
	if r.Memory != "" {
		mb, err := ParseMemory(r.Memory)
		if err != nil {
			return s, nil, err
		}
		s.MemoryMB = mb
		if g.MemoryMB != 0 {
			facts["vm.memory"] = fmt.Sprint(mb)
		}
	}
	if s.CPUs == 0 {
		s.CPUs = DefaultCPUs
	}
	if s.MemoryMB == 0 {
		s.MemoryMB = DefaultMemoryMB
	}
	if r.Format != "" {
		f, err := ParseFormat(r.Format)
		if err != nil {
			return s, nil, err
		}
		s.Format = f
	}
	if strings.EqualFold(r.Sizes, "none") || r.Sizes == "0" {
		return s, facts, nil
	}
	sizes := r.Sizes
	if sizes == "" && r.Image != nil {
		return s, facts, nil
	}
	if sizes == "" {
		sizes = DefaultDisk
	}
	var err error
	s.Disks, err = ParseDiskSizes(sizes)
	return s, facts, err
}

// Spec is the guest's hardware as mkvm makes it. datastores maps a location
// (Location.String) to the datastore's name on the host; networks are the
// port groups of its cards. notes are for the operator.
func (g *Guest) Spec(size Size, datastores map[string]string, networks []string) (s *Spec, notes []string, err error) {
	s = &Spec{
		Name: g.Name, UUID: SwapUUID(g.UUID), GuestID: g.GuestID,
		CPUs: size.CPUs, MemoryMB: size.MemoryMB, Extra: append([]Setting(nil), g.Extra...),
		Controllers: []Controller{{200, IDE, 0}, {201, IDE, 1}},
		CDROMs:      []CDROM{{Key: -50, Controller: 201, Unit: 0}},
	}
	if err := g.typed(s); err != nil {
		return nil, nil, err
	}
	if err := g.addDisks(s, size, datastores); err != nil {
		return nil, nil, err
	}
	for i := range g.Networks {
		model, note := g.Model(i)
		if note != "" {
			notes = append(notes, note)
		}
		if err := model.fits(s.Version); err != nil {
			return nil, nil, Errorf(ErrUnsupported, "network %d: %v", i+1, err)
		}
		n := NIC{Key: -200 - int32(i), MAC: g.MAC(i), MACType: "manual", Network: networks[i], Model: model, Connected: true}
		if n.MAC == "" {
			n.MACType = "generated"
		}
		s.NICs = append(s.NICs, n)
	}
	if len(s.NICs) > maxNICs {
		return nil, nil, Errorf(ErrInvalid, "vmnics has %d networks; a guest has room for %d cards", len(s.NICs), maxNICs)
	}
	if foreignMAC(s.NICs) {
		notes = append(notes, checkMAC(s)...)
	}
	return s, notes, nil
}

// typed takes the settings out of vm.othersettings that have a field of their
// own, so that no guest is told one thing twice.
func (g *Guest) typed(s *Spec) error {
	for _, t := range []struct {
		key string
		dst *string
	}{{"firmware", &s.Firmware}, {"annotation", &s.Annotation}} {
		if v, ok := s.Setting(t.key); ok {
			*t.dst = v
			s.Set(t.key, "")
		}
	}
	if v, ok := s.Setting("virtualHW.version"); ok {
		s.Version = "vmx-" + fmt.Sprintf("%02s", strings.TrimPrefix(v, "vmx-"))
		s.Set("virtualHW.version", "")
	}
	for _, e := range s.Extra {
		if err := CheckSetting(e.Key); err != nil {
			return Errorf(ErrInvalid, "vmothersetting: %v", err)
		}
	}
	if err := twice(s.Extra); err != nil {
		return Errorf(ErrInvalid, "vmothersetting: %v", err)
	}
	return nil
}

func foreignMAC(nics []NIC) bool {
	for _, n := range nics {
		hw, err := net.ParseMAC(n.MAC)
		if err == nil && RangeOf(hw) != RangeStatic {
			return true
		}
	}
	return false
}

// checkMAC turns off the host's own check of addresses for each card whose
// address is not in the range that VMware leaves to operators.
func checkMAC(s *Spec) []string {
	for i, n := range s.NICs {
		hw, err := net.ParseMAC(n.MAC)
		if err != nil || RangeOf(hw) == RangeStatic {
			continue
		}
		s.Set(fmt.Sprintf("ethernet%d.checkMACAddress", i), "false")
	}
	return nil
}

func (g *Guest) addDisks(s *Spec, size Size, datastores map[string]string) error {
	if len(size.Disks) == 0 {
		return nil
	}
	if len(g.Storage) == 0 {
		return Errorf(ErrInvalid, "vmstorage is not set")
	}
	for i := range max(len(g.Storage), len(size.Disks)) {
		l := g.Storage[min(i, len(g.Storage)-1)]
		bus := l.Bus
		if bus == "" {
			bus = g.Bus
		}
		kb := size.Disks[min(i, len(size.Disks)-1)]
		if _, _, err := s.newDisk(bus, kb, size.Format, datastores[l.String()]); err != nil {
			return err
		}
	}
	return nil
}

// Describe says what a guest would be, one line each, for a dry run.
func (s *Spec) Describe() []string {
	out := []string{
		fmt.Sprintf("would make %s: %d cpus, %d MB, %s", s.Name, s.CPUs, s.MemoryMB, s.GuestID),
	}
	for _, d := range s.Disks {
		out = append(out, fmt.Sprintf("disk %s: %s MB %s on %s", d.ID(), megabytes(d.KB), d.Format, d.Path))
	}
	for _, n := range s.NICs {
		out = append(out, fmt.Sprintf("nic %s %s on %s", n.Model, n.MAC, n.Network))
	}
	return out
}

// registerOld makes a guest known whose .vmx is where the table says.
func (m *Manager) registerOld(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, g *Guest) (VM, error) {
	mk := newMaker(m, snap, hv, MakeRequest{})
	st, err := mk.site(ctx, g)
	if err != nil {
		return VM{}, err
	}
	home, err := g.Home()
	if err != nil {
		return VM{}, err
	}
	name, err := st.datastore(ctx, home)
	if err != nil {
		return VM{}, err
	}
	return hv.Register(ctx, st.where(g), Path{name, g.Name + "/" + g.Name + ".vmx"}, g.Name)
}
