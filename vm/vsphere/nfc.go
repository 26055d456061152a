package vsphere

import (
	"context"
	"crypto/rand"
	"crypto/sha1" // the form in which a lease names a host's certificate
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// A lease is the host's leave to move a guest's disks over HTTP
// (vim.HttpNfcLease). It ends by itself unless it is renewed, and ends well
// only by complete.
type lease struct {
	c    *Conn
	ref  types.ManagedObjectReference
	info types.HttpNfcLeaseInfo

	percent atomic.Int32
	stop    context.CancelFunc
	done    chan struct{}
	mu      sync.Mutex
	lost    error // why it was not renewed; guarded by mu
}

// leaseWait is how long a host may take to make ready: it creates the guest
// and all of its disks meanwhile.
const leaseWait = 10 * time.Minute

// newLease waits until the host is ready, and keeps the lease from then on.
// The context that it returns ends when the lease does.
func (c *Conn) newLease(ctx context.Context, ref types.ManagedObjectReference) (*lease, context.Context, error) {
	l := &lease{c: c, ref: ref, done: make(chan struct{})}
	wait, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
	if err := l.ready(wait); err != nil {
		l.abort()
		return nil, nil, err
	}
	ctx, l.stop = context.WithCancel(ctx)
	go l.keep(ctx)
	return l, ctx, nil
}

func (l *lease) ready(ctx context.Context) error {
	var fault *types.LocalizedMethodFault
	var state types.HttpNfcLeaseState
	err := property.Wait(ctx, property.DefaultCollector(l.c.vc), l.ref, []string{"state", "info", "error"}, func(changes []types.PropertyChange) bool {
		for _, ch := range changes {
			switch v := ch.Val.(type) {
			case types.HttpNfcLeaseState:
				state = v
			case types.HttpNfcLeaseInfo:
				l.info = v
			case types.LocalizedMethodFault:
				fault = &v
			}
		}
		return fault != nil || state == types.HttpNfcLeaseStateError || state == types.HttpNfcLeaseStateDone ||
			state == types.HttpNfcLeaseStateReady && l.info.Lease.Value != ""
	})
	switch {
	case fault != nil:
		return localized(fault)
	case err != nil:
		return wrap(err)
	case state != types.HttpNfcLeaseStateReady:
		return vm.Errorf(vm.ErrInvalid, "the host ended the transfer before it began (%s)", state)
	}
	return nil
}

// keep renews the lease until it is ended, three times in the time that it
// lasts.
func (l *lease) keep(ctx context.Context) {
	defer close(l.done)
	every := time.Duration(l.info.LeaseTimeout) * time.Second / 3
	every = min(max(every, 200*time.Millisecond), 10*time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := methods.HttpNfcLeaseProgress(ctx, l.c.vc, &types.HttpNfcLeaseProgress{This: l.ref, Percent: l.percent.Load()})
		if err != nil && ctx.Err() == nil {
			l.mu.Lock()
			l.lost = fmt.Errorf("the host ended the transfer: %w", wrap(err))
			l.mu.Unlock()
			l.stop() // ends the transfers too
			return
		}
	}
}

// end stops renewing, and says why it was lost if it was.
func (l *lease) end() error {
	l.stop()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// finish completes the lease, or aborts it if err is set: what was made of the
// guest goes with it then.
func (l *lease) finish(ctx context.Context, err error) error {
	if lost := l.end(); lost != nil {
		err = lost
	}
	if err != nil {
		l.abort()
		return err
	}
	_, err = methods.HttpNfcLeaseComplete(ctx, l.c.vc, &types.HttpNfcLeaseComplete{This: l.ref})
	return wrap(err)
}

// abort gives the lease up, whatever became of the caller's context.
func (l *lease) abort() {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	methods.HttpNfcLeaseAbort(ctx, l.c.vc, &types.HttpNfcLeaseAbort{This: l.ref})
}

// url is where a file of the lease is moved, and the client that may: a host
// that is not our endpoint is known by the certificate that the lease names.
func (l *lease) url(d types.HttpNfcLeaseDeviceUrl) (*url.URL, *http.Client, error) {
	own := l.c.soap.URL()
	u, err := url.Parse(strings.Replace(d.Url, "//*/", "//"+own.Host+"/", 1))
	if err != nil || u.Host == "" {
		return nil, nil, vm.Errorf(vm.ErrInvalid, "the host names the address %q", d.Url)
	}
	if u.Hostname() == own.Hostname() {
		return u, &l.c.soap.Client, nil
	}
	if u.Scheme != "https" {
		return nil, nil, vm.Errorf(vm.ErrUntrusted, "the vCenter names the address %q, which is not encrypted", d.Url)
	}
	t := l.c.soap.DefaultTransport().Clone()
	t.TLSClientConfig = &tls.Config{ServerName: u.Hostname()}
	if d.SslThumbprint != "" {
		t.TLSClientConfig.InsecureSkipVerify = true // VerifyConnection does it, by the certificate itself
		t.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
			sum := sha1.Sum(s.PeerCertificates[0].Raw)
			if got := colons(sum[:]); !strings.EqualFold(got, d.SslThumbprint) {
				return vm.Errorf(vm.ErrUntrusted, "%s shows certificate %s, and not %s as its vCenter says", u.Host, got, d.SslThumbprint)
			}
			return nil
		}
	}
	return u, &http.Client{Transport: t}, nil
}

// upload sends a file. Disks go as streams that the host converts as they
// come; anything else is written as it is.
func (l *lease) upload(ctx context.Context, d types.HttpNfcLeaseDeviceUrl, create bool, r io.Reader, size int64) error {
	u, client, err := l.url(d)
	if err != nil {
		return err
	}
	method, kind := http.MethodPost, "application/x-vnd.vmware-streamVmdk"
	if create {
		method, kind = http.MethodPut, "application/octet-stream"
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), io.NopCloser(r))
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", kind)
	if create {
		req.Header.Set("Overwrite", "t")
	}
	res, err := client.Do(req)
	if err != nil {
		return l.broken(d, err)
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return nil
	}
	return fmt.Errorf("%s: the host answers %s", d.Key, res.Status)
}

// broken is a transfer that got no answer.
func (l *lease) broken(d types.HttpNfcLeaseDeviceUrl, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return vm.Errorf(vm.ErrUnreachable, "%s: %v", d.Key, err)
	}
	return fmt.Errorf("%s: %w", d.Key, err)
}

// Import takes in a guest: the host reads the descriptor, makes the guest and
// gives leave to send its disks.
func (c *Conn) Import(ctx context.Context, at vm.Where, p *vm.Import, progress vm.Progress) (vm.VM, error) {
	where, _, err := c.spot(ctx, at)
	if err != nil {
		return vm.VM{}, err
	}
	spec, err := c.importSpec(ctx, where, at, p)
	if err != nil {
		return vm.VM{}, err
	}
	res, err := methods.ImportVApp(ctx, c.vc, &types.ImportVApp{This: where.pool, Spec: spec.ImportSpec, Folder: &where.folder, Host: where.host})
	if err != nil {
		return vm.VM{}, wrap(err)
	}
	l, lctx, err := c.newLease(ctx, res.Returnval)
	if err != nil {
		return vm.VM{}, err
	}
	err = l.finish(ctx, l.send(lctx, spec.FileItem, p, progress))
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return vm.VM{ID: l.info.Entity.Value, Name: p.Name}, err
}

// importSpec has the host read a descriptor.
func (c *Conn) importSpec(ctx context.Context, where *spot, at vm.Where, p *vm.Import) (*types.OvfCreateImportSpecResult, error) {
	ds, err := c.datastoreRef(ctx, p.Datastore, where.dc)
	if err != nil {
		return nil, err
	}
	cisp := types.OvfCreateImportSpecParams{
		OvfManagerCommonParams: types.OvfManagerCommonParams{Locale: "en_US", DeploymentOption: p.Option},
		EntityName:             p.Name, HostSystem: where.host, DiskProvisioning: provisioning(p.Format),
	}
	if len(p.Networks) > 0 {
		host, err := c.netHost(ctx, where, at)
		if err != nil {
			return nil, err
		}
		known, err := c.networksOf(ctx, host)
		if err != nil {
			return nil, err
		}
		for from, to := range p.Networks {
			ref, ok := known[to]
			if !ok {
				return nil, vm.Errorf(vm.ErrNotFound, "the host has no network %q", to)
			}
			cisp.NetworkMapping = append(cisp.NetworkMapping, types.OvfNetworkMapping{Name: from, Network: ref})
		}
	}
	for _, s := range p.Properties {
		cisp.PropertyMapping = append(cisp.PropertyMapping, types.KeyValue{Key: s.Key, Value: s.Value})
	}
	res, err := methods.CreateImportSpec(ctx, c.vc, &types.CreateImportSpec{This: *c.vc.ServiceContent.OvfManager,
		OvfDescriptor: p.Descriptor, ResourcePool: where.pool, Datastore: ds, Cisp: &cisp})
	if err != nil {
		return nil, wrap(err)
	}
	if len(res.Returnval.Error) > 0 {
		return nil, localized(&res.Returnval.Error[0])
	}
	for _, w := range res.Returnval.Warning {
		c.log.Warn("taking in an OVF package", "guest", p.Name, "warning", w.LocalizedMessage)
	}
	if res.Returnval.ImportSpec == nil {
		return nil, vm.Errorf(vm.ErrInvalid, "the host makes nothing of the descriptor")
	}
	return &res.Returnval, nil
}

func provisioning(f vm.Format) string {
	switch f {
	case vm.ZeroedThick:
		return string(types.OvfCreateImportSpecParamsDiskProvisioningTypeThick)
	case vm.EagerZeroedThick:
		return string(types.OvfCreateImportSpecParamsDiskProvisioningTypeEagerZeroedThick)
	}
	return string(types.OvfCreateImportSpecParamsDiskProvisioningTypeThin)
}

// send sends the files of a package.
func (l *lease) send(ctx context.Context, items []types.OvfFileItem, p *vm.Import, progress vm.Progress) error {
	var total, done int64
	for _, it := range items {
		f, size, err := p.Open(it.Path)
		if err != nil {
			return err
		}
		f.Close()
		total += size
	}
	for _, it := range items {
		d, ok := l.device(it.DeviceId)
		if !ok {
			return vm.Errorf(vm.ErrInvalid, "the host says not where %s goes", it.Path)
		}
		r, size, err := p.Open(it.Path)
		if err != nil {
			return err
		}
		out := &lent{r: &passing{r: r, tell: func(n int64) { l.report(done+n, total, progress) }}}
		err = l.upload(ctx, d, it.Create, out, size)
		out.Close()
		r.Close()
		if err == nil && p.Check != nil {
			err = p.Check(it.Path)
		}
		if err != nil {
			return err
		}
		done += size
	}
	return nil
}

// device is where a file of the package goes.
func (l *lease) device(id string) (types.HttpNfcLeaseDeviceUrl, bool) {
	for _, d := range l.info.DeviceUrl {
		if d.ImportKey == id {
			return d, true
		}
	}
	return types.HttpNfcLeaseDeviceUrl{}, false
}

func (l *lease) report(done, total int64, progress vm.Progress) {
	if total <= 0 {
		return
	}
	n := int(min(100, done*100/total))
	l.percent.Store(int32(n))
	if progress != nil {
		progress(n)
	}
}

// A passing reader tells how much went through it.
type passing struct {
	r    io.Reader
	n    int64
	tell func(int64)
}

func (p *passing) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	p.tell(p.n)
	return n, err
}

// ImportDisk makes a disk of a stream. Hosts take streams for guests only: a
// guest is made to hold the disk, forgotten, and the disk moved to its place.
func (c *Conn) ImportDisk(ctx context.Context, at vm.Where, to vm.Path, f vm.Format, size int64, write func(io.Writer) error) error {
	where, _, err := c.spot(ctx, at)
	if err != nil {
		return err
	}
	name := "margay-" + strings.ToLower(rand.Text()[:10])
	w := &writer{c: c}
	err = w.create(ctx, &vm.Spec{Name: name, GuestID: "otherGuest64", CPUs: 1, MemoryMB: 32, Home: vm.Path{Datastore: to.Datastore},
		Controllers: []vm.Controller{{Key: 1000, Bus: vm.LSILogic}},
		Disks:       []vm.Disk{{Key: -100, Controller: 1000, KB: (size + 1023) / 1024, Path: vm.Path{Datastore: to.Datastore}, Format: f, New: true}}})
	if err != nil {
		return err
	}
	res, err := methods.ImportVApp(ctx, c.vc, &types.ImportVApp{This: where.pool, Folder: &where.folder, Host: where.host,
		Spec: &types.VirtualMachineImportSpec{ConfigSpec: w.spec}})
	if err != nil {
		return wrap(err)
	}
	l, lctx, err := c.newLease(ctx, res.Returnval)
	if err != nil {
		return err
	}
	if err = l.finish(ctx, l.stream(lctx, write)); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return err
	}
	return c.takeDisk(ctx, vm.VM{ID: l.info.Entity.Value, Name: name}, to)
}

// stream sends what write writes to the lease's only disk.
func (l *lease) stream(ctx context.Context, write func(io.Writer) error) error {
	disks := l.disks()
	if len(disks) != 1 {
		return vm.Errorf(vm.ErrInvalid, "the host names %d disks for one", len(disks))
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(write(w)) }()
	err := l.upload(ctx, disks[0], false, r, -1)
	r.CloseWithError(context.Canceled) // ends write if the host took no more
	return err
}

func (l *lease) disks() []types.HttpNfcLeaseDeviceUrl {
	var out []types.HttpNfcLeaseDeviceUrl
	for _, d := range l.info.DeviceUrl {
		if d.Disk == nil || *d.Disk {
			out = append(out, d)
		}
	}
	return out
}

// takeDisk takes the disk out of the guest that held it.
func (c *Conn) takeDisk(ctx context.Context, holder vm.VM, to vm.Path) error {
	vms, err := c.VMs(ctx, vm.Query{Names: []string{holder.Name}, Detail: true})
	if err != nil {
		return err
	}
	if len(vms) != 1 || vms[0].Spec == nil || len(vms[0].Spec.Disks) != 1 {
		return vm.Errorf(vm.ErrNotFound, "the host has lost the guest %s that holds the disk", holder.Name)
	}
	v := vms[0]
	from := v.Spec.Disks[0].Path
	if err := c.Remove(ctx, v, false); err != nil {
		return err
	}
	clean := context.WithoutCancel(ctx)
	defer c.Delete(clean, v.Host, v.Path.Dir())
	dc, err := c.datacenterOf(ctx, v.Host)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, &job{policy: vm.Policy{Deadline: longTask}, start: func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.MoveVirtualDisk_Task(ctx, c.vc, &types.MoveVirtualDisk_Task{This: *c.vc.ServiceContent.VirtualDiskManager,
			SourceName: from.String(), SourceDatacenter: &dc, DestName: to.String(), DestDatacenter: &dc})
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}})
	if err != nil {
		c.Delete(clean, v.Host, from)
	}
	return err
}

// Export gives out a guest's disks.
func (c *Conn) Export(ctx context.Context, v vm.VM, disk func(i int, r io.Reader) error) error {
	res, err := methods.ExportVm(ctx, c.vc, &types.ExportVm{This: vmRef(v)})
	if err != nil {
		return wrap(err)
	}
	l, lctx, err := c.newLease(ctx, res.Returnval)
	if err != nil {
		return err
	}
	err = l.finish(ctx, l.receive(lctx, v, disk))
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return err
}

func (l *lease) receive(ctx context.Context, v vm.VM, disk func(i int, r io.Reader) error) error {
	disks := l.disks()
	if v.Spec == nil || len(disks) != len(v.Spec.Disks) {
		return vm.Errorf(vm.ErrInvalid, "the host gives out %d disks of %s, which has %d", len(disks), v.Name, len(v.Spec.Disks))
	}
	for i, d := range disks {
		l.percent.Store(int32(i * 100 / len(disks)))
		if err := l.download(ctx, d, func(r io.Reader) error { return disk(i, r) }); err != nil {
			return err
		}
	}
	return nil
}

func (l *lease) download(ctx context.Context, d types.HttpNfcLeaseDeviceUrl, take func(io.Reader) error) error {
	u, client, err := l.url(d)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return l.broken(d, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: the host answers %s", d.Key, res.Status)
	}
	return take(res.Body)
}
