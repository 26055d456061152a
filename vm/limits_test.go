package vm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
)

func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		workers, retries, query string
		workersOr7, asks        int
		bad                     string
	}{
		{"", "", "", 7, 3, ""},
		{"2", "0", "", 2, 1, ""},
		{"2", "5", "?workers=9&retries=0", 9, 1, ""},
		{"256", "10", "", 256, 11, ""},
		{"0", "", "", 0, 0, "site.vmwareworkers=0: not a number from 1 to 256"},
		{"", "many", "", 0, 0, "site.vmwareretries=many: not a number from 0 to 10"},
		{"", "", "?workers=257", 0, 0, "workers=257: not a number from 1 to 256"},
		{"", "", "?retries=-1", 0, 0, "retries=-1: not a number from 0 to 10"},
	} {
		records := []nodedb.Record{nodedbtest.Node("esx1", "hosts", "hypervisor.mgr=esx://10.0.0.1/"+tt.query)}
		for key, value := range map[string]string{"vmwareworkers": tt.workers, "vmwareretries": tt.retries} {
			if value != "" {
				records = append(records, nodedbtest.Site(key, value))
			}
		}
		e, err := vm.HostEndpoint(nodedbtest.New(t, records...).Snapshot(), "esx1")
		if tt.bad != "" {
			if !errors.Is(err, vm.ErrInvalid) || err.Error() != tt.bad {
				t.Errorf("%+v: %v", tt, err)
			}
			continue
		}
		if err != nil || e.WorkersOr(7) != tt.workersOr7 || e.Asks() != tt.asks {
			t.Errorf("%+v: %d workers, asked %d times, %v", tt, e.WorkersOr(7), e.Asks(), err)
		}
	}
}

// A connection that is refused is tried again after growing pauses, as often as
// the site says; what will be refused again is not.
func TestConnectAgain(t *testing.T) {
	refused := fmt.Errorf("esx1: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	for _, tt := range []struct {
		err   error
		tries int
		calls int
		takes time.Duration
	}{
		{refused, 0, 3, 600 * time.Millisecond},
		{refused, 1, 1, 0},
		{refused, 8, 8, (200 + 400 + 800 + 1600 + 3200 + 5000 + 5000) * time.Millisecond},
		{vm.Errorf(vm.ErrUntrusted, "another certificate"), 0, 1, 0},
		{context.DeadlineExceeded, 0, 1, 0},
		{errors.New("incorrect user name or password"), 0, 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			calls, start := 0, time.Now()
			m := &vm.Manager{API: func(context.Context, vm.Endpoint) (vm.Hypervisor, error) { calls++; return nil, tt.err }}
			if _, err := m.Open(t.Context(), vm.Endpoint{Kind: vm.ESX, Host: "h", Tries: tt.tries}); err == nil {
				t.Error("it connected")
			}
			if took := time.Since(start); calls != tt.calls || took != tt.takes {
				t.Errorf("%v, %d tries: %d calls in %v, want %d in %v", tt.err, tt.tries, calls, took, tt.calls, tt.takes)
			}
		})
	}
}

// site.vmwaremaxp bounds how many hosts are talked to at a time.
func TestHostsAtOnce(t *testing.T) {
	records := []nodedb.Record{nodedbtest.Site("vmwaremaxp", "1"), nodedbtest.Site("vmwareretries", "0")}
	for i := range 4 {
		records = append(records, nodedbtest.Node(fmt.Sprint("esx", i), "hosts", "nodetype.os=esxi8.0"))
	}
	db := nodedbtest.New(t, records...)
	show := func() (most int, said string) {
		synctest.Test(t, func(t *testing.T) {
			var now, seen atomic.Int32
			m := &vm.Manager{API: func(context.Context, vm.Endpoint) (vm.Hypervisor, error) {
				now.Add(1)
				time.Sleep(time.Second) // of the bubble's clock: all that may be are here by then
				for n := now.Load(); ; {
					if old := seen.Load(); old >= n || seen.CompareAndSwap(old, n) {
						break
					}
				}
				now.Add(-1)
				return nil, errors.New("no")
			}}
			var nodes []*nodedb.Node
			for n := range 4 {
				nodes = append(nodes, node(t, db, fmt.Sprint("esx", n)))
			}
			m.Show(t.Context(), db.Snapshot(), nodes, func(r vm.Result) { said = r.Err.Error() })
			most = int(seen.Load())
		})
		return most, said
	}
	if most, _ := show(); most != 1 {
		t.Errorf("%d at a time, want 1", most)
	}
	nodedbtest.Put(t, db, nodedbtest.Site("vmwaremaxp", "64"))
	if most, _ := show(); most != 4 {
		t.Errorf("%d at a time, want 4", most)
	}
	nodedbtest.Put(t, db, nodedbtest.Site("vmwaremaxp", "all"))
	if most, said := show(); most != 0 || !strings.Contains(said, "site.vmwaremaxp=all: not a number") {
		t.Errorf("%d at a time, %s", most, said)
	}
}
