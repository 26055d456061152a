package vm

import (
	"context"
	"errors"
	"path"
	"strconv"
	"strings"
	"sync"

	"margay/nodedb"
)

// Change does chvm: all of a request in one reconfiguration.
func (m *Manager) Change(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, req ChangeRequest, dry bool, emit Emit) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{Detail: true}, emit)
		mk := newMaker(m, snap, hv, MakeRequest{})
		var wg sync.WaitGroup
		slots := make(chan struct{}, workers(guests, maxChanges))
		for _, g := range guests {
			v, ok := found[g.Name]
			if !ok {
				emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "VM does not appear to exist")})
				continue
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				ch := &changer{m: m, snap: snap, hv: hv, mk: mk, req: req, dry: dry, emit: emit}
				emit(ch.do(ctx, g, v))
			})
		}
		wg.Wait()
	})
}

// maxChanges is how many guests of one endpoint are changed at a time, unless
// its limits say.
const maxChanges = 8

// A changer does one chvm to one guest.
type changer struct {
	m    *Manager
	snap *nodedb.Snapshot
	hv   Hypervisor
	mk   *maker // what the guests of the command share
	req  ChangeRequest
	dry  bool
	emit Emit
	site *site
	held *sync.Mutex // of site, while the change is planned
}

func (ch *changer) do(ctx context.Context, g *Guest, v VM) Result {
	r := Result{Node: g.Name}
	c, facts, err := ch.plan(ctx, g, v)
	if ch.held != nil {
		ch.held.Unlock()
	}
	if err != nil {
		r.Err = err
		return r
	}
	lines := c.Describe()
	if ch.dry {
		for _, line := range lines {
			ch.emit(Result{Node: g.Name, Text: line})
		}
		return r
	}
	if len(lines) == 0 {
		r.Text = "node successfully changed"
		return r
	}
	if r.Err = ch.hv.Reconfigure(ctx, v, c); r.Err != nil {
		return r
	}
	r.Warn = ch.letOut(ctx, v, c)
	r.Text, r.Facts = "node successfully changed", ch.facts(g, c, facts)
	return r
}

// plan finds on the host what the request names, and works the change out.
func (ch *changer) plan(ctx context.Context, g *Guest, v VM) (*Change, map[string]string, error) {
	ds, err := ch.datastore(ctx, g, v)
	if err != nil {
		return nil, nil, err
	}
	iso, err := ch.image(ctx, g, v)
	if err == nil {
		err = ch.there(ctx, g, v, iso)
	}
	if err != nil {
		return nil, nil, err
	}
	nets, err := ch.networks(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	macs, facts, err := ch.macs(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	if err := ch.serial(ctx, g, v); err != nil {
		return nil, nil, err
	}
	c, err := PlanChange(v, g, ch.req, ds, iso, nets, macs)
	if err != nil {
		return nil, nil, err
	}
	if err := ch.claim(ctx, g, v, c); err != nil {
		return nil, nil, err
	}
	if err := ch.offered(ctx, v, c); err != nil {
		return nil, nil, err
	}
	if err := ch.vnc(ctx, v, c); err != nil {
		return nil, nil, err
	}
	return c, facts, ch.room(ctx, g, c)
}

// vnc refuses the keys of a VNC server where the guest's host has none.
func (ch *changer) vnc(ctx context.Context, v VM, c *Change) error {
	if noVNC("99", c.Extra) == nil {
		return nil
	}
	version, err := hostVersion(ctx, ch.hv, v.Host)
	if err != nil {
		return err
	}
	return noVNC(version, c.Extra)
}

// hostVersion is the version of the host that a guest is on, which may be
// older than its vCenter.
func hostVersion(ctx context.Context, hv Hypervisor, host string) (string, error) {
	if hv.About().Kind == ESX {
		return hv.About().Version, nil
	}
	h, err := hv.Host(ctx, host)
	if err != nil {
		return "", err
	}
	return h.Version, nil
}

// at looks at the guest's host, once, and keeps other commands from changing
// it while the change is planned.
func (ch *changer) at(ctx context.Context, g *Guest) (*site, error) {
	if ch.site != nil {
		return ch.site, nil
	}
	st, err := ch.mk.site(ctx, g)
	if err != nil {
		return nil, err
	}
	ch.held = ch.m.lock(g.Endpoint.Key() + "/" + st.host.Name)
	ch.site = st
	return st, nil
}

// datastore is where new disks go: the table's first location, or with the
// guest's configuration if the table names none.
func (ch *changer) datastore(ctx context.Context, g *Guest, v VM) (string, error) {
	if len(ch.req.Add) == 0 {
		return "", nil
	}
	if len(g.Storage) == 0 {
		return v.Path.Datastore, nil
	}
	return ch.mount(ctx, g, g.Storage[0])
}

func (ch *changer) mount(ctx context.Context, g *Guest, l Location) (string, error) {
	st, err := ch.at(ctx, g)
	if err != nil {
		return "", err
	}
	if name := st.mounted(l); name != "" || ch.dry {
		if name == "" {
			return l.Label(), st.mountable(l)
		}
		return name, nil
	}
	return st.datastore(ctx, l)
}

// image is the file that --optical names: "nfs://server/path/x.iso", "[ds]
// x.iso", or a name below the guest's last location.
func (ch *changer) image(ctx context.Context, g *Guest, v VM) (Path, error) {
	s := strings.TrimSpace(ch.req.Optical)
	switch {
	case s == "":
		return Path{}, nil
	case strings.HasPrefix(s, "["):
		return ParsePath(s)
	case IsURI(s):
		i := strings.LastIndexByte(s, '/')
		l, err := ParseLocation(s[:i])
		if err != nil {
			return Path{}, err
		}
		ds, err := ch.mount(ctx, g, l)
		if err != nil {
			return Path{}, Errorf(ErrNotFound, "Unable to find/mount datastore holding %s: %v", s, err)
		}
		return Path{ds, s[i+1:]}, nil
	case len(g.Storage) == 0:
		return Path{v.Path.Datastore, s}, nil
	}
	ds, err := ch.mount(ctx, g, g.Storage[len(g.Storage)-1])
	if err != nil {
		return Path{}, Errorf(ErrNotFound, "Unable to find/mount datastore holding %s: %v", s, err)
	}
	return Path{ds, s}, nil
}

// there refuses an image that is not on its datastore: a host takes it, and the
// guest then has an empty drive, or does not start. What cannot be looked for, as
// on a datastore that a dry run does not mount, may be there.
func (ch *changer) there(ctx context.Context, g *Guest, v VM, iso Path) error {
	fs, ok := as[Filer](ch.hv)
	if iso.File == "" || !ok {
		return nil
	}
	host := v.Host
	if ch.hv.About().Kind == ESX {
		host = g.Host
	}
	if ch.dry {
		st, err := ch.at(ctx, g)
		if err != nil || st.host.Datastore(iso.Datastore) == nil {
			return err
		}
	}
	f, err := fs.Stat(ctx, host, iso)
	switch {
	case errors.Is(err, ErrNotFound):
		return Errorf(ErrNotFound, "Unable to find ISO image %s: it is not there; see margay datastore ls %s %s:%s", iso, g.Host, iso.Datastore, path.Dir("/" + iso.File)[1:])
	case err == nil && f.Dir:
		return Errorf(ErrInvalid, "ISO image %s is a folder", iso)
	}
	return nil
}

// networks are the port groups of --addnic and --setnic, made if need be; a
// --setnic that names none has "".
func (ch *changer) networks(ctx context.Context, g *Guest) ([]string, error) {
	var specs []string
	specs = append(specs, ch.req.AddNIC...)
	for _, s := range ch.req.SetNIC {
		_, rest, _ := strings.Cut(s, "=")
		specs = append(specs, rest)
	}
	var out []string
	for _, s := range specs {
		if name, _, _ := strings.Cut(s, "="); strings.TrimSpace(name) == "" {
			out = append(out, "")
			continue
		}
		n, err := ParseNetwork(s)
		if err != nil {
			return nil, err
		}
		st, err := ch.at(ctx, g)
		if err != nil {
			return nil, err
		}
		name, err := ch.network(ctx, g, st, n)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

func (ch *changer) network(ctx context.Context, g *Guest, st *site, n NetworkSpec) (string, error) {
	if ch.dry {
		p, err := PlanNetwork(n, g.NetMap, st.host)
		return p.PortGroup.Name, err
	}
	return st.network(ctx, g, n)
}

// macs are addresses for new cards, which nobody has in the table or on the
// endpoint, and the table's new list.
func (ch *changer) macs(ctx context.Context, g *Guest) ([]string, map[string]string, error) {
	if len(ch.req.AddNIC) == 0 {
		return nil, nil, nil
	}
	macs, err := ch.mk.owners(ctx)
	if err != nil {
		return nil, nil, err
	}
	ch.mk.mu.Lock()
	defer ch.mk.mu.Unlock()
	a := NewAllocator(ch.snap, ch.m.random())
	a.pool.Taken = func(mac string) bool { return macs[mac] != "" || a.taken(mac) }
	list := g.Node.Attr("mac.mac")
	var out []string
	for range ch.req.AddNIC {
		mac, err := a.pool.New(g.Node.Addr)
		if err != nil {
			return nil, nil, err
		}
		macs[mac.String()] = g.Name
		out = append(out, mac.String())
		if list != "" {
			list += "|" + mac.String() + "!*NOIP*"
		} else {
			list = mac.String()
		}
	}
	return out, map[string]string{"mac.mac": list}, nil
}

// room checks that disks which take their room at once have it.
func (ch *changer) room(ctx context.Context, g *Guest, c *Change) error {
	for _, d := range c.AddDisks {
		if d.Format == Thin {
			continue
		}
		st, err := ch.at(ctx, g)
		if err != nil {
			return err
		}
		return st.fits(&Spec{Disks: c.AddDisks})
	}
	return nil
}

// facts are what the table learns: sizes where it has some already, addresses
// always.
func (ch *changer) facts(g *Guest, c *Change, facts map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range facts {
		out[k] = v
	}
	if c.CPUs != nil && g.CPUs != 0 {
		out["vm.cpus"] = strconv.Itoa(*c.CPUs)
	}
	if c.AddSerial != nil {
		out["vm.textconsole"] = SerialConsole
	} else if len(c.RemoveSerial) > 0 {
		out["vm.textconsole"] = ""
	}
	if c.MemoryMB != nil && g.MemoryMB != 0 {
		out["vm.memory"] = strconv.FormatInt(*c.MemoryMB, 10)
	}
	return out
}
