package vsphere_test

import (
	"context"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vmware/govmomi/vim25/soap"

	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
	"margay/vm/vsphere"
)

// A tap writes down the requests that go by, and breaks the connection under
// some of them.
type tap struct {
	mu    sync.Mutex
	calls []string
	lose  map[string]int // how often more, by request
}

func (p *tap) round(next soap.RoundTripper) soap.RoundTripper { return &tapped{p, next} }

func (p *tap) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := strings.Join(p.calls, " ")
	p.calls = nil
	return s
}

type tapped struct {
	*tap
	next soap.RoundTripper
}

func (p *tapped) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	name := strings.TrimSuffix(reflect.TypeOf(req).Elem().Name(), "Body")
	p.mu.Lock()
	p.calls = append(p.calls, name)
	lost := p.lose[name] > 0
	p.lose[name]--
	p.mu.Unlock()
	if lost {
		return &url.Error{Op: "Post", URL: "/sdk", Err: syscall.ECONNRESET}
	}
	return p.next.RoundTrip(ctx, req, res)
}

func tappedCluster(t *testing.T) (*vmtest.World, *vmtest.Cluster, *tap) {
	t.Helper()
	w, p := vmtest.New(t, vmtest.Options{}), &tap{lose: map[string]int{}}
	db := nodedbtest.New(t, w.Definitions()...)
	m := &vm.Manager{API: vsphere.Dialer{Trust: trust(db), Wrap: p.round}.Dial}
	t.Cleanup(func() { m.Close() })
	return w, &vmtest.Cluster{DB: db, M: m}, p
}

// A host is given as many tasks at a time as the site says, from the next
// command on.
func TestWorkers(t *testing.T) {
	w, c, p := tappedCluster(t)
	names := []string{"vm1", "vm2", "vm3"}
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, names...), "")
	w.ResetCalls()
	const three = "PowerOnVM_Task PowerOnVM_Task PowerOnVM_Task"
	for _, step := range []struct {
		workers  string
		together bool
	}{{"", true}, {"1", false}, {"3", true}} {
		if step.workers != "" {
			nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwareworkers", step.workers))
		}
		p.take()
		want(t, "rpower on", c.Power(t, vm.WordOn, false, names...), "vm1: on\nvm2: on\nvm3: on")
		calls := p.take()
		if got := strings.Contains(calls, three); got != step.together {
			t.Errorf("%q workers: started together %v, want %v: %s", step.workers, got, step.together, calls)
		}
		if !step.together && (strings.Count(calls, "PowerOnVM_Task") != 3 || strings.Contains(calls, "PowerOnVM_Task PowerOnVM_Task")) {
			t.Errorf("one worker: %s", calls)
		}
		want(t, "rpower off", c.Power(t, vm.WordOff, false, names...), "vm1: off\nvm2: off\nvm3: off")
	}
	if n := w.Count("Login"); n != 0 {
		t.Errorf("%d more logins: the connection did not stay", n)
	}
}

// What only reads is asked again as often as the site says; a change never is.
func TestRetries(t *testing.T) {
	_, c, p := tappedCluster(t)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1"), "")
	stat := func(lost int) string {
		p.mu.Lock()
		p.lose["RetrievePropertiesEx"] = lost
		p.mu.Unlock()
		return c.Power(t, vm.WordStat, false, "vm1")
	}
	want(t, "rpower stat, broken twice", stat(2), "vm1: off")
	contains(t, "rpower stat, broken three times", stat(3), "vm1: Error: ")
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwareretries", "3"))
	want(t, "rpower stat, broken three times", stat(3), "vm1: off")
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwareretries", "0"))
	contains(t, "rpower stat, broken once", stat(1), "vm1: Error: ")
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwareretries", "10"))
	stat(0)
	p.take()
	p.lose["PowerOnVM_Task"] = 1
	contains(t, "rpower on, broken once", c.Power(t, vm.WordOn, false, "vm1"), "vm1: Error: ")
	if calls := p.take(); strings.Count(calls, "PowerOnVM_Task") != 1 {
		t.Errorf("a change was sent again: %s", calls)
	}
}
