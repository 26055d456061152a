package vsphere_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
	"margay/vm/vsphere"
)

// A way to a guest's screen is good once, and is given of guests that run.
func TestConsole(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	console := func(names ...string) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Console(ctx, snap, c.Nodes(t, names...), emit)
		})
	}
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	want(t, "wvid of a guest that is off", console("vm1"), "vm1: Error: the guest is off; only one that runs has a screen")
	want(t, "wvid of none", console("vm2"), "vm2: Error: VM does not appear to exist")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	first, second := console("vm1"), console("vm1")
	for _, out := range []string{first, second} {
		contains(t, "wvid", out, "vm1: console: wss://127.0.0.1:443/ticket/")
		contains(t, "wvid", out, "vm1: thumbprint: "+w.Thumbprint)
	}
	if first == second {
		t.Error("two who ask get one ticket")
	}
	w.Restrict(true)
	contains(t, "wvid on a free licence", console("vm1"), "prohibits execution of the requested operation")
}

func TestScreenshot(t *testing.T) {
	for _, vc := range []bool{false, true} {
		var w *vmtest.World
		var c *vmtest.Cluster
		if vc {
			w, c = vcenter(t, vmtest.Options{})
		} else {
			w = vmtest.New(t, vmtest.Options{})
			c = cluster(t, w)
		}
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
		shot := func() ([]byte, error) { return c.M.Screenshot(t.Context(), c.DB.Snapshot(), c.Nodes(t, "vm1")[0]) }
		if _, err := shot(); err == nil || !strings.Contains(err.Error(), "the guest is off") {
			t.Errorf("of a guest that is off: %v", err)
		}
		want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
		png, err := shot()
		if err != nil || !strings.HasPrefix(string(png), "\x89PNG") {
			t.Errorf("vCenter %v: %d bytes, %v", vc, len(png), err)
		}
		w.EndSessions()
		if png, err = shot(); err != nil || len(png) == 0 {
			t.Errorf("vCenter %v, after its session ended: %v", vc, err)
		}
		// A host without the page writes a file, of which nothing stays.
		w.NoScreen()
		w.ResetCalls()
		if png, err = shot(); err != nil || !strings.HasPrefix(string(png), "\x89PNG") {
			t.Errorf("vCenter %v, by a file: %d bytes, %v", vc, len(png), err)
		}
		if w.Count("CreateScreenshot_Task") != 1 || w.Count("DeleteDatastoreFile_Task") != 1 {
			t.Errorf("calls %v", w.Calls())
		}
	}
}

// The counters of any number of guests are one call.
func TestVitals(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	var records []nodedb.Record
	var names []string
	for i := range 20 {
		name := fmt.Sprintf("g%02d", i)
		names = append(names, name)
		records = append(records, nodedbtest.Node(name, "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1"))
	}
	c := cluster(t, w, records...)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, names...), "")
	c.Power(t, vm.WordOn, false, names[1:]...)
	w.SetTools("g01", true, "10.0.0.5")
	vitals := func() string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Vitals(ctx, snap, c.Nodes(t, names...), emit)
		})
	}
	vitals()
	w.ResetCalls()
	out := vitals()
	contains(t, "rvitals", out, "g00: Power Status: off\ng01: Power Status: on\ng01: VMware Tools: running\ng01: IP Address: 10.0.0.5\ng01: CPU Usage: ")
	if n := strings.Count(out, ": Memory Consumed: "); n != 19 {
		t.Errorf("memory of %d guests", n)
	}
	if calls := w.Calls(); len(calls) != 2 || w.Count("QueryPerf") != 1 {
		t.Errorf("rvitals of 20 took %v", calls)
	}
	w.Restrict(true)
	contains(t, "rvitals on a free licence", vitals(), "g01: Network Usage: ")
}

// A log gathers what a watch tells, and waits for lines.
type sightLog struct {
	mu    sync.Mutex
	lines []string
	news  chan struct{}
}

func (l *sightLog) emit(r vm.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := r.Node + ": " + r.Text
	if r.Err != nil {
		line = r.Node + ": Error: " + r.Err.Error()
	}
	l.lines = append(l.lines, line)
	close(l.news)
	l.news = make(chan struct{})
}

func (l *sightLog) wait(t *testing.T, what string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		l.mu.Lock()
		news, seen := l.news, slices.ContainsFunc(l.lines, func(s string) bool { return strings.Contains(s, what) })
		l.mu.Unlock()
		if seen {
			return
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("%q is not told; what is: %q", what, l.lines)
		}
	}
}

// Everybody who watches an endpoint watches through one collector, which
// outlives sessions.
func TestWatch(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1", "vm2"), "")
	ctx, cancel := context.WithCancel(t.Context())
	w.ResetCalls()
	logs := []*sightLog{{news: make(chan struct{})}, {news: make(chan struct{})}}
	var over sync.WaitGroup
	for _, l := range logs {
		over.Go(func() { c.M.Watch(ctx, c.DB.Snapshot(), c.Nodes(t, "vm1", "vm2", "vm3"), l.emit) })
	}
	for _, l := range logs {
		l.wait(t, "vm1: power: off")
		l.wait(t, "vm3: power: not on its host")
	}
	if n := w.Count("CreatePropertyCollector"); n != 1 {
		t.Errorf("two watches took %d collectors", n)
	}
	c.Power(t, vm.WordOn, false, "vm1")
	w.SetTools("vm1", true, "10.0.0.5")
	for _, l := range logs {
		l.wait(t, "vm1: power: on")
		l.wait(t, "vm1: tools: running")
		l.wait(t, "vm1: address: 10.0.0.5")
	}
	if w.EndSessions() == 0 {
		t.Error("no session ended")
	}
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm3"), "")
	for _, l := range logs {
		l.wait(t, "vm3: power: off")
	}
	if w.EndSessions() == 0 {
		t.Error("no session ended")
	}
	want(t, "rmvm", c.Remove(t, vm.RemoveRequest{}, "vm2"), "")
	for _, l := range logs {
		l.wait(t, "vm2: power: not on its host")
	}
	cancel()
	over.Wait()
	for _, l := range logs {
		if n := slices.IndexFunc(l.lines, func(s string) bool { return strings.HasPrefix(s, "vm2: power: off") }); n < 0 || slices.Contains(l.lines[n+1:], "vm2: power: off") {
			t.Errorf("what did not change is told again: %q", l.lines)
		}
		if slices.ContainsFunc(l.lines, func(s string) bool { return strings.Contains(s, "Error") }) {
			t.Errorf("that a session ended is told: %q", l.lines)
		}
	}
}

// A host that cannot be reached is said once, and its guests are seen when it
// is back.
func TestWatchUnreachable(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	d := vsphere.Dialer{Trust: trust(c.DB)}
	var mu sync.Mutex
	away := true
	c.M.API = func(ctx context.Context, e vm.Endpoint) (vm.Hypervisor, error) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return nil, vm.ErrUnreachable
		}
		return d.Dial(ctx, e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := &sightLog{news: make(chan struct{})}
	var over sync.WaitGroup
	over.Go(func() { c.M.Watch(ctx, c.DB.Snapshot(), c.Nodes(t, "vm1"), l.emit) })
	l.wait(t, "vm1: Error: hypervisor unreachable")
	mu.Lock()
	away = false
	mu.Unlock()
	l.wait(t, "vm1: power: not on its host")
	cancel()
	over.Wait()
	if len(l.lines) != 2 {
		t.Errorf("%q", l.lines)
	}
}
