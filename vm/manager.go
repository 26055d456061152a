package vm

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"margay/nodedb"
)

// A Dialer connects to an endpoint.
type Dialer func(ctx context.Context, e Endpoint) (Hypervisor, error)

// A Manager does what the guests' commands ask, over connections that it
// keeps. Its fields are set before it is used; it is for many goroutines.
type Manager struct {
	API Dialer // over the vSphere API
	SSH Dialer // over SSH, where the API forbids changes; nil: never

	Log     *slog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now
	Random  io.Reader        // nil: crypto/rand
	Resolve Resolver         // nil: the system's

	OpenDisk DiskOpener // opens disks that are here; nil: none can be
	Scratch  string     // folder for disks on their way; empty: the system's

	mu       sync.Mutex
	conns    map[string]*conn       // by Endpoint.Key; guarded by mu
	locks    map[string]*sync.Mutex // by host; guarded by mu
	monitors map[string]*monitor    // by Endpoint.Key; guarded by mu
	written  map[string]time.Time   // when a host's NFS datastore was; guarded by mu
}

// A conn is one endpoint's connection; its own lock makes others wait for the
// first who dials instead of dialling too.
type conn struct {
	mu sync.Mutex
	e  Endpoint
	hv Hypervisor
}

// Open returns the connection to an endpoint, which the Manager keeps: the
// caller does not close it.
func (m *Manager) Open(ctx context.Context, e Endpoint) (Hypervisor, error) {
	m.mu.Lock()
	if m.conns == nil {
		m.conns = map[string]*conn{}
	}
	c := m.conns[e.Key()]
	if c == nil {
		c = &conn{}
		m.conns[e.Key()] = c
	}
	m.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hv != nil && sameLogin(c.e, e) {
		if t, ok := c.hv.(Tuner); ok && (c.e.Workers != e.Workers || c.e.Tries != e.Tries) {
			t.Tune(e)
			c.e.Workers, c.e.Tries = e.Workers, e.Tries
		}
		return c.hv, nil
	}
	if c.hv != nil {
		c.hv.Close()
		c.hv = nil
	}
	hv, err := m.dial(ctx, e)
	if err != nil {
		return nil, err
	}
	c.e, c.hv = e, hv
	return hv, nil
}

// sameLogin says whether a connection that was made as a serves b. What is
// pinned does not count: the first connection does the pinning, and whoever
// trusts another certificate calls Forget.
func sameLogin(a, b Endpoint) bool {
	return a.Password == b.Password && a.NoVerify == b.NoVerify && a.Plain == b.Plain
}

func (m *Manager) dial(ctx context.Context, e Endpoint) (Hypervisor, error) {
	hv, err := again(ctx, e, m.API)
	if err != nil {
		return nil, unreachable(e, err)
	}
	if e.Kind == VPX || m.SSH == nil {
		return hv, nil
	}
	return &hybrid{Hypervisor: hv, e: e, dial: m.SSH}, nil
}

func unreachable(e Endpoint, err error) error {
	if errors.Is(err, ErrUntrusted) {
		return err
	}
	what := "Unable to reach " + e.String() + " to perform operation due to " + err.Error()
	if e.Kind == VPX {
		what = "Unable to reach " + e.String() + " vCenter server due to " + err.Error()
	}
	return Errorf(ErrUnreachable, "hypervisor unreachable: %s", what)
}

// Forget closes the connection to an endpoint, if there is one.
func (m *Manager) Forget(e Endpoint) {
	m.mu.Lock()
	c := m.conns[e.Key()]
	delete(m.conns, e.Key())
	m.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hv != nil {
		c.hv.Close()
		c.hv = nil
	}
}

// Close ends all connections.
func (m *Manager) Close() error {
	m.mu.Lock()
	conns := m.conns
	m.conns = nil
	m.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		if c.hv != nil {
			c.hv.Close()
		}
		c.mu.Unlock()
	}
	return nil
}

// lock keeps two commands from changing one host's networks or datastores at
// a time; the caller unlocks it.
func (m *Manager) lock(host string) *sync.Mutex {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks == nil {
		m.locks = map[string]*sync.Mutex{}
	}
	l := m.locks[host]
	if l == nil {
		l = &sync.Mutex{}
		m.locks[host] = l
	}
	l.Lock()
	return l
}

func (m *Manager) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

func (m *Manager) random() io.Reader {
	if m.Random != nil {
		return m.Random
	}
	return rand.Reader
}

func (m *Manager) resolve(name string) ([]netip.Addr, error) {
	if m.Resolve != nil {
		return m.Resolve(name)
	}
	return net.DefaultResolver.LookupNetIP(context.Background(), "ip", name)
}

// A batch is the guests of one command that share an endpoint.
type batch struct {
	e      Endpoint
	guests []*Guest
}

// batches reads the nodes and puts them together by endpoint. A node that
// cannot be read is reported and left out.
func batches(snap *nodedb.Snapshot, nodes []*nodedb.Node, emit Emit) []*batch {
	var out []*batch
	byKey := map[string]*batch{}
	r := &guestReader{snap: snap}
	for _, n := range nodes {
		g, err := r.read(n)
		if err != nil {
			emit(Result{Node: n.Name, Err: err})
			continue
		}
		b := byKey[g.key]
		if b == nil {
			b = &batch{e: g.Endpoint}
			byKey[g.key] = b
			out = append(out, b)
		}
		b.guests = append(b.guests, g)
	}
	return out
}

// each runs fn for every endpoint that the nodes lie behind, many at a time,
// and returns when all are done. Where no connection can be made, each node
// says so.
func (m *Manager) each(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, emit Emit,
	fn func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit),
) {
	emit = serial(emit)
	var wg sync.WaitGroup
	list := batches(snap, nodes, emit)
	most, err := endpoints(snap)
	if err != nil {
		for _, b := range list {
			fail(b.guests, emit, err)
		}
		return
	}
	slots := make(chan struct{}, most)
	for _, b := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			hv, err := m.Open(ctx, b.e)
			if err != nil {
				fail(b.guests, emit, err)
				return
			}
			fn(ctx, hv, b.guests, emit)
		})
	}
	wg.Wait()
}

// fail reports one error for many guests.
func fail(guests []*Guest, emit Emit, err error) {
	for _, g := range guests {
		emit(Result{Node: g.Name, Err: err})
	}
}

// look finds the guests on their hypervisor in one pass. A guest that is not
// there has no entry; one that is there twice is reported and left out of
// rest.
func look(ctx context.Context, hv Hypervisor, guests []*Guest, q Query, emit Emit) (rest []*Guest, found map[string]VM) {
	names := make([]string, len(guests))
	for i, g := range guests {
		names[i] = g.Name
	}
	q.Names = names
	vms, err := hv.VMs(ctx, q)
	if err != nil {
		fail(guests, emit, err)
		return nil, nil
	}
	byName := make(map[string]*VM, len(guests))
	twice := map[string][]VM{}
	for i := range vms {
		v := &vms[i]
		if first := byName[v.Name]; first != nil {
			if len(twice[v.Name]) == 0 {
				twice[v.Name] = []VM{*first}
			}
			twice[v.Name] = append(twice[v.Name], *v)
			continue
		}
		byName[v.Name] = v
	}
	if len(twice) > 0 && q.Brief { // a brief look has no UUIDs to tell them apart by
		q.Brief = false
		return look(ctx, hv, guests, q, emit)
	}
	found = make(map[string]VM, len(guests))
	for _, g := range guests {
		v := byName[g.Name]
		if same := twice[g.Name]; same != nil {
			if v, err = pick(g, same); err != nil {
				emit(Result{Node: g.Name, Err: err})
				continue
			}
		}
		rest = append(rest, g)
		if v != nil {
			found[g.Name] = *v
		}
	}
	return rest, found
}

// pick tells guests of one name apart: by UUID, then by host.
func pick(g *Guest, vms []VM) (*VM, error) {
	switch len(vms) {
	case 0:
		return nil, nil
	case 1:
		return &vms[0], nil
	}
	for i := range vms {
		if g.UUID != "" && strings.EqualFold(vms[i].UUID, SwapUUID(g.UUID)) {
			return &vms[i], nil
		}
	}
	var on []*VM
	for i := range vms {
		if SameHost(vms[i].Host, g.Host) {
			on = append(on, &vms[i])
		}
	}
	if len(on) == 1 {
		return on[0], nil
	}
	return nil, Errorf(ErrInvalid, "%d guests are called %s; set vpd.uuid to the one that is meant", len(vms), g.Name)
}

// SameHost says whether two names of a host mean one: the same, or the same
// up to the first dot where one of them has no domain.
func SameHost(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	if net.ParseIP(a) != nil || net.ParseIP(b) != nil {
		return false
	}
	sa, da, _ := strings.Cut(a, ".")
	sb, db, _ := strings.Cut(b, ".")
	return (da == "" || db == "") && sa != "" && strings.EqualFold(sa, sb)
}

// aliases are the names that a host may go by in a vCenter.
func aliases(snap *nodedb.Snapshot, host string) []string {
	out := []string{host}
	n, err := snap.Node(host)
	if err != nil {
		return out
	}
	if truth(snap.Site("usehostnamesforvcenter")) {
		out = append(append([]string{}, n.Aliases...), out...)
	} else {
		out = append(out, n.Aliases...)
	}
	if n.Addr.IsValid() {
		out = append(out, n.Addr.String())
	}
	return out
}

// hostNode is the table's node for what a hypervisor calls a host.
func hostNode(snap *nodedb.Snapshot, name string) *nodedb.Node {
	short, _, _ := strings.Cut(name, ".")
	for _, try := range []string{name, short} {
		if n, err := snap.Node(try); err == nil {
			return n
		}
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return snap.NodeByAddr(a)
	}
	return nil
}
