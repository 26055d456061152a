package vmtest

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm/vmdk"
)

// A lease lets a guest's disks be moved over HTTP for as long as it is
// renewed. One for an import that does not end with complete takes the guest
// with it.
type lease struct {
	mo.HttpNfcLease
	w       *World
	vm      *simulator.VirtualMachine
	export  bool
	timeout int32

	mu    sync.Mutex
	files map[string]*leased // by name in the URL; guarded by mu, as all below
	alive time.Time
	over  bool
	pulse int // how often it was renewed
}

// A leased file is a disk of the guest, or another file of it.
type leased struct {
	path string // "[ds] dir/file"
	disk bool
	kb   int64
	sum  string
	size int64
	sent bool
}

// Leases are what became of the leases so far: "import: complete, renewed 3".
func (w *World) Leases() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.leaseLog...)
}

// LeaseTimeout makes leases end after so many seconds without a sign of life.
func (w *World) LeaseTimeout(seconds int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaseTime = seconds
}

func (w *World) newLease(ctx *simulator.Context, v *simulator.VirtualMachine, export bool) *lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaseCount++
	timeout := w.leaseTime
	if timeout == 0 {
		timeout = 300
	}
	l := &lease{w: w, vm: v, export: export, files: map[string]*leased{}, alive: time.Now()}
	l.Self = types.ManagedObjectReference{Type: "HttpNfcLease", Value: fmt.Sprintf("52-lease-%d", w.leaseCount)}
	l.State = types.HttpNfcLeaseStateInitializing
	l.timeout = int32(timeout)
	if w.leases == nil {
		w.leases = map[string]*lease{}
	}
	w.leases[l.Self.Value] = l
	ctx.Session.Put(l)
	return l
}

// ready names the files and where they are moved. A host alone does not know
// by what name it is reached; a vCenter names the host.
func (l *lease) ready(ctx *simulator.Context) {
	base := "https://*"
	thumb := ""
	if l.w.vcenter {
		base, thumb = "https://localhost:"+l.w.Port(), l.w.Thumbprint
	}
	info := types.HttpNfcLeaseInfo{Lease: l.Self, Entity: l.vm.Self, LeaseTimeout: l.timeout}
	list := object.VirtualDeviceList(l.vm.Config.Hardware.Device)
	count := map[string]int{}
	for _, d := range list {
		b, ok := d.GetVirtualDevice().Backing.(types.BaseVirtualDeviceFileBackingInfo)
		if !ok {
			continue
		}
		disk, isDisk := d.(*types.VirtualDisk)
		if l.export && !isDisk {
			continue
		}
		kind := list.Type(d)
		n := count[kind]
		count[kind]++
		f := &leased{path: b.GetVirtualDeviceFileBackingInfo().FileName, disk: isDisk}
		if isDisk {
			f.kb = disk.CapacityInKB
		}
		name := filepath.Base(f.path)
		if l.export {
			name = fmt.Sprintf("disk-%d.vmdk", n)
		}
		l.files[name] = f
		info.DeviceUrl = append(info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key: fmt.Sprintf("/%s/%s:%d", l.vm.Self.Value, kind, n), ImportKey: fmt.Sprintf("/%s/%s:%d", l.vm.Name, kind, n),
			Url: base + "/nfc/" + l.Self.Value + "/" + url.PathEscape(name), SslThumbprint: thumb, Disk: types.NewBool(isDisk), TargetId: name,
		})
		info.TotalDiskCapacityInKB += f.kb
	}
	ctx.WithLock(l, func() {
		ctx.Update(l, []types.PropertyChange{{Name: "info", Val: &info}, {Name: "state", Val: types.HttpNfcLeaseStateReady}})
	})
	go l.watch()
}

// watch ends the lease when nothing is heard of it for too long.
func (l *lease) watch() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		l.mu.Lock()
		over, late := l.over, time.Since(l.alive) > time.Duration(l.timeout)*time.Second
		l.mu.Unlock()
		if over {
			return
		}
		if late {
			l.end("timed out", true)
			return
		}
	}
}

// end ends the lease once; drop takes what was imported with it.
func (l *lease) end(how string, drop bool) bool {
	l.mu.Lock()
	over := l.over
	l.over = true
	pulse := l.pulse
	l.mu.Unlock()
	if over {
		return false
	}
	what := "import"
	if l.export {
		what = "export"
	}
	l.w.mu.Lock()
	l.w.leaseLog = append(l.w.leaseLog, fmt.Sprintf("%s: %s, renewed %d", what, how, pulse))
	l.w.mu.Unlock()
	if drop && !l.export {
		if t, err := object.NewVirtualMachine(l.w.inUse, l.vm.Self).Destroy(context.Background()); err == nil {
			t.Wait(context.Background())
		}
	}
	return true
}

// HttpNfcLeaseProgress renews the lease.
func (l *lease) HttpNfcLeaseProgress(req *types.HttpNfcLeaseProgress) soap.HasFault {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || req.Percent < 0 || req.Percent > 100 {
		return &methods.HttpNfcLeaseProgressBody{Fault_: simulator.Fault("", &types.InvalidState{})}
	}
	l.alive = time.Now()
	l.pulse++
	return &methods.HttpNfcLeaseProgressBody{Res: &types.HttpNfcLeaseProgressResponse{}}
}

// HttpNfcLeaseComplete ends the lease well, if every disk came.
func (l *lease) HttpNfcLeaseComplete(*types.HttpNfcLeaseComplete) soap.HasFault {
	l.mu.Lock()
	missing := l.over
	for _, f := range l.files {
		missing = missing || !l.export && !f.sent
	}
	l.mu.Unlock()
	if missing {
		return &methods.HttpNfcLeaseCompleteBody{Fault_: simulator.Fault("", &types.InvalidState{})}
	}
	l.end("complete", false)
	return &methods.HttpNfcLeaseCompleteBody{Res: &types.HttpNfcLeaseCompleteResponse{}}
}

// HttpNfcLeaseAbort gives the lease up.
func (l *lease) HttpNfcLeaseAbort(*types.HttpNfcLeaseAbort) soap.HasFault {
	l.end("abort", true)
	return &methods.HttpNfcLeaseAbortBody{Res: &types.HttpNfcLeaseAbortResponse{}}
}

// HttpNfcLeaseGetManifest says what came.
func (l *lease) HttpNfcLeaseGetManifest(*types.HttpNfcLeaseGetManifest) soap.HasFault {
	l.mu.Lock()
	defer l.mu.Unlock()
	res := &types.HttpNfcLeaseGetManifestResponse{}
	for name, f := range l.files {
		res.Returnval = append(res.Returnval, types.HttpNfcLeaseManifestEntry{Key: name, Sha1: f.sum, Size: f.size})
	}
	return &methods.HttpNfcLeaseGetManifestBody{Res: res}
}

// nfc moves a leased file. It needs no login: the lease's number is secret.
func (w *World) nfc(rw http.ResponseWriter, r *http.Request) {
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/nfc/"), "/")
	w.mu.Lock()
	l := w.leases[part[0]]
	w.mu.Unlock()
	if l == nil || len(part) != 2 {
		http.NotFound(rw, r)
		return
	}
	l.mu.Lock()
	f, over := l.files[part[1]], l.over
	l.mu.Unlock()
	if f == nil || over {
		http.NotFound(rw, r)
		return
	}
	switch {
	case l.export && r.Method == http.MethodGet:
		l.give(rw, f)
	case !l.export && f.disk && r.Method == http.MethodPost && r.Header.Get("Content-Type") == "application/x-vnd.vmware-streamVmdk":
		l.take(rw, r, f)
	case !l.export && !f.disk && r.Method == http.MethodPut && r.Header.Get("Overwrite") == "t":
		l.take(rw, r, f)
	default:
		http.Error(rw, "405 Method Not Allowed", http.StatusMethodNotAllowed)
	}
}

func (l *lease) take(rw http.ResponseWriter, r *http.Request, f *leased) {
	tmp, err := os.CreateTemp(l.w.dir, "nfc*.vmdk")
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	h := sha1.New()
	n, err := io.Copy(io.MultiWriter(tmp, h), &living{l, r.Body})
	if err == nil {
		err = l.store(tmp.Name(), f)
	}
	if err != nil {
		http.Error(rw, "500 "+err.Error(), http.StatusInternalServerError)
		return
	}
	l.mu.Lock()
	f.sum, f.size, f.sent = hex.EncodeToString(h.Sum(nil)), n, true
	l.mu.Unlock()
}

// A living body ends when the lease does.
type living struct {
	l *lease
	r io.Reader
}

func (b *living) Read(p []byte) (int, error) {
	b.l.mu.Lock()
	over := b.l.over
	b.l.mu.Unlock()
	if over {
		panic(http.ErrAbortHandler)
	}
	return b.r.Read(p)
}

// store makes a disk of a stream; one of another size than it was announced
// with is refused.
func (l *lease) store(tmp string, f *leased) error {
	if !f.disk {
		b, err := os.ReadFile(tmp)
		if err != nil {
			return err
		}
		return os.WriteFile(l.w.File(f.path), b, 0o644)
	}
	d, kind, err := vmdk.OpenAny(os.DirFS(filepath.Dir(tmp)), filepath.Base(tmp))
	if err != nil {
		return err
	}
	defer d.Close()
	if kind != "streamOptimized" || d.Size() != f.kb*1024 {
		return fmt.Errorf("a %s of %d bytes where a stream of %d is wanted", kind, d.Size(), f.kb*1024)
	}
	out, err := os.Create(l.w.flatOf(f.path))
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(d.Size()); err != nil {
		return err
	}
	l.w.mend(f.path)
	return d.Grains(func(off int64, p []byte) error { _, err := out.WriteAt(p, off); return err })
}

// mend gives a disk the descriptor that a host gives it: vcsim's own claim to
// have a parent.
func (w *World) mend(path string) {
	kb, thin := diskSize(w.File(path))
	if kb > 0 {
		os.WriteFile(w.File(path), vmdk.NewFlat(filepath.Base(w.File(path)), kb*1024, 0xfffffffe, thin).Format(), 0o644)
	}
}

// flatOf is the file of data of a disk.
func (w *World) flatOf(path string) string {
	return strings.TrimSuffix(w.File(path), ".vmdk") + "-flat.vmdk"
}

func (l *lease) give(rw http.ResponseWriter, f *leased) {
	os.Truncate(l.w.flatOf(f.path), f.kb*1024) // vcsim's disks are empty files
	name := strings.TrimSuffix(filepath.Base(l.w.flatOf(f.path)), ".vmdk") + ".raw"
	link := filepath.Join(l.w.dir, l.Self.Value+"-"+name)
	if err := os.Link(l.w.flatOf(f.path), link); err != nil {
		http.Error(rw, "500 "+err.Error(), http.StatusInternalServerError)
		return
	}
	defer os.Remove(link)
	d, _, err := vmdk.OpenAny(os.DirFS(l.w.dir), filepath.Base(link))
	if err != nil {
		http.Error(rw, "500 "+err.Error(), http.StatusInternalServerError)
		return
	}
	defer d.Close()
	out := io.Writer(rw)
	if cut := l.w.takeCut(); cut > 0 {
		out = &cutWriter{ResponseWriter: rw, left: cut}
	}
	vmdk.Stream(d, &leaseWriter{l, out}, "disk.vmdk", 1, nil)
}

// A leaseWriter breaks off when the lease ends.
type leaseWriter struct {
	l *lease
	w io.Writer
}

func (b *leaseWriter) Write(p []byte) (int, error) {
	b.l.mu.Lock()
	over := b.l.over
	b.l.mu.Unlock()
	if over {
		panic(http.ErrAbortHandler)
	}
	return b.w.Write(p)
}

// ExportVm gives out the disks of a guest that is off.
func (x *vmObject) ExportVm(ctx *simulator.Context, _ *types.ExportVm) soap.HasFault {
	if x.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		return &methods.ExportVmBody{Fault_: simulator.Fault("", wrongState(x.Runtime.PowerState, types.VirtualMachinePowerStatePoweredOff))}
	}
	l := x.w.newLease(ctx, x.VirtualMachine, true)
	go l.ready(own(ctx))
	return &methods.ExportVmBody{Res: &types.ExportVmResponse{Returnval: l.Self}}
}

// own is a context that outlives the call.
func own(ctx *simulator.Context) *simulator.Context {
	return &simulator.Context{Context: context.Background(), Map: ctx.Map, Session: ctx.Session}
}

// A poolObject makes guests whose disks are sent.
type poolObject struct {
	*simulator.ResourcePool
	w *World
}

// ImportVApp makes a guest and gives leave to send its disks. The request is
// looked at as strictly as one that makes a guest.
func (p *poolObject) ImportVApp(ctx *simulator.Context, req *types.ImportVApp) soap.HasFault {
	spec, ok := req.Spec.(*types.VirtualMachineImportSpec)
	if !ok || req.Folder == nil {
		return &methods.ImportVAppBody{Fault_: simulator.Fault("", invalid("spec"))}
	}
	l := p.w.newLease(ctx, nil, false)
	bg := own(ctx)
	go func() {
		f := &folderObject{bg.Map.Get(*req.Folder).(*simulator.Folder), p.w}
		fail := func(fault types.BaseMethodFault) {
			bg.WithLock(l, func() {
				bg.Update(l, []types.PropertyChange{{Name: "state", Val: types.HttpNfcLeaseStateError}, {Name: "error", Val: &types.LocalizedMethodFault{Fault: fault}}})
			})
		}
		var res soap.HasFault
		bg.WithLock(f.Folder, func() {
			res = f.CreateVMTask(bg, &types.CreateVM_Task{This: f.Self, Config: spec.ConfigSpec, Pool: p.Self, Host: req.Host})
		})
		if res.Fault() != nil {
			fail(&types.InvalidState{})
			return
		}
		ref, fault := inner(bg, res.(*methods.CreateVM_TaskBody).Res.Returnval)
		if fault != nil {
			fail(fault)
			return
		}
		l.vm = bg.Map.Get(ref.(types.ManagedObjectReference)).(*simulator.VirtualMachine)
		l.ready(bg)
	}()
	return &methods.ImportVAppBody{Res: &types.ImportVAppResponse{Returnval: l.Self}}
}

// MoveVirtualDiskTask moves a disk, whose descriptor then names its data where
// they are.
func (d *disks) MoveVirtualDiskTask(ctx *simulator.Context, req *types.MoveVirtualDisk_Task) soap.HasFault {
	body := &methods.MoveVirtualDisk_TaskBody{Res: &types.MoveVirtualDisk_TaskResponse{}}
	if _, err := os.Stat(filepath.Dir(d.w.File(req.DestName))); err != nil {
		body.Res.Returnval = failing(ctx, d.VirtualDiskManager, "moveVirtualDisk", &types.FileNotFound{FileFault: types.FileFault{File: req.DestName}})
		return body
	}
	body.Res.Returnval = simulator.CreateTask(d.VirtualDiskManager, "moveVirtualDisk", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		res := d.VirtualDiskManager.MoveVirtualDiskTask(ctx, req).(*methods.MoveVirtualDisk_TaskBody)
		_, f := inner(ctx, res.Res.Returnval)
		if f == nil {
			d.w.mend(req.DestName)
		}
		return nil, f
	}).Run(ctx)
	return body
}
