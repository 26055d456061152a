package vm

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"margay/nodedb"
)

// KindMaster is the table of masters that guests are cloned from.
const KindMaster nodedb.Kind = "vmmaster"

// snapshotName is the snapshot that linked clones of a master grow from.
const snapshotName = "xcatsnap"

// A MasterRequest is clonevm -t.
type MasterRequest struct {
	Target string
	Who    string // goes into vmmaster.originator
	DryRun bool
}

// MakeMaster does clonevm -t: a guest is copied to a master. On a vCenter that
// is a template with a snapshot. A host alone can neither clone nor mark
// templates, so there the disks are copied and a guest is made of them that is
// never turned on.
func (m *Manager) MakeMaster(ctx context.Context, snap *nodedb.Snapshot, node *nodedb.Node, req MasterRequest, emit Emit) {
	m.each(ctx, snap, []*nodedb.Node{node}, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{Detail: true}, emit)
		for _, g := range guests {
			v, ok := found[g.Name]
			if !ok {
				emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "Cannot find %s in VMWare infrastructure", g.Name)})
				continue
			}
			c := newCloner(m, snap, hv, emit)
			if req.DryRun {
				emit(c.foreseeMaster(ctx, g, v, req.Target))
				continue
			}
			if err := c.master(ctx, g, v, req.Target); err != nil {
				emit(Result{Node: g.Name, Err: err})
				continue
			}
			emit(Result{Node: g.Name, Text: "Successfully copied to " + req.Target, Records: []nodedb.Record{g.masterRow(v, req, m.now())}})
		}
	})
}

// masterRow is what the table of masters learns.
func (g *Guest) masterRow(v VM, req MasterRequest, now time.Time) nodedb.Record {
	n := g.Node
	attrs := map[string]string{
		"vmmaster.originator": req.Who,
		"vmmaster.vintage":    now.Format(time.ANSIC),
		"vmmaster.virttype":   "vmware",
	}
	for column, value := range map[string]string{
		"os": n.OS, "arch": n.Arch, "profile": n.Profile, "storagemodel": n.VMStorageModel, "nics": n.VMNICs,
	} {
		attrs["vmmaster."+column] = value
	}
	attrs["vmmaster.storage"] = n.VMStorage
	for k, val := range attrs {
		if val == "" {
			delete(attrs, k)
		}
	}
	return nodedb.Record{Key: nodedb.Key{Kind: KindMaster, Name: req.Target}, Attrs: attrs}
}

// A cloner clones on one endpoint.
type cloner struct {
	m    *Manager
	snap *nodedb.Snapshot
	hv   Hypervisor
	mk   *maker // what the guests of the command share
	emit Emit
}

func newCloner(m *Manager, snap *nodedb.Snapshot, hv Hypervisor, emit Emit) *cloner {
	return &cloner{m: m, snap: snap, hv: hv, mk: newMaker(m, snap, hv, MakeRequest{}), emit: emit}
}

// foreseeMaster is a dry run of clonevm -t.
func (c *cloner) foreseeMaster(ctx context.Context, g *Guest, v VM, target string) Result {
	if err := c.free(ctx, target); err != nil {
		return Result{Node: g.Name, Err: err}
	}
	if c.hv.About().Kind == ESX && v.State != nodedb.PowerOff {
		return Result{Node: g.Name, Err: needsOff("copying the disks of " + v.Name)}
	}
	ds, err := c.foreseePlace(ctx, g, g.Storage)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	var kb int64
	if v.Spec != nil {
		for _, d := range v.Spec.Disks {
			kb += d.KB
		}
	}
	return Result{Node: g.Name, Text: fmt.Sprintf("would copy %d disks of %s MB to master %s on %s", len(v.Spec.Disks), megabytes(kb), target, ds)}
}

// foreseePlace is place for a dry run: nothing is mounted.
func (c *cloner) foreseePlace(ctx context.Context, g *Guest, storage []Location) (string, error) {
	if len(storage) == 0 {
		return "", Errorf(ErrInvalid, "vmstorage is not set")
	}
	st, err := c.mk.site(ctx, g)
	if err != nil {
		return "", err
	}
	defer c.m.lock(g.Endpoint.Key() + "/" + st.host.Name).Unlock()
	if name := st.mounted(storage[0]); name != "" {
		return "[" + name + "]", nil
	}
	return fmt.Sprintf("[%s], which would be mounted", storage[0].Label()), st.mountable(storage[0])
}

func (c *cloner) master(ctx context.Context, g *Guest, v VM, target string) error {
	if err := c.free(ctx, target); err != nil {
		return err
	}
	st, ds, err := c.place(ctx, g, g.Storage)
	if err != nil {
		return err
	}
	api, ok := as[Cloner](c.hv)
	if !ok || c.hv.About().Kind == ESX {
		spec := rebuilt(v, target)
		return c.copyAll(ctx, st, g, v, spec, ds)
	}
	nv, err := api.Clone(ctx, v, CloneSpec{Name: target, Where: st.where(g), Datastore: ds}, progress(c.emit, g.Name))
	if err != nil {
		return err
	}
	if err := api.Snapshot(ctx, nv, snapshotName); err != nil {
		return err
	}
	return api.MarkTemplate(ctx, nv)
}

// free refuses a name that a guest has.
func (c *cloner) free(ctx context.Context, name string) error {
	vms, err := c.hv.VMs(ctx, Query{Names: []string{name}})
	if err != nil {
		return err
	}
	if len(vms) > 0 {
		return Errorf(ErrExists, "a guest called %s is there already", name)
	}
	return nil
}

// place finds the host and the datastore that a copy goes to.
func (c *cloner) place(ctx context.Context, g *Guest, storage []Location) (*site, string, error) {
	if len(storage) == 0 {
		return nil, "", Errorf(ErrInvalid, "vmstorage is not set")
	}
	st, err := c.mk.site(ctx, g)
	if err != nil {
		return nil, "", err
	}
	defer c.m.lock(g.Endpoint.Key() + "/" + st.host.Name).Unlock()
	ds, err := st.datastore(ctx, storage[0])
	return st, ds, err
}

// rebuilt is a guest's hardware for a copy of it: no addresses, no identity,
// no keys that belong to the old files.
func rebuilt(v VM, name string) *Spec {
	s := cloneSpec(*v.Spec)
	s.Name, s.UUID, s.EnterSetup = name, "", false
	s.Extra = nil
	for _, e := range v.Spec.Extra {
		if !ownKey(e.Key) {
			s.Extra = append(s.Extra, e)
		}
	}
	for i := range s.NICs {
		s.NICs[i].MAC, s.NICs[i].MACType = "", "generated"
		s.NICs[i].Key = -200 - int32(i)
	}
	for i := range s.CDROMs {
		s.CDROMs[i].ISO, s.CDROMs[i].Connected, s.CDROMs[i].Key = Path{}, false, -50-int32(i)
	}
	return &s
}

// ForOthers is a guest's hardware without what belongs to that guest alone.
func (s *Spec) ForOthers() *Spec {
	out := rebuilt(VM{Spec: s}, s.Name)
	out.Boot = nil
	return out
}

// ownKey says whether a .vmx key is the host's own note about one guest.
func ownKey(key string) bool {
	k := strings.ToLower(key)
	for _, prefix := range []string{"nvram", "uuid.", "vc.uuid", "migrate.", "sched.swap.", "vmotion.", "monitor.phys", "softpoweroff", "toolsinstallmanager.", "guestinfo.", "guestos.detailed", "svga.", "viv.", "vmxstats.", "hpet", "cleanshutdown", "extendedconfigfile"} {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return strings.Contains(k, ".pcislotnumber") || strings.HasSuffix(k, ".generatedaddress") || strings.HasSuffix(k, ".generatedaddressoffset")
}

// copyAll copies a guest's disks into a folder of the new name and makes a
// guest of them.
func (c *cloner) copyAll(ctx context.Context, st *site, g *Guest, v VM, spec *Spec, ds string) error {
	if v.State != nodedb.PowerOff {
		return needsOff("copying the disks of " + v.Name)
	}
	dir := Path{ds, spec.Name}
	if err := c.hv.MakeDir(ctx, st.host.Name, dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	report := progress(c.emit, g.Name)
	for i := range spec.Disks {
		to := dir.Join(diskFile(spec.Name, i))
		part := func(p int) { report((i*100 + p) / len(spec.Disks)) }
		if err := c.hv.CopyDisk(ctx, st.host.Name, spec.Disks[i].Path, to, Thin, part); err != nil {
			c.undo(ctx, st, spec.Disks[:i], dir)
			return fmt.Errorf("copying %s: %w", spec.Disks[i].Path, err)
		}
		d := &spec.Disks[i]
		d.Path, d.New, d.Parent, d.Format, d.Key = to, false, nil, Thin, -100-int32(i)
	}
	spec.Home = dir.Join(spec.Name + ".vmx")
	_, err := c.hv.Create(ctx, st.where(g), spec)
	if err != nil {
		c.undo(ctx, st, spec.Disks, dir)
	}
	return err
}

// undo deletes what a copy that failed has made; the error that is reported is
// the one that made it fail.
func (c *cloner) undo(ctx context.Context, st *site, disks []Disk, dir Path) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for _, d := range disks {
		c.hv.Delete(ctx, st.host.Name, d.Path)
	}
	c.hv.Delete(ctx, st.host.Name, dir)
}

// diskFile names a guest's i-th disk as ESXi does: vm1.vmdk, vm1_1.vmdk.
func diskFile(name string, i int) string {
	if i == 0 {
		return name + ".vmdk"
	}
	return fmt.Sprintf("%s_%d.vmdk", name, i)
}

// A CloneRequest is clonevm -b.
type CloneRequest struct {
	Base       string
	Full       bool // -d: a full copy, nothing shared with the master
	Specialize bool
	DryRun     bool
}

// maxClones bounds the copies that one endpoint makes at a time.
const maxClones = 4

// Clone does clonevm -b: new guests are made of a master. Their addresses and
// UUIDs are in the table already: see Allocator and MasterNICs.
func (m *Manager) Clone(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, req CloneRequest, emit Emit) {
	row, ok := snap.Record(nodedb.Key{Kind: KindMaster, Name: req.Base})
	if !ok {
		for _, n := range nodes {
			emit(Result{Node: n.Name, Err: Errorf(ErrNotFound, "Cannot find master %s in vmmaster table", req.Base)})
		}
		return
	}
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		c := newCloner(m, snap, hv, emit)
		master, err := c.findMaster(ctx, req.Base)
		if err != nil {
			fail(guests, emit, err)
			return
		}
		guests, found := look(ctx, hv, guests, Query{}, emit)
		var wg sync.WaitGroup
		slots := make(chan struct{}, workers(guests, maxClones))
		for _, g := range guests {
			if _, ok := found[g.Name]; ok {
				emit(Result{Node: g.Name, Err: Errorf(ErrExists, "Virtual Machine already exists")})
				continue
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				emit(c.clone(ctx, g, master, row, req))
			})
		}
		wg.Wait()
	})
}

// MasterNICs is how many network cards a master's clones get.
func MasterNICs(snap *nodedb.Snapshot, base string) (int, error) {
	row, ok := snap.Record(nodedb.Key{Kind: KindMaster, Name: base})
	if !ok {
		return 0, Errorf(ErrNotFound, "Cannot find master %s in vmmaster table", base)
	}
	nets, err := ParseNetworks(row.Attrs["vmmaster.nics"])
	return max(1, len(nets)), err
}

func (c *cloner) findMaster(ctx context.Context, name string) (VM, error) {
	vms, err := c.hv.VMs(ctx, Query{Names: []string{name}, Detail: true})
	if err != nil {
		return VM{}, err
	}
	if len(vms) != 1 || vms[0].Spec == nil {
		return VM{}, Errorf(ErrNotFound, "Unable to find master %s in VMWare infrastructure", name)
	}
	return vms[0], nil
}

func (c *cloner) clone(ctx context.Context, g *Guest, master VM, row nodedb.Record, req CloneRequest) Result {
	facts, storage, err := g.fromMaster(row, req.Base)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	var custom *Customization
	if req.Specialize {
		if c.hv.About().Kind != VPX {
			return Result{Node: g.Name, Err: Errorf(ErrUnsupported, "--specialize is done by a vCenter, and %s has none; let the image's own answer file or cloud-init do it", g.Endpoint)}
		}
		if custom, err = customization(c.snap, g, master, row); err != nil {
			return Result{Node: g.Name, Err: err}
		}
	}
	if err := c.claim(ctx, g, master.Spec); err != nil {
		return Result{Node: g.Name, Err: err}
	}
	if req.DryRun {
		return c.foresee(ctx, g, master, storage, req)
	}
	if err := c.mk.clash(ctx, g, len(g.MACs)); err != nil {
		return Result{Node: g.Name, Err: err}
	}
	st, ds, err := c.place(ctx, g, storage)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	nets, err := c.networks(ctx, st, g, row)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	if err := c.make(ctx, st, g, master, ds, nets, req.Full, custom); err != nil {
		return Result{Node: g.Name, Err: err}
	}
	return Result{Node: g.Name, Text: "Successfully cloned from " + req.Base, Facts: facts}
}

// foresee is a dry run of clonevm -b.
func (c *cloner) foresee(ctx context.Context, g *Guest, master VM, storage []Location, req CloneRequest) Result {
	ds, err := c.foreseePlace(ctx, g, storage)
	if err != nil {
		return Result{Node: g.Name, Err: err}
	}
	how := "sharing its disks"
	if req.Full {
		how = "copying its disks"
	}
	return Result{Node: g.Name, Text: fmt.Sprintf("would clone %s to %s, %s: %s", req.Base, ds, how, master.Spec.summary())}
}

// networks makes the master's networks on the host that the clone goes to.
func (c *cloner) networks(ctx context.Context, st *site, g *Guest, row nodedb.Record) ([]string, error) {
	specs, err := ParseNetworks(row.Attrs["vmmaster.nics"])
	if err != nil {
		return nil, err
	}
	defer c.m.lock(g.Endpoint.Key() + "/" + st.host.Name).Unlock()
	var out []string
	for _, n := range specs {
		name, err := st.network(ctx, g, n)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

// fromMaster is what the table learns of a clone, and where the clone goes:
// the guest's own storage, else the master's.
func (g *Guest) fromMaster(row nodedb.Record, base string) (map[string]string, []Location, error) {
	facts := map[string]string{"vm.master": base}
	for column, from := range map[string]string{
		"nodetype.os": "os", "nodetype.arch": "arch", "nodetype.profile": "profile",
		"vm.storagemodel": "storagemodel", "vm.nics": "nics",
	} {
		if v := row.Attrs["vmmaster."+from]; v != "" {
			facts[column] = v
		}
	}
	storage := g.Storage
	if len(storage) == 0 {
		var err error
		if storage, err = ParseLocations(row.Attrs["vmmaster.storage"]); err != nil {
			return nil, nil, err
		}
		if len(storage) > 0 {
			facts["vm.storage"] = row.Attrs["vmmaster.storage"]
		}
	}
	return facts, storage, nil
}

func (c *cloner) make(ctx context.Context, st *site, g *Guest, master VM, ds string, nets []string, full bool, custom *Customization) error {
	api, ok := as[Cloner](c.hv)
	if ok && c.hv.About().Kind == VPX {
		nv, err := api.Clone(ctx, master, CloneSpec{Name: g.Name, Where: st.where(g), Datastore: ds, Linked: !full, Customize: custom}, progress(c.emit, g.Name))
		if err != nil {
			return err
		}
		if err := c.identity(ctx, g, nets); err != nil {
			c.hv.Remove(context.WithoutCancel(ctx), nv, true) // half a clone has another's addresses
			return err
		}
		return nil
	}
	spec := rebuilt(master, g.Name)
	spec.UUID = SwapUUID(g.UUID)
	for i := range spec.NICs {
		if i < len(nets) {
			spec.NICs[i].Network = nets[i]
		}
		if mac := g.MAC(i); mac != "" {
			spec.NICs[i].MAC, spec.NICs[i].MACType = mac, "manual"
		}
	}
	checkMAC(spec)
	if full {
		return c.copyAll(ctx, st, g, master, spec, ds)
	}
	return c.link(ctx, st, g, master, spec, ds)
}

// link makes a guest whose disks hold only what differs from the master's.
func (c *cloner) link(ctx context.Context, st *site, g *Guest, master VM, spec *Spec, ds string) error {
	if master.State != nodedb.PowerOff {
		return needsOff("linking to the disks of " + master.Name)
	}
	for i := range spec.Disks {
		d := &spec.Disks[i]
		parent := d.Path
		d.Parent, d.New, d.Path, d.Key = &parent, true, Path{Datastore: ds}, -100-int32(i)
	}
	spec.Home = Path{Datastore: ds}
	_, err := c.hv.Create(ctx, st.where(g), spec)
	return err
}

// identity gives a clone its own addresses and UUID, and puts it on the
// networks of its own host.
func (c *cloner) identity(ctx context.Context, g *Guest, nets []string) error {
	vms, err := c.hv.VMs(ctx, Query{Names: []string{g.Name}, Detail: true})
	if err != nil {
		return err
	}
	v, err := pick(g, vms)
	if err != nil || v == nil || v.Spec == nil {
		return Errorf(ErrNotFound, "the clone %s is not there", g.Name)
	}
	change := &Change{}
	if g.UUID != "" {
		change.UUID = SwapUUID(g.UUID)
	}
	for i, n := range v.Spec.NICs {
		if i < len(nets) {
			n.Network = nets[i]
		}
		if mac := g.MAC(i); mac != "" {
			n.MAC, n.MACType = mac, "manual"
			change.EditNICs = append(change.EditNICs, n)
		}
	}
	if change.UUID == "" && len(change.EditNICs) == 0 {
		return nil
	}
	return c.hv.Reconfigure(ctx, *v, change)
}
