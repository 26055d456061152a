// Package vsphere is the backend that works over the vSphere API, with ESXi
// hosts and vCenters alike. It keeps one session for each endpoint, sends
// tasks in bounded numbers, follows them through one property collector a
// batch, and reads inventories in one pass.
package vsphere

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"margay/vm"
)

// A Dialer connects to endpoints.
type Dialer struct {
	// Trust is told of a certificate that is seen for the first time, before
	// any password is sent to it. Nil: such certificates are refused.
	Trust func(ctx context.Context, e vm.Endpoint, sha256 string) error
	Log   *slog.Logger
	Roots *x509.CertPool // authorities; nil: those of this machine
	// KeepAlive is how often an idle session is used so that it does not end;
	// 0 is ten minutes, as hosts end sessions after thirty.
	KeepAlive time.Duration
	// Breath is how long a connection that broke while tasks run is left alone,
	// the first time; it is tried five times, each after longer. 0 is two seconds.
	Breath time.Duration
	// Wrap, if set, goes round every request; tests count calls with it.
	Wrap func(soap.RoundTripper) soap.RoundTripper
}

// A Conn is a session with one endpoint. It is for many goroutines.
type Conn struct {
	e     vm.Endpoint
	log   *slog.Logger
	vc    *vim25.Client
	soap  *soap.Client
	trust *trust
	about vm.About

	breath  time.Duration // see Dialer
	workers atomic.Int32  // tasks at a time; see Tune
	tries   atomic.Int32  // how often a request for reading is sent

	loginMu sync.Mutex // one goroutine logs in again, the rest wait
	logins  int        // guarded by loginMu

	viewMu sync.Mutex
	views  map[string]types.ManagedObjectReference // guarded by viewMu

	treeMu   sync.Mutex
	lastTree *tree     // guarded by treeMu
	treeAt   time.Time // guarded by treeMu

	offerMu sync.Mutex
	offers  map[offerKey]keptOffer // guarded by offerMu

	browserMu sync.Mutex
	browsers  map[shelf]types.ManagedObjectReference // guarded by browserMu; see leftovers

	perfMu  sync.Mutex
	perfIDs map[int32]func(*vm.Load, int64) // guarded by perfMu

	stop context.CancelFunc
	done chan struct{}
}

// maxIdle connections are kept open to one endpoint; with fewer, parallel
// requests shake hands anew for each call.
const maxIdle = 16

// Tune sets how many tasks the endpoint is given at a time and how often it is
// asked: more tasks would only queue in the host's own agent.
func (c *Conn) Tune(e vm.Endpoint) {
	tasks := 16
	if e.Kind == vm.VPX {
		tasks = 32
	}
	c.workers.Store(int32(e.WorkersOr(tasks)))
	c.tries.Store(int32(e.Asks()))
}

// Dial connects, checks the certificate, logs in and finds out what the
// licence allows.
func (d Dialer) Dial(ctx context.Context, e vm.Endpoint) (vm.Hypervisor, error) {
	c, err := d.dial(ctx, e)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d Dialer) dial(ctx context.Context, e vm.Endpoint) (*Conn, error) {
	u := &url.URL{Scheme: "https", Host: e.Addr(), Path: vim25.Path}
	if e.Plain {
		u.Scheme = "http"
	}
	c := &Conn{e: e, log: d.Log, soap: soap.NewClient(u, false), views: map[string]types.ManagedObjectReference{}}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.breath = d.Breath; c.breath == 0 {
		c.breath = 2 * time.Second
	}
	c.Tune(e)
	c.trust = &trust{e: e, first: d.Trust != nil, roots: d.Roots}
	if err := c.transport(); err != nil {
		return nil, err
	}
	c.soap.UserAgent = "margay"
	vc, err := vim25.NewClient(ctx, c.soap)
	if err != nil {
		return nil, c.trust.explain(err)
	}
	if fp, fresh := c.trust.seen(); fresh && !e.Passing {
		if err := d.Trust(ctx, e, fp); err != nil {
			return nil, err
		}
	}
	var rt soap.RoundTripper = &quick{Client: c.soap}
	if d.Wrap != nil {
		rt = d.Wrap(rt)
	}
	vc.RoundTripper = &relogin{c, rt}
	c.vc = vc
	if err := c.login(ctx, 0); err != nil {
		return nil, err
	}
	if err := c.look(ctx); err != nil {
		c.logout()
		return nil, err
	}
	d.keepAlive(c)
	return c, nil
}

func (c *Conn) transport() error {
	t := c.soap.DefaultTransport()
	t.DialTLSContext = nil // ours is the only opinion on certificates
	t.TLSClientConfig = c.trust.config()
	t.MaxIdleConnsPerHost = maxIdle
	t.ResponseHeaderTimeout = 0 // waits for updates take as long as they take
	return setProxy(t, c.e.Proxy)
}

// look finds out who answers and what may be changed.
func (c *Conn) look(ctx context.Context) error {
	a := c.vc.ServiceContent.About
	c.about = vm.About{Kind: vm.ESX, Version: a.Version, Build: a.Build, Name: a.FullName, Via: "api"}
	c.about.Fingerprint, c.about.FirstSight = c.trust.seen()
	c.about.Thumbprint = c.trust.thumbprint()
	if c.vc.IsVC() {
		c.about.Kind = vm.VPX
	}
	if c.about.Kind != c.e.Kind {
		return vm.Errorf(vm.ErrInvalid, "%s is %s, not what its address says (%s)", c.e.Host, a.FullName, c.e.Kind)
	}
	if c.about.Kind == vm.VPX {
		return nil
	}
	return c.licence(ctx)
}

// About says what the endpoint is.
func (c *Conn) About() vm.About { return c.about }

// login logs in, unless another has done so since seen logins.
func (c *Conn) login(ctx context.Context, seen int) error {
	c.loginMu.Lock()
	defer c.loginMu.Unlock()
	if c.logins > seen {
		return nil
	}
	req := types.Login{This: *c.vc.ServiceContent.SessionManager, UserName: c.e.User, Password: c.e.Password, Locale: "en_US"}
	rt := c.vc.RoundTripper.(*relogin).next
	if _, err := methods.Login(ctx, rt, &req); err != nil {
		return fmt.Errorf("%s: log in as %s: %w", c.e, c.e.User, wrap(err))
	}
	c.logins++
	c.viewMu.Lock()
	c.views = map[string]types.ManagedObjectReference{} // they went with the session
	c.viewMu.Unlock()
	return nil
}

func (c *Conn) loginCount() int {
	c.loginMu.Lock()
	defer c.loginMu.Unlock()
	return c.logins
}

func (c *Conn) logout() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	methods.Logout(ctx, c.soap, &types.Logout{This: *c.vc.ServiceContent.SessionManager})
	c.soap.CloseIdleConnections()
}

// Close ends the session.
func (c *Conn) Close() error {
	c.stop()
	<-c.done
	c.logout()
	return nil
}

// keepAlive uses the session now and then until Close.
func (d Dialer) keepAlive(c *Conn) {
	every := d.KeepAlive
	if every == 0 {
		every = 10 * time.Minute
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if _, err := methods.GetCurrentTime(ctx, c.vc); err != nil && ctx.Err() == nil {
				c.log.Warn("keeping the session alive", "endpoint", c.e.String(), "err", err)
			}
		}
	}()
}

// relogin logs in again where the session has ended and sends the request
// once more: a host that says NotAuthenticated has done nothing, and one that
// is asked for properties says it of each of them. A request for
// reading is also sent again where the connection broke, at once and then after
// pauses, as often as the endpoint's limits say.
type relogin struct {
	c    *Conn
	next soap.RoundTripper
}

func (r *relogin) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	again := false
	for try := 1; ; {
		seen := r.c.loginCount()
		err := r.next.RoundTrip(ctx, req, res)
		ended := isNotAuthenticated(err) || err == nil && missedSession(res)
		switch {
		case err == nil && !ended || ctx.Err() != nil:
			return err
		case ended && !again:
			if err := r.c.login(ctx, seen); err != nil {
				return err
			}
			again = true
		case isBroken(err) && isRead(req) && try < int(r.c.tries.Load()):
			if vm.Pause(ctx, try-1) != nil {
				return err
			}
			try++
		default:
			return err
		}
		clearBody(res)
	}
}

func isNotAuthenticated(err error) bool {
	if !soap.IsSoapFault(err) {
		return false
	}
	_, ok := soap.ToSoapFault(err).VimFault().(types.NotAuthenticated)
	return ok
}

// missedSession says whether an answer that should hold properties has no more
// than their names, since nobody is logged in.
func missedSession(res soap.HasFault) bool {
	var objects []types.ObjectContent
	switch res := res.(type) {
	case *methods.RetrievePropertiesExBody:
		if res.Res != nil && res.Res.Returnval != nil {
			objects = res.Res.Returnval.Objects
		}
	case *methods.RetrievePropertiesBody:
		if res.Res != nil {
			objects = res.Res.Returnval
		}
	}
	if len(objects) == 0 || len(objects[0].PropSet) > 0 || len(objects[0].MissingSet) == 0 {
		return false
	}
	_, ok := objects[0].MissingSet[0].Fault.Fault.(*types.NotAuthenticated)
	return ok
}

// isBroken says whether a request got no answer at all.
func isBroken(err error) bool {
	var ue *url.Error
	return errors.As(err, &ue) && !ue.Timeout() && !errors.Is(err, context.Canceled) && !errors.Is(err, vm.ErrUntrusted)
}

// isRead says whether a request can be sent twice without harm.
func isRead(req soap.HasFault) bool {
	switch req.(type) {
	case *methods.RetrievePropertiesExBody, *methods.RetrievePropertiesBody, *methods.CurrentTimeBody,
		*methods.RetrieveServiceContentBody, *methods.CreateContainerViewBody:
		return true
	}
	return false
}

// clearBody makes a response body fit to be filled a second time: a fault that is
// in it already would stay.
func clearBody(res soap.HasFault) { reflect.ValueOf(res).Elem().SetZero() }
