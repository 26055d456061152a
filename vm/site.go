package vm

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"time"

	"margay/nodedb"
)

// A site is a host while guests are made on it: what it has, and what is
// still to be made there.
type site struct {
	m         *Manager
	hv        Hypervisor
	snap      *nodedb.Snapshot
	at        string // the key of its endpoint
	node      string // the table's name, "" in cluster mode
	host      *Host
	automount bool
	named     DatastoreMap
	fixedNets string   // what lets none be made; "": nothing
	capacity  capacity // what the table says it has for guests

	claiming sync.Mutex
	given    *capacity // to guests that are there or on their way; nil: not counted; guarded by claiming

	offering sync.Mutex
	offers   map[string]*Offer // by guest id and hardware version; guarded by offering
}

// site looks at a guest's host once for all guests of the command.
func (mk *maker) site(ctx context.Context, g *Guest) (*site, error) {
	key := g.Host + "@" + g.Cluster
	mk.mu.Lock()
	look := mk.hosts[key]
	if look == nil {
		look = sync.OnceValues(func() (*site, error) { return mk.lookAt(ctx, g) })
		mk.hosts[key] = look
	}
	mk.mu.Unlock()
	return look()
}

func (mk *maker) lookAt(ctx context.Context, g *Guest) (*site, error) {
	name, err := mk.m.hostName(ctx, mk.snap, mk.hv, g.Host)
	if err != nil {
		return nil, err
	}
	if g.Cluster != "" {
		if name, err = anyHost(ctx, mk.hv, g.Cluster); err != nil {
			return nil, err
		}
	}
	h, err := mk.hv.Host(ctx, name)
	if err != nil {
		return nil, err
	}
	if !h.Connected {
		return nil, lostHost(mk.snap, g.Host)
	}
	if mk.hv.About().Kind == ESX {
		h.Name = g.Host // a host's own idea of its name is often "localhost"
	}
	named, err := ParseDatastoreMap(mk.snap.Site("vmwaredatastores"))
	if err != nil {
		return nil, err
	}
	st := &site{m: mk.m, at: g.Endpoint.Key(), named: named, hv: mk.hv, snap: mk.snap, node: g.Host, host: h, automount: !off(mk.snap.Site("vmwaredatastoreautomount"))}
	node, err := mk.snap.Node(g.Host)
	if err != nil { // in cluster mode, or by an address
		node = hostNode(mk.snap, h.Name)
	}
	if st.fixedNets, err = fixedNetworks(mk.snap, node); err != nil {
		return nil, err
	}
	if g.Cluster == "" { // who runs the guest is vCenter's to decide there
		st.capacity, err = capacityOf(node)
	}
	return st, err
}

// anyHost is a host of a cluster to look at: storage and networks are to be
// alike on all of them.
func anyHost(ctx context.Context, hv Hypervisor, cluster string) (string, error) {
	c, ok := as[interface {
		ClusterHosts(ctx context.Context, cluster string) ([]string, error)
	}](hv)
	if !ok {
		return "", ErrUnsupported
	}
	hosts, err := c.ClusterHosts(ctx, cluster)
	if err != nil {
		return "", err
	}
	if len(hosts) == 0 {
		return "", Errorf(ErrNotFound, "cluster %s has no host", cluster)
	}
	return hosts[0], nil
}

// as finds a further interface of a connection.
func as[T any](hv Hypervisor) (T, bool) {
	if t, ok := hv.(T); ok {
		return t, true
	}
	if h, ok := hv.(*hybrid); ok {
		t, ok := h.Hypervisor.(T)
		return t, ok
	}
	var none T
	return none, false
}

// off is how xCAT's site table turns things off: n, no, dis, disable.
func off(s string) bool {
	s = strings.ToLower(s)
	return strings.HasPrefix(s, "n") || strings.HasPrefix(s, "dis")
}

func (st *site) where(g *Guest) Where {
	w := Where{Cluster: g.Cluster, Datacenter: g.Folder, Path: g.Path}
	if g.Cluster == "" {
		w.Host = st.host.Name
	}
	return w
}

// A ready is what a guest's locations and networks are called on its host.
type ready struct {
	datastores map[string]string // by Location.String
	networks   []string          // by network card
}

// prepare mounts and makes all that a guest needs on its host. One host is
// prepared by one command at a time.
func (st *site) prepare(ctx context.Context, g *Guest) (ready, error) {
	defer st.m.lock(g.Endpoint.Key() + "/" + st.host.Name).Unlock()
	r := ready{datastores: map[string]string{}}
	locations, err := g.Locations()
	if err != nil {
		return r, err
	}
	for _, l := range locations {
		name, err := st.datastore(ctx, l)
		if err != nil {
			return r, err
		}
		r.datastores[l.String()] = name
	}
	for _, n := range g.Networks {
		name, err := st.network(ctx, g, n)
		if err != nil {
			return r, err
		}
		r.networks = append(r.networks, name)
	}
	return r, nil
}

// plan is prepare without doing it.
func (st *site) plan(g *Guest) ([]string, ready, error) {
	defer st.m.lock(g.Endpoint.Key() + "/" + st.host.Name).Unlock()
	r := ready{datastores: map[string]string{}}
	var lines []string
	locations, err := g.Locations()
	if err != nil {
		return nil, r, err
	}
	for _, l := range locations {
		if _, seen := r.datastores[l.String()]; seen {
			continue
		}
		name := st.mounted(l)
		if name == "" {
			if err := st.mountable(l); err != nil {
				return nil, r, err
			}
			name = l.Label()
			lines = append(lines, fmt.Sprintf("would mount %s as %s", l, name))
		}
		r.datastores[l.String()] = name
	}
	for _, n := range g.Networks {
		p, err := PlanNetwork(n, g.NetMap, st.host)
		if err != nil {
			return nil, r, err
		}
		if !p.Exists && st.fixedNets != "" {
			return nil, r, st.noNetwork(p.PortGroup.Name)
		}
		lines = append(lines, p.lines()...)
		r.networks = append(r.networks, p.PortGroup.Name)
	}
	return lines, r, nil
}

// mounted is the name of the datastore that a location means, "" if the host
// does not have it.
func (st *site) mounted(l Location) string {
	l = st.named.On(st.node, l)
	for _, d := range st.host.Datastores {
		if l.Matches(d, st.m.resolve) && (l.label == "" || l.label == d.Name) {
			return d.Name
		}
	}
	return ""
}

// mountable says why a location that is not there cannot be mounted. A VMFS
// is never made by the way: that would format a disk.
func (st *site) mountable(l Location) error {
	if l = st.named.On(st.node, l); l.label != "" {
		for _, d := range st.host.Datastores {
			if l.Matches(d, st.m.resolve) {
				return Errorf(ErrExists, "%s has %s mounted as %s already, and not as %s as site.vmwaredatastores has it; unmount it there", st.host.Name, l, d.Name, l.label)
			}
		}
	}
	if l.Scheme == VMFS {
		return Errorf(ErrNotFound, "%s has no datastore %q; mount it, or make it with formatdisk %s --id DISK --name %s", st.host.Name, l.Name, st.node, l.Name)
	}
	if !st.automount {
		return Errorf(ErrNotFound, "%s is not currently accessible at the given location and automount is disabled in site table", l)
	}
	if _, err := st.m.resolve(l.Server); err != nil {
		return Errorf(ErrNotFound, "Unable to resolve '%s' to an address, check vm.cfgstore/vm.storage", l.Server)
	}
	if d := st.host.Datastore(l.Label()); d != nil {
		return Errorf(ErrExists, "%s has a datastore %s already, which is %s and not %s", st.host.Name, d.Name, d.URL(), l)
	}
	return nil
}

// datastore finds a location's datastore, mounting it if need be.
func (st *site) datastore(ctx context.Context, l Location) (string, error) {
	if name := st.mounted(l); name != "" {
		d := st.host.Datastore(name)
		if !d.Accessible {
			return "", Errorf(ErrNotFound, "datastore %s (%s) is not accessible on %s", name, l, st.host.Name)
		}
		return name, st.writes(ctx, *d)
	}
	if err := st.mountable(l); err != nil {
		return "", err
	}
	l = st.named.On(st.node, l)
	name, err := st.hv.Mount(ctx, st.host.Name, l, l.Label())
	if err != nil {
		return "", fmt.Errorf("mounting %s: %w", l, err)
	}
	d := Datastore{Name: name, Type: "NFS", RemoteHost: l.Server, RemotePath: l.Export, Accessible: true, FreeKB: -1}
	if err := st.writes(ctx, d); err != nil {
		if u, ok := as[Unmounter](st.hv); ok { // it was not there before either
			_ = u.Unmount(context.WithoutCancel(ctx), st.host.Name, name)
		}
		return "", err
	}
	st.host.Datastores = append(st.host.Datastores, d)
	return name, nil
}

// writes refuses a datastore that cannot be written. A host mounts an export
// that lets it only read as readily as any other, and says so when the first
// file is to be made: a folder is made to find out, and removed again.
func (st *site) writes(ctx context.Context, d Datastore) error {
	out := "export it to the host for writing, and to root (no_root_squash)"
	if d.ReadOnly {
		return Errorf(ErrInvalid, "datastore %s (%s) is mounted read-only on %s; %s", d.Name, d.URL(), st.host.Name, out)
	}
	key := st.at + "/" + st.host.Name + "/" + d.Name + "/" + d.URL()
	if !strings.HasPrefix(d.Type, "NFS") || st.m.wrote(key) {
		return nil
	}
	b := make([]byte, 6)
	if _, err := io.ReadFull(st.m.random(), b); err != nil {
		return err
	}
	p := Path{d.Name, ".margay-" + hex.EncodeToString(b)}
	if err := st.hv.MakeDir(ctx, st.host.Name, p); err != nil {
		return fmt.Errorf("datastore %s (%s) cannot be written by %s: %w; %s", d.Name, d.URL(), st.host.Name, err, out)
	}
	if err := st.hv.Delete(context.WithoutCancel(ctx), st.host.Name, p); err != nil {
		return fmt.Errorf("removing %s, which tried whether the datastore can be written: %w", p, err)
	}
	st.m.writes(key)
	return nil
}

// writableFor is how long a datastore that was written to is taken to be
// writable still.
const writableFor = 5 * time.Minute

// wrote says whether a host's datastore was written to lately.
func (m *Manager) wrote(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.written[key]
	return ok && m.now().Sub(at) < writableFor
}

// writes remembers that it was, and forgets what is long ago.
func (m *Manager) writes(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	maps.DeleteFunc(m.written, func(_ string, at time.Time) bool { return now.Sub(at) >= writableFor })
	if m.written == nil {
		m.written = map[string]time.Time{}
	}
	m.written[key] = now
}

// network finds a card's port group, making it and its switch if need be.
func (st *site) network(ctx context.Context, g *Guest, n NetworkSpec) (string, error) {
	p, err := PlanNetwork(n, g.NetMap, st.host)
	if err != nil || p.Exists {
		return p.PortGroup.Name, err
	}
	if st.fixedNets != "" {
		return "", st.noNetwork(p.PortGroup.Name)
	}
	if p.AddSwitch != nil {
		if err := st.hv.AddSwitch(ctx, st.host.Name, *p.AddSwitch); err != nil {
			return "", fmt.Errorf("making switch %s: %w", p.AddSwitch.Name, err)
		}
		st.host.Switches = append(st.host.Switches, *p.AddSwitch)
	}
	if err := st.hv.AddPortGroup(ctx, st.host.Name, p.PortGroup); err != nil {
		return "", fmt.Errorf("making port group %s: %w", p.PortGroup.Name, err)
	}
	st.host.PortGroups = append(st.host.PortGroups, p.PortGroup)
	return p.PortGroup.Name, nil
}

func (st *site) noNetwork(name string) error {
	return Errorf(ErrNotFound, "%s has no network %q, and %s lets none be made%s", st.host.Name, name, st.fixedNets, st.nearest(name))
}

// nearest hints at a network whose name differs only in case or blanks.
func (st *site) nearest(name string) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(s))
	}
	for _, n := range st.host.Networks {
		if plain(n) == plain(name) {
			return fmt.Sprintf("; it has %q", n)
		}
	}
	return ""
}

// room refuses disks that take their room at once and have none. Thin disks
// may promise more than there is.
func (st *site) room(g *Guest, s *Spec) error {
	defer st.m.lock(g.Endpoint.Key() + "/" + st.host.Name).Unlock()
	return st.fits(s)
}

// fits is room for whoever holds the host's lock.
func (st *site) fits(s *Spec) error {
	need := map[string]int64{}
	for _, d := range s.Disks {
		if d.New && d.Format != Thin {
			need[d.Path.Datastore] += d.KB
		}
	}
	for name, kb := range need {
		d := st.host.Datastore(name)
		if d != nil && d.FreeKB >= 0 && d.FreeKB < kb {
			return Errorf(ErrNoSpace, "datastore %s has %s MB free, the disks need %s MB", name, megabytes(d.FreeKB), megabytes(kb))
		}
	}
	return nil
}
