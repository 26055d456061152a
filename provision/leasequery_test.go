package provision

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// TestHoldingLast: what a machine said last is told of its lease, over a restart
// too: when, how it called itself, and where its relay saw it, though it renews
// without one.
func TestHoldingLast(t *testing.T) {
	s, c := newService(t)
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.gateway=10.1.0.254", "networks.dynamicrange=10.1.0.100-10.1.0.107"),
		nodedbtest.Network("net2", "10.2.0.0", "255.255.255.0", "networks.dynamicrange=10.2.0.100-10.2.0.107"),
		nodedbtest.Site("dhcplease", "1000"))
	relay := netip.MustParseAddr("10.1.0.2")
	ask := func(m netboot.Machine, addr, relay, info, id string) {
		t.Helper()
		m.Ask, m.Requested, m.PXE, m.ClientID, m.RelayInfo = netboot.AskRequest, netip.MustParseAddr(addr), false, []byte(id), []byte(info)
		m.Relay = addrOf(relay)
		if p, err := s.Plan(t.Context(), m); err != nil || p.Nak {
			t.Fatalf("%s asks for %s: %+v %v", m.MAC, addr, p, err)
		}
	}
	says := func(what string, q netboot.LeaseQuery, want string) {
		t.Helper()
		q.Relay, q.Local = relay, server
		got := "nobody"
		if h := s.Holding(q); h != nil && h.MAC != nil {
			got = fmt.Sprintf("%s %s of %v ends %v silent %v id %q at %q others %v", h.Addr, h.MAC, h.Length, h.Ends.Round(time.Second), h.Silent, h.ClientID, h.RelayInfo, h.Others)
			if h.Told == nil || h.Told.Router.String() != map[bool]string{true: "10.1.0.254", false: "invalid IP"}[h.Addr.As4()[1] == 1] || h.Told.Addr.Bits() != 24 {
				t.Errorf("%s: told %+v", what, h.Told)
			}
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}
	byMAC := netboot.LeaseQuery{MAC: stranger(1, 0).MAC}
	byID := netboot.LeaseQuery{ClientID: []byte("me")}
	says("before", byMAC, "nobody")
	ask(stranger(1, 0), "10.1.0.100", "10.1.0.2", "port 7", "me")
	c.tick(100 * time.Second)
	const first = "10.1.0.100 02:00:00:00:00:01 of 16m40s ends 15m0s silent 1m40s id \"me\" at \"port 7\" others []"
	says("by MAC", byMAC, first)
	says("by client identifier", byID, first)
	says("by address", netboot.LeaseQuery{Addr: netip.MustParseAddr("10.1.0.100")}, first)

	ask(stranger(1, 0), "10.1.0.100", "", "", "me") // renews
	says("renewed", byMAC, "10.1.0.100 02:00:00:00:00:01 of 16m40s ends 16m40s silent 0s id \"me\" at \"port 7\" others []")
	c.tick(10 * time.Second)
	ask(stranger(1, 0), "10.2.0.101", "10.2.0.2", "port 8", "mine") // moves, and has two for a while
	c.tick(10 * time.Second)
	const second = "10.2.0.101 02:00:00:00:00:01 of 16m40s ends 16m30s silent 10s id \"mine\" at \"port 8\" others "
	says("moved, by MAC", byMAC, second+"[10.1.0.100]")
	says("moved, by its new name", netboot.LeaseQuery{ClientID: []byte("mine")}, second+"[]")
	says("moved, by its old name", byID, "10.1.0.100 02:00:00:00:00:01 of 16m40s ends 16m20s silent 20s id \"me\" at \"port 7\" others []")

	s = restarted(s)
	says("after a restart", byMAC, second+"[10.1.0.100]")
	c.tick(1000 * time.Second)
	says("when both have ended", byMAC, "nobody")
	ask(stranger(2, 0), "10.1.0.100", "", "", "") // which was another's, whose relay is nothing to it
	says("another machine", netboot.LeaseQuery{Addr: netip.MustParseAddr("10.1.0.100")}, "10.1.0.100 02:00:00:00:00:02 of 16m40s ends 16m40s silent 0s id \"\" at \"\" others []")
	says("by the name of before", byID, "nobody")

	old := netip.MustParseAddr("10.1.0.105") // as releases before this one wrote it
	nodedbtest.Put(t, s.DB, nodedbtest.Record(kindLease, old.String(), "lease.mac=02:00:00:00:00:05", fmt.Sprintf("lease.expires=%d", c.now.Add(time.Hour).Unix())))
	says("an old record", netboot.LeaseQuery{Addr: old}, "10.1.0.105 02:00:00:00:00:05 of 0s ends 1h0m0s silent -1ns id \"\" at \"\" others []")
}

// restarted is a service anew on the same table.
func restarted(s *Service) *Service { return NewService(s.Config) }

// TestHoldingNode: what a node behind a relay said last is kept too, and nothing
// is written for nodes that no relay speaks for.
func TestHoldingNode(t *testing.T) {
	s, c := newService(t)
	relay := netip.MustParseAddr("10.1.0.2")
	nodedbtest.Put(t, s.DB, nodedbtest.Node("esx2", "all", "hosts.ip=10.1.0.12", "hosts.otherinterfaces=store:10.1.0.13",
		"mac.mac=52:54:00:00:00:02|52:54:00:00:00:03!store|52:54:00:00:00:04!*NOIP*"))
	ask := func(last, addr string, change func(*netboot.Machine)) {
		t.Helper()
		m := netboot.Machine{MAC: mac("52:54:00:00:00:" + last), Local: server, Ask: netboot.AskRequest, Requested: netip.MustParseAddr(addr), ClientID: []byte("id" + last)}
		change(&m)
		if p, err := s.Plan(t.Context(), m); err != nil || p.Nak {
			t.Fatalf("%+v %v", p, err)
		}
		s.saveReserved(t.Context())
	}
	via := func(info string) func(*netboot.Machine) {
		return func(m *netboot.Machine) { m.Relay, m.RelayInfo = relay, []byte(info) }
	}
	says := func(what string, q netboot.LeaseQuery, want string) {
		t.Helper()
		q.Relay, q.Local = relay, server
		got := "nobody"
		if h := s.Holding(q); h != nil && h.MAC != nil {
			got = fmt.Sprintf("%s %s of %v ends %v silent %v id %q at %q host %s", h.Addr, h.MAC, h.Length, h.Ends, h.Silent, h.ClientID, h.RelayInfo, h.Told.Hostname)
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}
	saved := func() int { return s.DB.Snapshot().Count(kindReserved) }
	at := func(a string) netboot.LeaseQuery { return netboot.LeaseQuery{Addr: netip.MustParseAddr(a)} }

	ask("01", "10.1.0.11", func(*netboot.Machine) {})
	ask("01", "10.1.0.11", func(m *netboot.Machine) { via("port 1")(m); m.Server = netip.MustParseAddr("10.1.0.66") }) // another server's
	if saved() != 0 {
		t.Errorf("%d are written for a node that no relay speaks for", saved())
	}
	says("nothing is known", at("10.1.0.11"), "10.1.0.11 52:54:00:00:00:01 of 0s ends 12h0m0s silent -1ns id \"\" at \"\" host esx1")

	ask("01", "10.1.0.11", via("port 1"))
	ask("03", "10.1.0.13", via("port 3"))
	c.tick(time.Minute)
	const one, three = "10.1.0.11 52:54:00:00:00:01 of 12h0m0s ends 11h59m0s silent 1m0s id \"id01\" at \"port 1\" host esx1",
		"10.1.0.13 52:54:00:00:00:03 of 12h0m0s ends 11h59m0s silent 1m0s id \"id03\" at \"port 3\" host esx2"
	for range 2 {
		says("by address", at("10.1.0.11"), one)
		says("by MAC", netboot.LeaseQuery{MAC: mac("52:54:00:00:00:01")}, one)
		says("by client identifier", netboot.LeaseQuery{ClientID: []byte("id01")}, one)
		says("another interface", at("10.1.0.13"), three)
		says("another interface by MAC", netboot.LeaseQuery{MAC: mac("52:54:00:00:00:03")}, three)
		says("the node's own", at("10.1.0.12"), "10.1.0.12 52:54:00:00:00:02 of 0s ends 12h0m0s silent -1ns id \"\" at \"\" host esx2")
		says("an interface without an address", netboot.LeaseQuery{MAC: mac("52:54:00:00:00:04")}, "nobody")
		s = restarted(s)
	}
	rev := s.DB.Snapshot().Rev()
	ask("01", "10.1.0.11", func(*netboot.Machine) {}) // renews
	says("renewed", at("10.1.0.11"), "10.1.0.11 52:54:00:00:00:01 of 12h0m0s ends 12h0m0s silent 0s id \"id01\" at \"port 1\" host esx1")
	if s.DB.Snapshot().Rev() != rev {
		t.Error("a renewal that tells nothing new is written")
	}
	ask("01", "10.1.0.11", via("port 9"))
	s = restarted(s)
	says("in another port", at("10.1.0.11"), "10.1.0.11 52:54:00:00:00:01 of 12h0m0s ends 12h0m0s silent 0s id \"id01\" at \"port 9\" host esx1")
	c.tick(13 * time.Hour)
	says("silent for longer than its lease", at("10.1.0.11"), "10.1.0.11 52:54:00:00:00:01 of 0s ends 12h0m0s silent 13h0m0s id \"id01\" at \"port 9\" host esx1")

	nodedbtest.Put(t, s.DB, nodedbtest.Node("esx1", "all", "mac.mac=52:54:00:00:00:01", "hosts.ip=10.1.0.21"))
	says("the address of before", at("10.1.0.11"), "nobody")
	if err := s.sweepReserved(t.Context()); err != nil || saved() != 1 {
		t.Errorf("%d are kept of addresses, want one: %v", saved(), err)
	}
	if _, ok := s.DB.Snapshot().Record(nodedb.Key{Kind: kindReserved, Name: "10.1.0.13"}); !ok {
		t.Error("the wrong one is kept")
	}
}
