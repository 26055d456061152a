package vm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"margay/nodedb"
)

// A DiskImage is a disk that is here, in a file of whatever format.
type DiskImage interface {
	io.Closer
	// Size is the disk's size in bytes.
	Size() int64
	// Stream writes it as a stream-optimized image.
	Stream(w io.Writer, progress func(done, total int64)) error
	// Format is the format's name; Files are the files of the disk, that which
	// is opened first.
	Format() string
	Files() []string
	// Convert writes it into a folder in another format and returns the files'
	// names, the disk's own first.
	Convert(dir, name, format string, progress func(done, total int64)) ([]string, error)
}

// A DiskOpener opens a disk's file, of any format that it knows.
type DiskOpener func(name string) (DiskImage, error)

// SplitSparse is the format of split sparse files, which no guest can run
// from: disks have it on their way.
const SplitSparse Format = "2gbsparse"

// way is the connection through which changes to a host go now.
func way(ctx context.Context, hv Hypervisor) (Hypervisor, error) {
	if h, ok := hv.(*hybrid); ok {
		return h.changes(ctx)
	}
	return hv, nil
}

// restrict notes that the licence forbids changes over the API, and returns
// the way that they go from then on; nil if there is no other.
func restrict(ctx context.Context, hv Hypervisor) (Hypervisor, error) {
	h, ok := hv.(*hybrid)
	if !ok {
		return nil, ErrRestricted
	}
	h.mu.Lock()
	h.limit = true
	h.mu.Unlock()
	return h.open(ctx)
}

// A PackageRequest is a guest to be made of an OVF package.
type PackageRequest struct {
	Import            // Name, Datastore and Networks are filled in here
	Spec     *Spec    // the guest as the descriptor has it; disks' Path.File is their file in the package
	Names    []string // networks of the package
	Networks map[string]string
	DryRun   bool
	// Disk opens a disk of the package, for hosts that take no packages.
	Disk DiskOpener
}

// ImportPackage makes a guest of an OVF package. Where it goes is what the
// table says of it: vmhost, vmstorage, and vmnics for its cards in their
// order. Its addresses and its UUID are the table's.
func (m *Manager) ImportPackage(ctx context.Context, snap *nodedb.Snapshot, node *nodedb.Node, req PackageRequest, emit Emit) {
	m.each(ctx, snap, []*nodedb.Node{node}, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{}, emit)
		for _, g := range guests {
			if _, ok := found[g.Name]; ok {
				emit(Result{Node: g.Name, Err: Errorf(ErrExists, "Virtual Machine already exists")})
				continue
			}
			c := newCloner(m, snap, hv, emit)
			if err := c.importPackage(ctx, g, req); err != nil {
				emit(Result{Node: g.Name, Err: err})
				continue
			}
			if !req.DryRun {
				emit(Result{Node: g.Name, Text: "taken in: " + req.Spec.summary()})
			}
		}
	})
}

func (s *Spec) summary() string {
	return fmt.Sprintf("%d cpus, %d MB, %d disks, %d network cards", s.CPUs, s.MemoryMB, len(s.Disks), len(s.NICs))
}

func (c *cloner) importPackage(ctx context.Context, g *Guest, req PackageRequest) error {
	if len(g.Storage) == 0 {
		return Errorf(ErrInvalid, "vmstorage is not set")
	}
	mk := newMaker(c.m, c.snap, c.hv, MakeRequest{})
	st, err := mk.site(ctx, g)
	if err != nil {
		return err
	}
	wants, err := g.wants(req)
	if err != nil {
		return err
	}
	if err := st.claim(ctx, Size{CPUs: req.Spec.CPUs, MemoryMB: req.Spec.MemoryMB}); err != nil {
		return err
	}
	if req.DryRun {
		return c.describePackage(g, st, req, wants)
	}
	unlock := c.m.lock(g.Endpoint.Key() + "/" + st.host.Name).Unlock
	ds, nets, err := c.ready(ctx, g, st, wants)
	unlock()
	if err != nil {
		return err
	}
	if err := st.roomFor(ds, req.Spec, req.Format); err != nil {
		return err
	}
	req.Import.Name, req.Import.Datastore, req.Import.Networks = g.Name, ds, nets
	hv, err := way(ctx, c.hv)
	if err != nil {
		return err
	}
	if imp, ok := hv.(Importer); ok {
		_, err = imp.Import(ctx, st.where(g), &req.Import, progress(c.emit, g.Name))
		if !errors.Is(err, ErrRestricted) {
			return c.settle(ctx, g, st, req.Spec, err)
		}
		if hv, err = restrict(ctx, c.hv); err != nil {
			return err
		}
	}
	return c.buildPackage(ctx, hv, g, st, req)
}

// wants are the networks that the guest needs, by those of the package: what
// was asked for, else those of vmnics for the cards in their order.
func (g *Guest) wants(req PackageRequest) (map[string]NetworkSpec, error) {
	out := map[string]NetworkSpec{}
	for from, to := range req.Networks {
		n, err := ParseNetwork(to)
		if err != nil {
			return nil, err
		}
		known := false
		for _, name := range req.Names {
			known = known || name == from
		}
		if !known {
			return nil, Errorf(ErrInvalid, "the package has no network %q; it has %s", from, strings.Join(req.Names, ", "))
		}
		out[from] = n
	}
	for i, nic := range req.Spec.NICs {
		if _, ok := out[nic.Network]; ok {
			continue
		}
		if i >= len(g.Networks) {
			return nil, Errorf(ErrInvalid, "network card %d is on %q in the package: set vmnics, or name a network for it", i+1, nic.Network)
		}
		out[nic.Network] = g.Networks[i]
	}
	return out, nil
}

func (c *cloner) describePackage(g *Guest, st *site, req PackageRequest, wants map[string]NetworkSpec) error {
	s := cloneSpec(*req.Spec)
	s.Name = g.Name
	for i := range s.NICs {
		p, err := PlanNetwork(wants[s.NICs[i].Network], g.NetMap, st.host)
		if err != nil {
			return err
		}
		s.NICs[i].Network, s.NICs[i].MAC = p.PortGroup.Name, g.MAC(i)
	}
	for i := range s.Disks {
		s.Disks[i].Path, s.Disks[i].Format = Path{Datastore: g.Storage[0].Label()}, req.Format
	}
	for _, line := range s.Describe() {
		c.emit(Result{Node: g.Name, Text: line})
	}
	return nil
}

// ready mounts and makes what the guest needs.
func (c *cloner) ready(ctx context.Context, g *Guest, st *site, wants map[string]NetworkSpec) (string, map[string]string, error) {
	ds, err := st.datastore(ctx, g.Storage[0])
	if err != nil {
		return "", nil, err
	}
	nets := map[string]string{}
	for from, n := range wants {
		if nets[from], err = st.network(ctx, g, n); err != nil {
			return "", nil, err
		}
	}
	return ds, nets, nil
}

// roomFor refuses disks that do not fit: thick ones by their size.
func (st *site) roomFor(ds string, s *Spec, f Format) error {
	need := int64(0)
	for _, d := range s.Disks {
		if f != Thin && f != "" {
			need += d.KB
		}
	}
	d := st.host.Datastore(ds)
	if d != nil && d.FreeKB >= 0 && d.FreeKB < need {
		return Errorf(ErrNoSpace, "datastore %s has %s MB free, the disks need %s MB", ds, megabytes(d.FreeKB), megabytes(need))
	}
	return nil
}

// settle gives a guest that was taken in the table's addresses and UUID. One
// that cannot have them is taken out again: it would have another's.
func (c *cloner) settle(ctx context.Context, g *Guest, st *site, s *Spec, err error) error {
	if err != nil {
		return err
	}
	if err = c.identity(ctx, g, nil); err == nil {
		return nil
	}
	clean := context.WithoutCancel(ctx)
	if vms, e := c.hv.VMs(clean, Query{Names: []string{g.Name}}); e == nil && len(vms) == 1 {
		c.hv.Remove(clean, vms[0], true)
	}
	return err
}

// buildPackage makes a guest of a package where the host takes none: its disks
// are sent one by one.
func (c *cloner) buildPackage(ctx context.Context, hv Hypervisor, g *Guest, st *site, req PackageRequest) error {
	if req.Disk == nil {
		return Errorf(ErrUnsupported, "%s takes no packages", st.host.Name)
	}
	spec := cloneSpec(*req.Spec)
	spec.Name, spec.UUID = g.Name, SwapUUID(g.UUID)
	for _, p := range req.Properties {
		return Errorf(ErrUnsupported, "property %s: over SSH a package's properties cannot be set", p.Key)
	}
	for i := range spec.NICs {
		n := &spec.NICs[i]
		n.Network = req.Import.Networks[n.Network]
		if mac := g.MAC(i); mac != "" {
			n.MAC, n.MACType = mac, "manual"
		}
	}
	checkMAC(&spec)
	dir := Path{req.Datastore, g.Name}
	if err := hv.MakeDir(ctx, st.host.Name, dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	err := c.sendDisks(ctx, hv, g, st, req, &spec, dir)
	if err == nil {
		spec.Home = dir.Join(g.Name + ".vmx")
		_, err = hv.Create(ctx, st.where(g), &spec)
	}
	if err != nil {
		c.undo(ctx, st, nil, dir)
	}
	return err
}

func (c *cloner) sendDisks(ctx context.Context, hv Hypervisor, g *Guest, st *site, req PackageRequest, spec *Spec, dir Path) error {
	report := progress(c.emit, g.Name)
	for i := range spec.Disks {
		d := &spec.Disks[i]
		from := d.Path.File
		d.Format, d.Path = req.Format, Path{Datastore: req.Datastore}
		if from == "" {
			continue // made empty, with the guest
		}
		img, err := req.Disk(from)
		if err != nil {
			return err
		}
		to := dir.Join(diskFile(g.Name, i))
		part := func(done, total int64) { report(int((int64(i)*100 + done*100/max(total, 1)) / int64(len(spec.Disks)))) }
		err = c.m.putDisk(ctx, hv, st.host.Name, st.where(g), img, to, req.Format, part)
		img.Close()
		if err == nil && req.Check != nil {
			err = req.Check(from)
		}
		if err != nil {
			return err
		}
		d.Path, d.New = to, false
	}
	return nil
}

// putDisk puts a disk on a datastore: as a stream where the host takes one, in
// pieces that it copies together where not. Only what the disk holds is sent.
func (m *Manager) putDisk(ctx context.Context, hv Hypervisor, host string, at Where, img DiskImage, to Path, f Format, report func(done, total int64)) error {
	if f == "" {
		f = Thin
	}
	through, err := way(ctx, hv)
	if err != nil {
		return err
	}
	if imp, ok := through.(DiskImporter); ok {
		err := imp.ImportDisk(ctx, at, to, f, img.Size(), func(w io.Writer) error { return img.Stream(w, report) })
		if !errors.Is(err, ErrRestricted) {
			return err
		}
		if through, err = restrict(ctx, hv); err != nil {
			return err
		}
	}
	return m.putSplit(ctx, through, host, img, to, f, report)
}

// scratch is a folder of our own for files on their way.
func (m *Manager) scratch() (string, func(), error) {
	if m.Scratch != "" {
		if err := os.MkdirAll(m.Scratch, 0o700); err != nil {
			return "", nil, err
		}
	}
	dir, err := os.MkdirTemp(m.Scratch, "disk")
	return dir, func() { os.RemoveAll(dir) }, err
}

// putSplit sends a disk in pieces and has the host copy them together.
func (m *Manager) putSplit(ctx context.Context, hv Hypervisor, host string, img DiskImage, to Path, f Format, report func(done, total int64)) error {
	fs, ok := hv.(Filer)
	if !ok {
		return ErrUnsupported
	}
	local, clean, err := m.scratch()
	if err != nil {
		return err
	}
	defer clean()
	names, err := img.Convert(local, "disk.vmdk", string(SplitSparse), nil)
	if err != nil {
		return err
	}
	dir := to.Dir().Join(".margay-" + strings.ToLower(rand.Text()[:10]))
	if err := hv.MakeDir(ctx, host, dir); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		hv.Delete(ctx, host, dir)
	}()
	total, done := int64(0), int64(0)
	for _, n := range names {
		if st, err := os.Stat(filepath.Join(local, n)); err == nil {
			total += st.Size()
		}
	}
	for _, n := range names {
		f, err := os.Open(filepath.Join(local, n))
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err == nil {
			err = fs.Put(ctx, host, dir.Join(n), &counter{r: f, done: done, total: total, report: report}, st.Size())
			done += st.Size()
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	if s, ok := hv.(SparseLoader); ok {
		if err := s.LoadSparse(ctx); err != nil {
			return err
		}
	}
	return hv.CopyDisk(ctx, host, dir.Join(names[0]), to, f, nil)
}

// ExportGuest calls disk with each disk of a guest, as a stream-optimized
// image, in the order of the guest's disks, and returns what the guest is. It
// must be off.
func (m *Manager) ExportGuest(ctx context.Context, snap *nodedb.Snapshot, node *nodedb.Node, report Progress, disk func(i int, r io.Reader) error) (*VM, error) {
	var out *VM
	var failed error
	emit := func(r Result) {
		if r.Err != nil {
			failed = r.Err
		}
	}
	m.each(ctx, snap, []*nodedb.Node{node}, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		guests, found := look(ctx, hv, guests, Query{Detail: true}, emit)
		for _, g := range guests {
			v, ok := found[g.Name]
			if !ok {
				failed = Errorf(ErrNotFound, "VM does not appear to exist")
				continue
			}
			if failed = exportable(v); failed == nil {
				out, failed = &v, m.export(ctx, hv, v, report, disk)
			}
		}
	})
	return out, failed
}

// exportable says why a guest cannot be given out.
func exportable(v VM) error {
	switch {
	case v.Spec == nil:
		return Errorf(ErrInvalid, "VM is in an invalid state")
	case v.State != nodedb.PowerOff:
		return needsOff("reading the disks of " + v.Name)
	case len(v.Spec.Disks) == 0:
		return Errorf(ErrInvalid, "%s has no disk", v.Name)
	}
	return nil
}

func (m *Manager) export(ctx context.Context, hv Hypervisor, v VM, report Progress, disk func(i int, r io.Reader) error) error {
	hv, err := way(ctx, hv)
	if err != nil {
		return err
	}
	if e, ok := hv.(Exporter); ok {
		return e.Export(ctx, v, disk)
	}
	for i, d := range v.Spec.Disks {
		part := func(p int) {
			if report != nil {
				report((i*100 + p) / len(v.Spec.Disks))
			}
		}
		err := m.getDisk(ctx, hv, v.Host, d.Path, part, func(r io.Reader) error { return disk(i, r) })
		if err != nil {
			return err
		}
	}
	return nil
}

// getDisk has the host copy a disk into pieces that hold only its data,
// fetches those, and gives them on as one stream.
func (m *Manager) getDisk(ctx context.Context, hv Hypervisor, host string, p Path, report Progress, take func(io.Reader) error) error {
	fs, ok := hv.(Filer)
	if !ok || m.OpenDisk == nil {
		return ErrUnsupported
	}
	local, clean, err := m.scratch()
	if err != nil {
		return err
	}
	defer clean()
	dir := p.Dir().Join(".margay-" + strings.ToLower(rand.Text()[:10]))
	if err := hv.MakeDir(ctx, host, dir); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		hv.Delete(ctx, host, dir)
	}()
	if s, ok := hv.(SparseLoader); ok {
		if err := s.LoadSparse(ctx); err != nil {
			return err
		}
	}
	if err := hv.CopyDisk(ctx, host, p, dir.Join("disk.vmdk"), SplitSparse, report); err != nil {
		return err
	}
	list, err := fs.List(ctx, host, dir)
	if err != nil {
		return err
	}
	for _, f := range list {
		if err := fetch(ctx, fs, host, f, filepath.Join(local, filepath.Base(f.Path.Base()))); err != nil {
			return err
		}
	}
	img, err := m.OpenDisk(filepath.Join(local, "disk.vmdk"))
	if err != nil {
		return err
	}
	defer img.Close()
	r, w := io.Pipe()
	go func() { w.CloseWithError(img.Stream(w, nil)) }()
	defer r.Close()
	return take(r)
}

// fetch copies a file here.
func fetch(ctx context.Context, fs Filer, host string, f File, name string) error {
	r, size, err := fs.Get(ctx, host, f.Path, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, r)
	if e := out.Close(); err == nil {
		err = e
	}
	if err == nil && size >= 0 && n != size {
		err = fmt.Errorf("%s: %d bytes came of %d: %w", f.Path, n, size, io.ErrUnexpectedEOF)
	}
	return err
}
