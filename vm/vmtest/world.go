// Package vmtest plays ESXi hosts and vCenters for tests and demonstrations.
//
// It stands on vcsim, the simulator that comes with govmomi, and takes away
// what vcsim lets pass and a real host refuses: memory that is no multiple of
// 4 MB, IDE disks that come and go while a guest runs, devices in one place,
// clones on a host without vCenter, unknown networks and guest ids. It adds
// what vcsim lacks: labels and keys as ESXi gives them, questions that block
// tasks, .vmx files that say what the guest is, NFS exports, and a licence
// that forbids changes. A World has a SOAP face (Addr) and, with ServeSSH, a
// shell; both show one state.
package vmtest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Options say what is played. The zero value is one ESXi host with a
// datastore, a switch of one card, and the account root with password
// "vmware".
type Options struct {
	VCenter    bool
	Hosts      []string // of a vCenter; default esx1 and esx2
	Datacenter string   // of a vCenter; default DC0
	User       string
	Password   string
	Datastores []string // default datastore1
	Uplinks    []string // default vmnic0 to vmnic3; the first is vSwitch0's
	// Exports are the NFS exports that can be mounted: "10.0.0.9:/vms" to a
	// directory. Worlds that share the directory share the storage.
	Exports map[string]string
	// ReadOnly are those of Exports that let nobody write: hosts mount them all
	// the same.
	ReadOnly  []string
	Known     []*World // hosts that a vCenter can take in
	Licence   string   // its name; default "Evaluation Mode"
	Version   string   // of the product; default vcsim's own, 6.5.0
	LinkLocal string   // the card of hosts' kernels that has a link-local address: vmk1
	Listen    string   // host:port to listen at; default a free port of 127.0.0.1
	Raw       bool     // answers go out as vcsim makes them, to all clients alike; for benchmarks
}

// A World is one endpoint that is played.
type World struct {
	Addr        string // host:port of the API
	Fingerprint string // SHA-256 of the certificate
	Thumbprint  string // SHA-1 of it
	User        string
	Password    string
	Query       string // further parameters of its URI: "?no_verify=1"

	opts  Options
	model *simulator.Model
	inner *simulator.Server
	front *http.Server
	dir   string
	inUse *vim25.Client // our own way in, which no licence stops
	key   string        // of its session

	restricted  atomic.Bool
	multiextent atomic.Bool // split sparse disks can be read
	vcenter     bool

	mu         sync.Mutex
	leases     map[string]*lease // guarded by mu, as all below
	leaseLog   []string
	leaseTime  int
	leaseCount int
	calls      []string                                     // guarded by mu, as all below
	overlays   []*simulator.Registry                        // of sessions
	asks       map[string]*types.VirtualMachineQuestionInfo // by guest's name
	pending    map[types.ManagedObjectReference]chan string // questions that wait
	refuse     map[string]*refusal                          // by method
	cuts       []int64                                      // where transfers of files break
	at         *happening                                   // see BreakAt and Before
	shells     []*Shell
	keys       map[string]bool        // of clients' sessions
	lines      map[string]*SerialPort // of guests that run, by name
	rules      map[string]bool        // of the firewall, those that are on

	cert      tls.Certificate
	lastClone *types.VirtualMachineCloneSpec

	accounts map[types.ManagedObjectReference]types.HostConnectSpec // of hosts that a vCenter has taken in

	leaving sync.Mutex                                          // held while a guest leaves its datastores
	makers  map[types.ManagedObjectReference]*simulator.Context // requests that make a guest, by its folder; see makes
	halves  map[*simulator.Context]func()                       // what unlocks that guest

	noTickets atomic.Bool // the shell gives no tickets
	noScreen  atomic.Bool // the web server has no /screen
}

type refusal struct {
	fault types.BaseMethodFault
	times int
}

// New starts a World that ends with the test.
func New(tb testing.TB, opts Options) *World {
	tb.Helper()
	w, err := Start(opts)
	if err != nil {
		tb.Fatalf("vmtest: %v", err)
	}
	tb.Cleanup(w.Close)
	return w
}

// Start starts a World; the caller closes it.
func Start(opts Options) (*World, error) {
	opts.defaults()
	w := &World{opts: opts, User: opts.User, Password: opts.Password, vcenter: opts.VCenter,
		asks: map[string]*types.VirtualMachineQuestionInfo{}, pending: map[types.ManagedObjectReference]chan string{}, refuse: map[string]*refusal{}, keys: map[string]bool{}, rules: map[string]bool{}}
	var err error
	if w.dir, err = os.MkdirTemp("", "vmtest"); err != nil {
		return nil, err
	}
	for _, step := range []func() error{w.create, w.serve, w.enter, w.furnish} {
		if err := step(); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

func (o *Options) defaults() {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&o.User, "root")
	set(&o.Password, "vmware")
	set(&o.Datacenter, "DC0")
	set(&o.Listen, "127.0.0.1:0")
	set(&o.Licence, "Evaluation Mode")
	if o.VCenter && o.Hosts == nil {
		o.Hosts = []string{"esx1", "esx2"}
	}
	if o.Datastores == nil {
		o.Datastores = []string{"datastore1"}
	}
	if o.Uplinks == nil {
		o.Uplinks = []string{"vmnic0", "vmnic1", "vmnic2", "vmnic3"}
	}
}

// create makes the empty inventory.
func (w *World) create() error {
	m := simulator.ESX()
	if w.opts.VCenter {
		m = simulator.VPX()
		m.Host, m.Cluster, m.ClusterHost, m.Portgroup = len(w.opts.Hosts), 0, 0, 0
		// Clients that know older versions stumble over these.
		m.ServiceContent.TenantManager, m.ServiceContent.SiteInfoManager, m.ServiceContent.StorageQueryManager = nil, nil, nil
	}
	if v := w.opts.Version; v != "" {
		m.ServiceContent.About.Version = v
		m.ServiceContent.About.FullName = strings.ReplaceAll(m.ServiceContent.About.FullName, "6.5.0", v)
	}
	m.Machine, m.Datastore = 0, 0
	if err := m.Create(); err != nil {
		return err
	}
	w.model = m
	w.model.Map().SessionManager().ValidLogin = w.validLogin
	return nil
}

// insider is the account of our own client.
const insider = "dcui"

func (w *World) validLogin(req *types.Login) bool {
	if req.UserName == insider {
		return req.Password == w.key
	}
	return req.UserName == w.User && req.Password == w.Password
}

// serve opens both servers: vcsim's own, and before it the one that clients
// see.
func (w *World) serve() error {
	secret := make([]byte, 16)
	rand.Read(secret)
	w.key = hex.EncodeToString(secret)
	w.model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(w.User, w.Password)}
	w.inner = w.model.Service.NewServer()
	cert, err := newCertificate()
	if err != nil {
		return err
	}
	w.Fingerprint, w.Thumbprint = fingerprints(cert)
	w.cert = cert
	l, err := net.Listen("tcp", w.opts.Listen)
	if err != nil {
		return err
	}
	w.Addr = l.Addr().String()
	w.front = &http.Server{Handler: http.HandlerFunc(w.answer), TLSConfig: tlsConfig(cert), ErrorLog: quiet()}
	go w.front.ServeTLS(l, "", "")
	w.model.Map().Handler = w.handle
	w.model.Map().AddHandler(w)
	return nil
}

// enter logs our own client in.
func (w *World) enter() error {
	ctx := context.Background()
	u := &url.URL{Scheme: "http", Host: w.inner.URL.Host, Path: vim25.Path}
	c, err := vim25.NewClient(ctx, soap.NewClient(u, true))
	if err != nil {
		return err
	}
	w.inUse = c
	return session.NewManager(c).Login(ctx, url.UserPassword(insider, w.key))
}

// Close ends the World.
func (w *World) Close() {
	for _, s := range w.shells {
		s.close()
	}
	if w.front != nil {
		w.front.Close()
	}
	if w.inner != nil {
		w.inner.Close()
	}
	if w.model != nil {
		w.model.Remove()
	}
	if w.dir != "" {
		os.RemoveAll(w.dir)
	}
}

// Certificate is what the World shows.
func (w *World) Certificate() *x509.Certificate {
	c, err := x509.ParseCertificate(w.cert.Certificate[0])
	if err != nil {
		panic(err)
	}
	return c
}

// Host is the address without port; Port is the port.
func (w *World) Host() string { h, _, _ := net.SplitHostPort(w.Addr); return h }

// Port is the API's port.
func (w *World) Port() string { _, p, _ := net.SplitHostPort(w.Addr); return p }

// URI is the World as libvirt's addresses have it.
func (w *World) URI() string {
	kind := "esx"
	if w.vcenter {
		kind = "vpx"
	}
	return fmt.Sprintf("%s://%s/", kind, w.Addr)
}

// Restrict makes the licence forbid changes through the API, or allow them.
func (w *World) Restrict(on bool) { w.restricted.Store(on) }

// Calls are the methods that clients called since the last ResetCalls, as
// "VirtualMachine.PowerOnVM_Task".
func (w *World) Calls() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.calls...)
}

// Count is how many of Calls are of a method.
func (w *World) Count(method string) int {
	n := 0
	for _, c := range w.Calls() {
		if c == method || strings.HasSuffix(c, "."+method) {
			n++
		}
	}
	return n
}

// ResetCalls forgets the calls so far.
func (w *World) ResetCalls() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = nil
}

// Refuse makes the next calls of a method fail, so many times.
func (w *World) Refuse(method string, fault types.BaseMethodFault, times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse[method] = &refusal{fault, times}
}

// EndSessions ends every client's session, and says how many there were.
func (w *World) EndSessions() int {
	ended := 0
	for _, key := range w.sessions() {
		if session.NewManager(w.inUse).TerminateSession(context.Background(), []string{key}) == nil {
			ended++
		}
		w.mu.Lock()
		delete(w.keys, key) // there may be new ones already
		w.mu.Unlock()
	}
	return ended
}

// Dir is the directory that plays a datastore.
func (w *World) Dir(datastore string) string {
	for _, o := range w.model.Map().All("Datastore") {
		if ds := o.(*simulator.Datastore); ds.Name == datastore {
			return ds.Info.GetDatastoreInfo().Url
		}
	}
	return filepath.Join(w.dir, "none")
}

// File is a file of a datastore, by "[datastore] path".
func (w *World) File(path string) string {
	ds, file := splitPath(path)
	return filepath.Join(w.Dir(ds), filepath.FromSlash(file))
}

// splitPath reads "[ds] file" and "/vmfs/volumes/ds/file".
func splitPath(p string) (ds, file string) {
	if rest, ok := strings.CutPrefix(p, "/vmfs/volumes/"); ok {
		ds, file, _ = strings.Cut(rest, "/")
		return ds, file
	}
	ds, file, _ = strings.Cut(strings.TrimPrefix(p, "["), "]")
	return ds, strings.TrimSpace(file)
}
