package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
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
}

// DefaultDisk is the disk that a guest gets where mkvm names no size.
const DefaultDisk = "4G"

// Make does mkvm. The guests' addresses and UUIDs are in the table already:
// see Allocator.
func (m *Manager) Make(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, req MakeRequest, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{}, emit)
		mk := &maker{m: m, snap: snap, hv: hv, req: req, hosts: map[string]*site{}}
		var wg sync.WaitGroup
		slots := make(chan struct{}, makes(hv))
		for _, g := range guests {
			if _, ok := found[g.Name]; ok {
				emit(Result{Node: g.Name, Err: Errorf(ErrExists, "Virtual Machine already exists")})
				continue
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				emit(mk.make(ctx, g, emit))
			})
		}
		wg.Wait()
	})
}

// makes is how many guests one endpoint makes at a time.
func makes(hv Hypervisor) int {
	if hv.About().Kind == VPX {
		return 16
	}
	return 4
}

// A maker makes guests on one endpoint.
type maker struct {
	m    *Manager
	snap *nodedb.Snapshot
	hv   Hypervisor
	req  MakeRequest

	mu    sync.Mutex
	hosts map[string]*site  // guarded by mu
	macs  map[string]string // address to guest that has it, on this endpoint; guarded by mu
}

func (mk *maker) make(ctx context.Context, g *Guest, emit Emit) Result {
	size, facts, err := mk.req.size(g)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	st, err := mk.site(ctx, g)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	if mk.req.DryRun {
		return mk.describe(g, st, size, emit)
	}
	ready, err := st.prepare(ctx, g)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	home, _ := g.Home()
	vmx := Path{ready.datastores[home.String()], g.Name + "/" + g.Name + ".vmx"}
	if _, err := mk.hv.Register(ctx, st.where(g), vmx, g.Name); err == nil {
		return Result{Node: g.Name} // the old guest is back, disks and all
	} else if !errors.Is(err, ErrNotFound) {
		return Result{Node: g.Name, Err: err}
	}
	if err := mk.clash(ctx, g); err != nil {
		return Result{Node: g.Name, Err: err}
	}
	if mk.req.Image != nil {
		return mk.fromImage(ctx, g, st, size, ready, vmx, facts, emit)
	}
	spec, notes, err := g.Spec(size, ready.datastores, ready.networks)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	spec.Home = Path{Datastore: vmx.Datastore}
	if err := noVNC(st.host.Version, spec.Extra); err != nil {
		return Result{Node: g.Name, Err: err}
	}
	if err := st.room(g, spec); err != nil {
		return Result{Node: g.Name, Err: err}
	}
	if _, err := mk.hv.Create(ctx, st.where(g), spec); err != nil {
		return Result{Node: g.Name, Err: err}
	}
	return Result{Node: g.Name, Facts: facts, Warn: strings.Join(notes, "; ")}
}

// clash refuses addresses that a guest on the same endpoint has which the
// table may know nothing of.
func (mk *maker) clash(ctx context.Context, g *Guest) error {
	mk.mu.Lock()
	defer mk.mu.Unlock()
	if mk.macs == nil {
		vms, err := mk.hv.VMs(ctx, Query{Detail: true})
		if err != nil {
			return err
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
	}
	for i := range g.Networks {
		mac := g.MAC(i)
		if mac == "" {
			continue
		}
		if owner := mk.macs[mac]; owner != "" && owner != g.Name {
			return Errorf(ErrExists, "mac %s is that of guest %s on %s; change one of them", mac, owner, g.Endpoint)
		}
		mk.macs[mac] = g.Name
	}
	return nil
}

func (mk *maker) describe(g *Guest, st *site, size Size, emit Emit) Result {
	lines, ready, err := st.plan(g)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	if mk.req.Image != nil {
		size = mk.req.imageSizes(size)
	}
	spec, notes, err := g.Spec(size, ready.datastores, ready.networks)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
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
	mk := &maker{m: m, snap: snap, hv: hv, hosts: map[string]*site{}}
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
