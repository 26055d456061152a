package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb/nodedbtest"
)

// dynamicNet gives the test's network a dynamic range of eight addresses.
func dynamicNet(t *testing.T, s *Service) {
	t.Helper()
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.gateway=<xcatmaster>", "networks.dynamicrange=10.1.0.100-10.1.0.107"))
}

func stranger(i int, ask netboot.Ask) netboot.Machine {
	return netboot.Machine{MAC: mac(fmt.Sprintf("02:00:00:00:00:%02x", i)), Local: server, Ask: ask, PXE: true, Firmware: netboot.BIOS,
		UUID: []byte{0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, byte(i)}}
}

func (s *Service) written(t *testing.T) {
	t.Helper()
	if err := s.journal.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.journal.runAfters()
}

func TestLeases(t *testing.T) {
	s, c := newService(t)
	if _, err := s.Plan(t.Context(), stranger(1, netboot.AskDiscover)); !errors.Is(err, netboot.ErrIgnore) {
		t.Fatalf("a stranger without a dynamic range: %v, want silence", err)
	}
	dynamicNet(t, s)
	given := map[netip.Addr]int{}
	lease := func(i int) netip.Addr {
		t.Helper()
		p, err := s.Plan(t.Context(), stranger(i, netboot.AskDiscover))
		if err != nil {
			t.Fatal(err)
		}
		m := stranger(i, netboot.AskRequest)
		m.Requested = p.Addr.Addr()
		if p, err = s.Plan(t.Context(), m); err != nil || p.Nak {
			t.Fatalf("stranger %d: %+v %v", i, p, err)
		}
		return p.Addr.Addr()
	}
	for i := range 8 {
		a := lease(i)
		if other, taken := given[a]; taken {
			t.Fatalf("%s was given to %d and to %d", a, other, i)
		}
		given[a] = i
	}
	if _, err := s.Plan(t.Context(), stranger(9, netboot.AskDiscover)); !refusedFor(err, "network net1: its dynamic range is used up") {
		t.Errorf("a ninth stranger: %v, want that the range is used up", err)
	}
	for a, i := range given { // each keeps its own, after a restart too
		s.leases = newLeaser(s.DB, s.Now)
		if b := lease(i); b != a {
			t.Errorf("stranger %d had %s and now has %s", i, a, b)
		}
	}
	m := stranger(9, netboot.AskRequest)
	m.Requested = netip.MustParseAddr("10.1.0.100")
	if p, err := s.Plan(t.Context(), m); err != nil || !p.Nak {
		t.Errorf("a stranger asks for another's address: %+v %v, want a NAK", p, err)
	}
	m = stranger(3, netboot.AskRelease)
	m.Requested = lease(3)
	if _, err := s.Plan(t.Context(), m); !errors.Is(err, netboot.ErrIgnore) {
		t.Error(err)
	}
	c.tick(time.Second)
	if a := lease(9); a != m.Requested {
		t.Errorf("the free address is %s, and %s was given", m.Requested, a)
	}
	c.tick(13 * time.Hour)
	m = stranger(10, netboot.AskDiscover)
	p, err := s.Plan(t.Context(), m)
	if err != nil {
		t.Fatalf("all leases have run out: %v", err)
	}
	bad := p.Addr.Addr()
	m.Ask, m.Requested = netboot.AskDecline, bad
	s.Plan(t.Context(), m)
	if p, err = s.Plan(t.Context(), stranger(10, netboot.AskDiscover)); err != nil || p.Addr.Addr() == bad {
		t.Errorf("an address that was found in use is given again: %v %v", p, err)
	}
}

func TestDiscovery(t *testing.T) {
	s, c := newService(t)
	dynamicNet(t, s)
	s.Plan(t.Context(), stranger(1, netboot.AskDiscover))
	s.written(t)
	all := Sightings(s.DB.Snapshot())
	if len(all) != 1 || all[0].UUID != "00112233-4455-6677-8899-aabbccddee01" || all[0].MAC != "02:00:00:00:00:01" || all[0].Method != MethodUndef {
		t.Fatalf("seen: %+v", all)
	}
	if err := s.Bind(t.Context(), all[0].UUID, "nosuch", nil); err == nil {
		t.Error("bound to a node that is not defined")
	}
	nodedbtest.Put(t, s.DB, nodedbtest.Node("new1", "all", "hosts.ip=10.1.0.21"), nodedbtest.Node("new2", "all", "hosts.ip=10.1.0.22", "vpd.uuid=00112233-4455-6677-8899-AABBCCDDEE02"))
	if err := s.Bind(t.Context(), "02:00:00:00:00:01", "new1", nil); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Plan(t.Context(), stranger(1, netboot.AskDiscover)); err != nil || p.Node != "new1" || p.Addr.Addr().String() != "10.1.0.21" {
		t.Errorf("after binding: %+v %v, want new1's plan", p, err)
	}
	// known beforehand by its UUID
	s.Plan(t.Context(), stranger(2, netboot.AskDiscover))
	s.written(t)
	if p, err := s.Plan(t.Context(), stranger(2, netboot.AskDiscover)); err != nil || p.Node != "new2" {
		t.Errorf("known by UUID: %+v %v, want new2's plan", p, err)
	}
	// one that has a chain begins it
	nodedbtest.Put(t, s.DB, nodedbtest.Node("new3", "all", "hosts.ip=10.1.0.23", "vpd.uuid=00112233-4455-6677-8899-AABBCCDDEE05", "chain.chain=boot,offline"))
	s.Plan(t.Context(), stranger(5, netboot.AskDiscover))
	s.written(t)
	s.journal.runAfters()
	if n := mustNode(t, s, "new3"); n.CurrState != "boot" || n.Attr("chain.currchain") != "offline" {
		t.Errorf("its chain: %q, then %q", n.CurrState, n.Attr("chain.currchain"))
	}
	// one after the other
	if err := s.StartSequential(t.Context(), Sequential{Nodes: []string{"s1", "s2"}, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.31"), netip.MustParseAddr("10.1.0.32")}, Groups: "seq,all"}); err != nil {
		t.Fatal(err)
	}
	if err := s.StartSequential(t.Context(), Sequential{Nodes: []string{"x"}}); err == nil {
		t.Error("two sequential discoveries run")
	}
	for i, want := range map[int]string{3: "s1"} {
		s.Plan(t.Context(), stranger(i, netboot.AskDiscover))
		s.hello(stranger(i, netboot.AskDiscover), stranger(i, 0).MAC.String(), "uuid=00112233-4455-6677-8899-aabbccddee03&serial=S3")
		s.written(t)
		if p, err := s.Plan(t.Context(), stranger(i, netboot.AskDiscover)); err != nil || p.Node != want {
			t.Errorf("stranger %d: %+v %v, want %s's plan", i, p, err, want)
		}
	}
	if q, _ := RunningSequential(s.DB.Snapshot()); len(q.Nodes) != 1 {
		t.Errorf("%v are left", q.Nodes)
	}
	plain := stranger(4, netboot.AskDiscover)
	plain.PXE = false
	s.Plan(t.Context(), plain)
	s.written(t)
	if n := s.DB.Snapshot().NodeByMAC(plain.MAC); n != nil {
		t.Errorf("a machine that does not boot from the network became %s", n.Name)
	}
	if left, err := s.StopSequential(t.Context()); err != nil || left != 1 {
		t.Errorf("stopped with %d left, %v; want 1", left, err)
	}
	c.tick(time.Hour)
}

func TestSightingsAreBounded(t *testing.T) {
	s, _ := newService(t)
	for i := range 2 * maxSightings {
		m := stranger(0, netboot.AskDiscover)
		m.MAC[3], m.MAC[4] = byte(i>>8), byte(i)
		m.UUID = nil
		s.Plan(t.Context(), m)
	}
	s.written(t)
	if n := len(Sightings(s.DB.Snapshot())); n > maxSightings {
		t.Errorf("%d machines are kept, want %d at most", n, maxSightings)
	}
}

func TestDiscoverScript(t *testing.T) {
	s, _ := newService(t)
	dynamicNet(t, s)
	nodedbtest.Put(t, s.DB, nodedbtest.Node("byserial", "all", "vpd.serial=ABC123"))
	p, _ := s.Plan(t.Context(), stranger(5, netboot.AskDiscover))
	m := stranger(5, netboot.AskRequest)
	m.Requested, m.Loader = p.Addr.Addr(), true
	p, err := s.Plan(t.Context(), m)
	if err != nil || p.File != "http://10.1.0.1/discover/02-00-00-00-00-05/script" {
		t.Fatalf("%+v %v", p, err)
	}
	at := netboot.Machine{Addr: m.Requested, Local: server}
	if text, err := s.get(at, "discover/02-00-00-00-00-05/script"); err != nil || !strings.Contains(text, "nodediscoverdef -u 02:00:00:00:00:05 -n NAME") {
		t.Errorf("script: %q %v", text, err)
	}
	if _, err := s.get(from1, "discover/02-00-00-00-00-05/script"); err == nil {
		t.Error("another machine has the script")
	}
	if _, err := s.get(at, "discover/02-00-00-00-00-05/hello?serial=ABC123&product=X1&uuid=00112233-4455-6677-8899-aabbccddee05&arch=x86_64"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.get(at, "discover/02-00-00-00-00-05/go"); err == nil {
		t.Error("it goes on before it is a node")
	}
	s.written(t)
	if n := s.DB.Snapshot().NodeByMAC(m.MAC); n == nil || n.Name != "byserial" {
		t.Errorf("known by its serial number: %v", n)
	}
	if si := Sightings(s.DB.Snapshot()); len(si) != 1 || si[0].Firmware != "bios" || si[0].Network != "net1" || si[0].Serial != "ABC123" || si[0].MTM != "X1" {
		t.Errorf("what DHCP and iPXE told is not together: %+v", si)
	}
	if _, err := s.get(at, "discover/02-00-00-00-00-05/go"); err == nil {
		t.Error("it goes on before it has anything to boot")
	}
	nodedbtest.Put(t, s.DB, nodedbtest.Node("byserial", "all", "mac.mac=02:00:00:00:00:05", "hosts.ip=10.1.0.25", "chain.currstate=boot"))
	if _, err := s.get(at, "discover/02-00-00-00-00-05/go"); err != nil {
		t.Errorf("it does not go on: %v", err)
	}
}

// TestAddressInUse: an address of the range that somebody holds without a
// lease is not given away.
func TestAddressInUse(t *testing.T) {
	s, _ := newService(t)
	dynamicNet(t, s)
	var log strings.Builder
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	held := netip.MustParseAddr("10.1.0.100")
	asked := map[netip.Addr]int{}
	s.Config.InUse = func(_ context.Context, ifname string, a netip.Addr) net.HardwareAddr {
		if asked[a]++; a == held {
			return mac("52:54:00:00:99:99")
		}
		return nil
	}
	m := stranger(1, netboot.AskDiscover)
	m.Interface = "eth0"
	for range 2 {
		p, err := s.Plan(t.Context(), m)
		if err != nil || p.Addr.Addr() != netip.MustParseAddr("10.1.0.101") {
			t.Fatalf("%+v %v, want 10.1.0.101", p, err)
		}
	}
	if asked[held] != 1 || asked[netip.MustParseAddr("10.1.0.101")] != 1 {
		t.Errorf("asked for %v, want each once", asked)
	}
	if l := Leases(s.DB.Snapshot()); len(l) != 1 || !l[0].Bad || l[0].Addr != held {
		t.Errorf("leases %+v, want the held address left alone", l)
	}
	if got := log.String(); strings.Count(got, "addr=10.1.0.100 by=52:54:00:00:99:99 network=net1") != 1 {
		t.Errorf("the log does not say once who has it:\n%s", got)
	}
	m = stranger(2, netboot.AskDiscover)
	m.MAC, m.Interface, m.Requested = mac("52:54:00:00:99:99"), "eth0", netip.MustParseAddr("10.1.0.105")
	held = m.Requested
	if p, err := s.Plan(t.Context(), m); err != nil || p.Addr.Addr() != held {
		t.Errorf("who has an address asks for it: %+v %v", p, err)
	}
}

// TestDecline: an address that a machine found in use is left alone for an hour,
// or until the operator says so, and then is anybody's.
func TestDecline(t *testing.T) {
	s, c := newService(t)
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.dynamicrange=10.1.0.100-10.1.0.100"))
	only := netip.MustParseAddr("10.1.0.100")
	ask := func(i int, ask netboot.Ask) (*netboot.Plan, error) {
		m := stranger(i, ask)
		m.PXE = false
		if ask != netboot.AskDiscover {
			m.Requested = only
		}
		return s.Plan(t.Context(), m)
	}
	takes := func(i int) {
		t.Helper()
		for _, a := range []netboot.Ask{netboot.AskDiscover, netboot.AskRequest} {
			if p, err := ask(i, a); err != nil || p.Nak || p.Addr.Addr() != only {
				t.Fatalf("machine %d: %+v %v", i, p, err)
			}
		}
	}
	for i, out := range []func(){
		func() { c.tick(quarantine + time.Second) },
		func() {
			if err := s.Release(t.Context(), []netip.Addr{only}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		has, other := 2*i+1, 2*i+2
		takes(has)
		if _, err := ask(other, netboot.AskDecline); !errors.Is(err, netboot.ErrIgnore) {
			t.Errorf("declined by one that was never offered it: %v", err)
		}
		if p, err := ask(has, netboot.AskRequest); err != nil || p.Nak {
			t.Errorf("another machine's word has cost it its address: %+v %v", p, err)
		}
		if _, err := ask(has, netboot.AskDecline); !refusedFor(err, "declines 10.1.0.100") {
			t.Errorf("declined: %v", err)
		}
		for _, who := range []int{has, other} {
			if p, err := ask(who, netboot.AskDiscover); !refusedFor(err, "used up") {
				t.Errorf("left alone, and offered to %d: %+v %v", who, p, err)
			}
			if p, err := ask(who, netboot.AskRequest); err != nil || !p.Nak {
				t.Errorf("left alone, and acknowledged to %d: %+v %v", who, p, err)
			}
		}
		out()
		takes(other)
		s.Release(t.Context(), []netip.Addr{only})
	}
}

// TestHolding: a relay of ours is told who has what, one of elsewhere nothing.
func TestHolding(t *testing.T) {
	s, c := newService(t)
	dynamicNet(t, s)
	relay := netip.MustParseAddr("10.1.0.2")
	p, err := s.Plan(t.Context(), stranger(1, netboot.AskDiscover))
	if err != nil {
		t.Fatal(err)
	}
	m := stranger(1, netboot.AskRequest)
	m.Requested = p.Addr.Addr()
	if _, err := s.Plan(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	node, free := netip.MustParseAddr("10.1.0.11"), netip.MustParseAddr("10.1.0.107")
	id := append([]byte{1}, m.MAC...)
	for _, tt := range []struct {
		name string
		q    netboot.LeaseQuery
		want string
	}{
		{"a lease", netboot.LeaseQuery{Addr: m.Requested, Relay: relay}, m.Requested.String() + " " + m.MAC.String() + " 10m0s"},
		{"by MAC", netboot.LeaseQuery{MAC: m.MAC, Relay: relay}, m.Requested.String() + " " + m.MAC.String() + " 10m0s"},
		{"by client identifier", netboot.LeaseQuery{ClientID: id, Relay: relay}, m.Requested.String() + " " + m.MAC.String() + " 10m0s"},
		{"a node", netboot.LeaseQuery{Addr: node, Relay: relay}, "10.1.0.11 52:54:00:00:00:01 12h0m0s"},
		{"a node by MAC", netboot.LeaseQuery{MAC: mac("52:54:00:00:00:01"), Relay: relay}, "10.1.0.11 52:54:00:00:00:01 12h0m0s"},
		{"nobody's", netboot.LeaseQuery{Addr: free, Relay: relay}, "10.1.0.107  0s"},
		{"not ours to give", netboot.LeaseQuery{Addr: netip.MustParseAddr("10.1.0.90"), Relay: relay}, "unknown"},
		{"a stranger", netboot.LeaseQuery{MAC: mac("02:00:00:00:00:99"), Relay: relay}, "unknown"},
		{"a relay of elsewhere", netboot.LeaseQuery{Addr: node, Relay: netip.MustParseAddr("10.9.0.2")}, "unknown"},
	} {
		got := "unknown"
		if h := s.Holding(tt.q); h != nil {
			got = fmt.Sprintf("%s %s %s", h.Addr, h.MAC, h.Ends.Round(time.Second))
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	c.tick(13 * time.Hour)
	if h := s.Holding(netboot.LeaseQuery{Addr: m.Requested, Relay: relay}); h == nil || h.MAC != nil {
		t.Errorf("a lease that ran out: %+v, want that nobody has it", h)
	}
}

// TestClockSteps: however the clock is set, no address that a machine has is
// given to another; when its time is truly over, it is.
func TestClockSteps(t *testing.T) {
	s, c := newService(t)
	dynamicNet(t, s)
	var passed time.Duration
	s.leases.steady = func() time.Duration { return passed }
	given := map[netip.Addr]int{}
	lease := func(i int) error {
		p, err := s.Plan(t.Context(), stranger(i, netboot.AskDiscover))
		if err != nil {
			return err
		}
		m := stranger(i, netboot.AskRequest)
		m.Requested = p.Addr.Addr()
		if p, err = s.Plan(t.Context(), m); err != nil || p.Nak {
			return fmt.Errorf("not acknowledged: %+v %v", p, err)
		}
		if other, taken := given[m.Requested]; taken && other != i {
			t.Errorf("%s is machine %d's and was given to %d", m.Requested, other, i)
		}
		given[m.Requested] = i
		return nil
	}
	for i := range 8 { // all there are
		if err := lease(i); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []time.Duration{13 * time.Hour, -26 * time.Hour, 20 * 365 * 24 * time.Hour} {
		c.tick(step)
		if err := lease(9); !refusedFor(err, "used up") {
			t.Errorf("the clock was set by %v, and another machine is given an address: %v", step, err)
		}
		m := stranger(10, netboot.AskRequest) // one that asks for another's
		m.Requested = netip.MustParseAddr("10.1.0.103")
		if p, err := s.Plan(t.Context(), m); err != nil || !p.Nak {
			t.Errorf("the clock was set by %v, and another's address is acknowledged: %+v %v", step, p, err)
		}
	}
	passed += 13 * time.Hour
	clear(given)
	if err := lease(9); err != nil {
		t.Errorf("the leases are over: %v", err)
	}
}
