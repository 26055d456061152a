package vm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"margay/nodedb"
)

// A MigrateRequest is one rmigrate.
type MigrateRequest struct {
	Target  string // host; empty with Storage
	Storage string // -s: a location
	Force   bool   // -f: the guest's host is dead
	DryRun  bool   // only the preflight

	room *roomCheck
}

// Migrate does rmigrate. Moving guests is the vCenter's to do, whatever
// preferdirect says.
func (m *Manager) Migrate(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, req MigrateRequest, emit Emit) {
	emit = serial(emit)
	if err := req.check(); err != nil {
		for _, n := range nodes {
			emit(Result{Node: n.Name, Err: err})
		}
		return
	}
	req.room = &roomCheck{dry: req.DryRun}
	for _, n := range nodes {
		r, err := m.migrate(ctx, snap, n, req, emit)
		r.Node, r.Err = n.Name, err
		emit(r)
	}
}

func (r MigrateRequest) check() error {
	switch {
	case r.Storage != "" && r.Target != "":
		return Errorf(ErrInvalid, "Unable to mix storage migration and processing of arguments %s", r.Target)
	case r.Storage != "" && r.Force:
		return Errorf(ErrInvalid, "Storage migration impossible with dead hypervisor, must be migrated to live hypervisor first")
	case r.Storage == "" && r.Target == "":
		return Errorf(ErrInvalid, "No target hypervisor specified")
	}
	return nil
}

// vcenterOf is the vCenter that a guest is moved by: that of its host, which
// must be that of the target too.
func (m *Manager) vcenterOf(ctx context.Context, snap *nodedb.Snapshot, host, target string) (Endpoint, error) {
	var e Endpoint
	for _, name := range []string{host, target} {
		if name == "" {
			continue
		}
		next, err := m.managerOf(ctx, snap, name)
		if err != nil {
			return e, err
		}
		if e.Host != "" && next.Key() != e.Key() {
			return e, Errorf(ErrUnsupported, "%s is managed by %s and %s by %s; guests move within one vCenter", host, e, target, next)
		}
		e = next
	}
	return e, nil
}

// managerOf is a host's vCenter: its hostmanager, or the one that the host's
// own address names by vcenter=, "*" being the one that the host knows.
func (m *Manager) managerOf(ctx context.Context, snap *nodedb.Snapshot, name string) (Endpoint, error) {
	h, err := snap.Node(name)
	if err != nil {
		return Endpoint{}, err
	}
	if HasVCenter(h) {
		return VCenterEndpoint(snap, h.HostManager)
	}
	e, err := HostEndpoint(snap, name)
	if err != nil {
		return e, err
	}
	switch e.VCenter {
	case "":
		return e, Errorf(ErrUnsupported, "%s has no vCenter; set hostmanager, as hosts alone cannot move guests", name)
	case "*":
		return m.askManager(ctx, snap, e)
	}
	return VCenterEndpoint(snap, e.VCenter)
}

func (m *Manager) askManager(ctx context.Context, snap *nodedb.Snapshot, e Endpoint) (Endpoint, error) {
	hv, err := m.Open(ctx, e)
	if err != nil {
		return e, err
	}
	h, err := hv.Host(ctx, "")
	if err != nil {
		return e, err
	}
	if h.VCenter == "" {
		return e, Errorf(ErrUnsupported, "%s is managed by no vCenter", e)
	}
	return VCenterEndpoint(snap, h.VCenter)
}

func (m *Manager) migrate(ctx context.Context, snap *nodedb.Snapshot, n *nodedb.Node, req MigrateRequest, emit Emit) (Result, error) {
	g, err := NewGuest(snap, n)
	if err != nil {
		return Result{}, err
	}
	e, err := m.vcenterOf(ctx, snap, g.Host, req.Target)
	if err == nil {
		g.Endpoint, g.Path = e, e.Path
		var hv Hypervisor
		if hv, err = m.Open(ctx, e); err == nil {
			return m.migrateBy(ctx, snap, hv, g, req, emit)
		}
	}
	where := req.Target
	if where == "" {
		where = req.Storage
	}
	return Result{}, Errorf(ErrUnreachable, "Unable to migrate %s to %s due to inability to validate vCenter connectivity: %v", n.Name, where, err)
}

func (m *Manager) migrateBy(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, g *Guest, req MigrateRequest, emit Emit) (Result, error) {
	mover, ok := as[Migrator](hv)
	if !ok {
		return Result{}, ErrUnsupported
	}
	var missing error
	_, found := look(ctx, hv, []*Guest{g}, Query{Detail: true}, func(r Result) { missing = r.Err })
	if missing != nil {
		return Result{}, missing
	}
	v, ok := found[g.Name]
	if !ok {
		return Result{}, Errorf(ErrNotFound, "Unable to locate node in vCenter")
	}
	if req.Storage != "" {
		return m.relocate(ctx, snap, hv, mover, g, v, req, emit)
	}
	return m.move(ctx, snap, hv, mover, g, v, req, emit)
}

func (m *Manager) move(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, mover Migrator, g *Guest, v VM, req MigrateRequest, emit Emit) (Result, error) {
	target, err := m.hostName(ctx, snap, hv, req.Target)
	if err != nil {
		return Result{}, err
	}
	checks, err := m.preflight(ctx, snap, hv, g, v, req, target)
	if req.DryRun {
		for _, c := range checks {
			emit(Result{Node: g.Name, Text: c.String()})
		}
		return Result{}, err
	}
	if err != nil {
		return Result{}, err
	}
	if req.Force {
		err = m.revive(ctx, hv, g, v, target)
	} else {
		err = mover.Migrate(ctx, v, target, progress(emit, g.Name))
	}
	if err != nil {
		return Result{}, fmt.Errorf("Migrating to %s %w", req.Target, err)
	}
	return Result{Text: "migrated to " + req.Target, Facts: map[string]string{"vm.host": req.Target}}, nil
}

// revive takes a guest whose host is dead up on another.
func (m *Manager) revive(ctx context.Context, hv Hypervisor, g *Guest, v VM, target string) error {
	if err := hv.Remove(ctx, v, false); err != nil {
		return err
	}
	_, err := hv.Register(ctx, Where{Host: target, Datacenter: g.Folder, Path: g.Path}, v.Path, g.Name)
	return err
}

// A Check is one thing that a move needs.
type Check struct {
	What string
	Err  error
	Note string // in place of "ok"
}

func (c Check) String() string {
	if c.Err != nil {
		return c.What + ": " + c.Err.Error()
	}
	if c.Note != "" {
		return c.What + ": " + c.Note
	}
	return c.What + ": ok"
}

// preflight looks at everything that a move needs before it is begun, and at
// all of it even if something is amiss.
func (m *Manager) preflight(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, g *Guest, v VM, req MigrateRequest, target string) ([]Check, error) {
	h, err := hv.Host(ctx, target)
	if err != nil {
		return nil, err
	}
	checks := []Check{
		{What: "vCenter " + g.Endpoint.String() + " answers"},
		{What: "target " + req.Target + " is connected", Err: when(!h.Connected, "vCenter has lost its connection; chhypervisor %s --reconnect", req.Target)},
		{What: "target " + req.Target + " is not in maintenance", Err: when(h.Maintenance, "it is in maintenance mode; chhypervisor %s -o", req.Target)},
		{What: "guest is not on it already", Err: when(v.Host == target, "it is")},
		{What: "no question is pending", Err: when(v.Question != nil, "the guest waits for an answer")},
	}
	more, err := m.liveChecks(ctx, hv, v, h, req)
	if err != nil {
		return nil, err
	}
	checks = append(checks, more...)
	if more, err = req.room.check(ctx, snap, hv, h, req.Target, v); err != nil {
		return nil, err
	}
	checks = append(checks, more...)
	for _, ds := range datastoresOf(v) {
		d := h.Datastore(ds)
		checks = append(checks, Check{What: "datastore " + ds + " is on the target",
			Err: when(d == nil || !d.Accessible, "Unable to verify storage state on target system: %s does not have it", req.Target)})
	}
	for _, n := range networksOf(v) {
		note, err := m.ensureNetwork(ctx, snap, hv, g, h, n, true)
		checks = append(checks, Check{"network " + n + " is on the target", err, note})
	}
	var bad []string
	for _, c := range checks {
		if c.Err != nil {
			bad = append(bad, c.String())
		}
	}
	if len(bad) > 0 {
		return checks, Errorf(ErrInvalid, "Migrating to %s: %s", req.Target, strings.Join(bad, "; "))
	}
	if req.DryRun {
		return checks, nil
	}
	for _, n := range networksOf(v) { // now that nothing else stands in the way
		if _, err := m.ensureNetwork(ctx, snap, hv, g, h, n, false); err != nil {
			return checks, err
		}
	}
	return checks, nil
}

// liveChecks are what a guest that runs needs to move without a stop. Of one
// whose host is dead there is no host to ask.
func (m *Manager) liveChecks(ctx context.Context, hv Hypervisor, v VM, target *Host, req MigrateRequest) ([]Check, error) {
	if req.Force || v.Host == "" {
		return nil, nil
	}
	source, err := hv.Host(ctx, v.Host)
	if err != nil {
		return nil, err
	}
	checks := []Check{{What: "host " + v.Host + " is connected", Err: when(!source.Connected, "vCenter has lost its connection; chhypervisor %s --reconnect, or if it is dead, -f", v.Host)}}
	if v.State != nodedb.PowerOn {
		return checks, nil
	}
	maker := func(h *Host) string { word, _, _ := strings.Cut(h.CPUModel, " "); return word }
	checks = append(checks,
		Check{What: "vMotion is on at " + v.Host, Err: when(!source.VMotion, "no VMkernel card of it is for vMotion; chhypervisor %s --vmotion vmk0", v.Host)},
		Check{What: "vMotion is on at " + req.Target, Err: when(!target.VMotion, "no VMkernel card of it is for vMotion; chhypervisor %s --vmotion vmk0", req.Target)},
		Check{What: "processors are of one make", Err: when(maker(source) != maker(target), "%s has %s, %s has %s; turn the guest off to move it", v.Host, source.CPUModel, req.Target, target.CPUModel)},
		Check{What: "target " + req.Target + " has memory", Err: when(target.FreeMB < v.MemoryMB, "%d MB are free, the guest has %d MB", target.FreeMB, v.MemoryMB)})
	for _, cd := range v.Spec.CDROMs {
		if cd.ISO.IsZero() {
			continue
		}
		d := target.Datastore(cd.ISO.Datastore)
		checks = append(checks, Check{What: "image in " + cd.Label + " is on the target",
			Err: when(d == nil || !d.Accessible, "%s does not have %s; chvm --eject", req.Target, cd.ISO)})
	}
	return checks, nil
}

func when(bad bool, format string, args ...any) error {
	if !bad {
		return nil
	}
	return Errorf(ErrInvalid, format, args...)
}

func datastoresOf(v VM) []string {
	out := []string{v.Path.Datastore}
	for _, d := range v.Spec.Disks {
		if !slices.Contains(out, d.Path.Datastore) {
			out = append(out, d.Path.Datastore)
		}
	}
	return out
}

func networksOf(v VM) []string {
	var out []string
	for _, n := range v.Spec.NICs {
		if n.Network != "" && !slices.Contains(out, n.Network) {
			out = append(out, n.Network)
		}
	}
	return out
}

// ensureNetwork makes a network on the target that the guest's own host has.
func (m *Manager) ensureNetwork(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, g *Guest, h *Host, name string, dry bool) (note string, err error) {
	if slices.Contains(h.Networks, name) {
		return "", nil
	}
	for _, pg := range h.PortGroups {
		if pg.Name == name {
			return "", nil
		}
	}
	defer m.lock(g.Endpoint.Key() + "/" + h.Name).Unlock()
	fixed, err := fixedNetworks(snap, hostNode(snap, h.Name))
	if err != nil {
		return "", err
	}
	st := &site{m: m, hv: hv, host: h, fixedNets: fixed}
	for _, n := range g.Networks {
		p, err := PlanNetwork(n, g.NetMap, h)
		if err != nil || p.PortGroup.Name != name {
			continue
		}
		if dry && st.fixedNets == "" {
			return "would be made", nil
		}
		_, err = st.network(ctx, g, n)
		return "", err
	}
	return "", Errorf(ErrNotFound, "Unable to verify target network state: %s has no network %q", h.Name, name)
}

func (m *Manager) relocate(ctx context.Context, snap *nodedb.Snapshot, hv Hypervisor, mover Migrator, g *Guest, v VM, req MigrateRequest, emit Emit) (Result, error) {
	l, err := ParseLocation(req.Storage)
	if err != nil {
		return Result{}, err
	}
	mk := newMaker(m, snap, hv, MakeRequest{})
	st, err := mk.site(ctx, g)
	if err != nil {
		return Result{}, err
	}
	if req.DryRun {
		return Result{Text: "would relocate to " + l.String()}, nil
	}
	lock := m.lock(g.Endpoint.Key() + "/" + st.host.Name)
	ds, err := st.datastore(ctx, l)
	lock.Unlock()
	if err != nil {
		return Result{}, Errorf(ErrNotFound, "Unable to find/mount target datastore %s: %v", req.Storage, err)
	}
	if err := mover.Relocate(ctx, v, ds, progress(emit, g.Name)); err != nil {
		return Result{}, fmt.Errorf("Relocating to %s %w", req.Storage, err)
	}
	// "to to" is how xCAT prints it, and what scripts look for.
	return Result{Text: "relocated to " + l.String(), Facts: map[string]string{"vm.storage": keepModels(g, "vm.storage", l.String())}}, nil
}
