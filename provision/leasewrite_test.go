package provision

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb/nodedbtest"
)

// TestDefer: of many machines that ask for one address one has it, which the
// table says before it is told so; what Defer is not for it leaves to Plan.
func TestDefer(t *testing.T) {
	s := twoNets(t)
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.dynamicrange=10.1.0.100-10.1.0.101"))
	const many = 2*takingsMax + 10
	addr := netip.MustParseAddr("10.1.0.100")
	type answer struct {
		m    netboot.Machine
		p    *netboot.Plan
		err  error
		have string // by the table when it was told
	}
	told := make(chan answer, many)
	for i := range many {
		m := stranger(i, netboot.AskRequest)
		m.Interface, m.Requested = "eth0", addr
		if !s.Defer(m, func(p *netboot.Plan, err error) {
			r, _ := s.DB.Snapshot().Record(leaseKey(addr))
			told <- answer{m, p, err, leaseOf(r).MAC}
		}) {
			t.Fatalf("machine %d is not answered later", i)
		}
	}
	winner := ""
	for range many {
		a := <-told
		switch {
		case a.err != nil:
			t.Error(a.err)
		case a.p.Nak:
		case a.p.Addr.Addr() != addr || a.have != a.m.MAC.String():
			t.Errorf("%s was told %v, and the table says %s", a.m.MAC, a.p.Addr, a.have)
		case winner != "":
			t.Errorf("both %s and %s have it", winner, a.m.MAC)
		default:
			winner = a.m.MAC.String()
		}
	}
	if winner == "" {
		t.Error("nobody has it")
	}

	not := func(what string, change func(*netboot.Machine)) {
		m := stranger(1, netboot.AskRequest)
		m.Interface, m.Requested = "eth0", addr
		change(&m)
		if s.Defer(m, func(*netboot.Plan, error) { t.Errorf("%s: told", what) }) {
			t.Errorf("%s: answered later", what)
		}
	}
	not("a node", func(m *netboot.Machine) { m.MAC = mac("52:54:00:00:00:01") })
	not("a DISCOVER", func(m *netboot.Machine) { m.Ask = netboot.AskDiscover })
	not("a RELEASE", func(m *netboot.Machine) { m.Ask = netboot.AskRelease })
	not("by a proxy", func(m *netboot.Machine) { m.Proxy = true })
	not("another's offer", func(m *netboot.Machine) { m.Server = netip.MustParseAddr("10.1.0.66") })
	not("on a wire without a range", func(m *netboot.Machine) { m.Interface, m.Local = "eth1", netip.MustParseAddr("10.9.0.1") })
}

// TestLeaseLate: what has waited for so long that its machine has asked again is
// not written, and those behind it are.
func TestLeaseLate(t *testing.T) {
	s := twoNets(t)
	late := &taking{addr: netip.MustParseAddr("10.1.0.100"), lease: Lease{MAC: "52:54:00:00:09:01"}, length: time.Hour, since: time.Now().Add(-2 * takingsTime)}
	soon := &taking{addr: netip.MustParseAddr("10.1.0.101"), lease: Lease{MAC: "52:54:00:00:09:02"}, length: time.Hour, since: time.Now()}
	s.leases.commit([]*taking{late, soon})
	if late.ok || !errors.Is(late.err, errLeaseLate) {
		t.Errorf("the late one: %v %v", late.ok, late.err)
	}
	if !soon.ok || soon.err != nil {
		t.Errorf("the one behind it: %v %v", soon.ok, soon.err)
	}
	if got := Leases(s.DB.Snapshot()); len(got) != 1 || got[0].Addr != soon.addr {
		t.Errorf("written: %v", got)
	}
}

// TestInform: a stranger that has an address already is told all else, of the
// network that its address is in, and no lease is written; from elsewhere, and
// where no stranger is served, it hears nothing.
func TestInform(t *testing.T) {
	s := twoNets(t)
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net2", "10.2.0.0", "255.255.255.0", "networks.dynamicrange=10.2.0.100-10.2.0.101", "networks.gateway=10.2.0.254", "networks.ntpservers=10.2.0.7"))
	for addr, want := range map[string]bool{"10.2.0.77": true, "10.1.0.77": false, "192.168.7.7": false} {
		m := stranger(1, netboot.AskInform)
		m.Interface, m.Addr = "eth0", netip.MustParseAddr(addr)
		p, err := s.Plan(t.Context(), m)
		if !want {
			if !errors.Is(err, netboot.ErrIgnore) {
				t.Errorf("%s: %+v %v", addr, p, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Addr.String() != addr+"/24" || p.Router.String() != "10.2.0.254" || p.Server.String() != "10.2.0.1" || len(p.NTP) != 1 || p.Nak {
			t.Errorf("%s: %+v", addr, p)
		}
	}
	if got := Leases(s.DB.Snapshot()); len(got) != 0 {
		t.Errorf("written: %v", got)
	}
}
