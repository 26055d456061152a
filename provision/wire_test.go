package provision

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb/nodedbtest"
)

// twoNets has two networks on one wire, eth0, with an address of ours in each,
// and behind a relay two more that share a VLAN.
func twoNets(t *testing.T) *Service {
	t.Helper()
	s, _ := newService(t)
	own := []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("10.2.0.1/24")}
	s.Local = func() []netip.Prefix { return append([]netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}, own...) }
	s.leases.local = s.Local
	s.LocalOn = func(ifname string) []netip.Prefix {
		if ifname != "eth0" {
			return nil
		}
		return own
	}
	nodedbtest.Put(t, s.DB,
		nodedbtest.Network("net2", "10.2.0.0", "255.255.255.0", "networks.gateway=<xcatmaster>", "networks.domain=two.test"),
		nodedbtest.Network("far1", "10.5.0.0", "255.255.255.0", "networks.gateway=10.5.0.2", "networks.vlanid=7", "networks.mgtifname=!remote!eth0"),
		nodedbtest.Network("far2", "10.6.0.0", "255.255.255.0", "networks.gateway=10.6.0.2", "networks.vlanid=7", "networks.mgtifname=!remote!eth0"),
		nodedbtest.Network("far3", "10.7.0.0", "255.255.255.0", "networks.vlanid=8", "networks.mgtifname=!remote!eth0"),
		nodedbtest.Node("two", "all", "mac.mac=52:54:00:00:02:01", "hosts.ip=10.2.0.50", "nodetype.os=esxi8", "nodetype.arch=x86_64", "nodetype.profile=base"),
		nodedbtest.Node("away", "all", "mac.mac=52:54:00:00:06:01", "hosts.ip=10.6.0.50"),
	)
	return s
}

// TestSharedNetwork: a wire with several networks. A node gets its address
// whichever of ours a broadcast reaches, and is told the one of ours that lies
// beside it.
func TestSharedNetwork(t *testing.T) {
	s := twoNets(t)
	s.mustSet(t, "two", "install")
	m := netboot.Machine{MAC: mac("52:54:00:00:02:01"), Local: server, Interface: "eth0", Ask: netboot.AskDiscover, PXE: true, Loader: true, COMBOOT: true, Firmware: netboot.BIOS}
	beside := netip.MustParseAddr("10.2.0.1")
	p, err := s.Plan(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if p.Addr.String() != "10.2.0.50/24" || p.Server != beside || p.Router != beside || p.Next != beside || p.File != "http://10.2.0.1/boot/two/script" || p.Domain != "two.test" {
		t.Errorf("plan %+v", p)
	}
	if want := []string{"two.test", "cluster.test"}; !slices.Equal(p.Search, want) {
		t.Errorf("search %q, want %q", p.Search, want)
	}
	m.Ask, m.Server, m.Requested = netboot.AskRequest, beside, p.Addr.Addr()
	if p, err := s.Plan(t.Context(), m); err != nil || p.Nak || p.Server != beside {
		t.Errorf("it takes that: %+v %v", p, err)
	}
	m.Interface = "eth1"
	if _, err := s.Plan(t.Context(), m); !refusedFor(err, "its address 10.2.0.50 is in network net2, but it asks from 10.1.0.1") {
		t.Errorf("on another wire: %v", err)
	}
	far := netboot.Machine{MAC: mac("52:54:00:00:06:01"), Local: netip.MustParseAddr("10.9.0.1"), Interface: "eth0", Ask: netboot.AskDiscover}
	for relay, ok := range map[string]bool{"10.5.0.2": true, "10.6.0.2": true, "10.7.0.2": false, "10.1.0.2": false} {
		far.Relay = netip.MustParseAddr(relay)
		p, err := s.Plan(t.Context(), far)
		if ok && (err != nil || p.Addr.String() != "10.6.0.50/24" || p.Router.String() != "10.6.0.2" || p.Server != far.Local) || !ok && !refusedFor(err, "asks from "+relay) {
			t.Errorf("through relay %s: %+v %v", relay, p, err)
		}
	}
}

// TestSharedDynamic: strangers on such a wire get addresses of the second
// network when the first has none left, and keep them.
func TestSharedDynamic(t *testing.T) {
	s := twoNets(t)
	nodedbtest.Put(t, s.DB,
		nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.dynamicrange=10.1.0.100-10.1.0.101"),
		nodedbtest.Network("net2", "10.2.0.0", "255.255.255.0", "networks.dynamicrange=10.2.0.100-10.2.0.101"))
	var got []string
	for round := range 2 {
		got = nil
		for i := range 4 {
			m := stranger(i, netboot.AskDiscover)
			m.Interface = "eth0"
			p, err := s.Plan(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			m.Ask, m.Requested, m.Server = netboot.AskRequest, p.Addr.Addr(), p.Server
			if p, err = s.Plan(t.Context(), m); err != nil || p.Nak {
				t.Fatalf("round %d, stranger %d: %+v %v", round, i, p, err)
			}
			got = append(got, p.Addr.String()+" by "+p.Server.String())
		}
		s.leases = newLeaser(s.DB, s.Now)
	}
	want := []string{"10.1.0.100/24 by 10.1.0.1", "10.1.0.101/24 by 10.1.0.1", "10.2.0.100/24 by 10.2.0.1", "10.2.0.101/24 by 10.2.0.1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	m := stranger(9, netboot.AskDiscover)
	m.Interface = "eth0"
	if _, err := s.Plan(t.Context(), m); !refusedFor(err, "used up") {
		t.Errorf("a fifth: %v", err)
	}
	m.Ask, m.Requested = netboot.AskRequest, netip.MustParseAddr("10.2.0.100")
	if p, err := s.Plan(t.Context(), m); err != nil || !p.Nak {
		t.Errorf("a fifth asks for another's: %+v %v", p, err)
	}
}

// TestRouted: a machine behind a relay renews past it, and is known by the
// address that it asks from; one that has moved to another wire of ours and asks
// from its old address is told that it is not its own there, or why not.
func TestRouted(t *testing.T) {
	s, _ := newService(t)
	nodedbtest.Put(t, s.DB,
		nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.mgtifname=eth0", "networks.dynamicrange=10.1.0.100-10.1.0.107"),
		nodedbtest.Network("net2", "10.2.0.0", "255.255.255.0", "networks.mgtifname=eth1", "networks.dynamicrange=10.2.0.100-10.2.0.107"),
		nodedbtest.Network("far", "10.9.0.0", "255.255.255.0", "networks.mgtifname=!remote!eth0", "networks.gateway=10.9.0.1", "networks.dynamicrange=10.9.0.100-10.9.0.107"),
		nodedbtest.Node("farnode", "all", "mac.mac=52:54:00:00:09:01", "hosts.ip=10.9.0.11"))
	s.Local = func() []netip.Prefix {
		return []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("10.2.0.1/24")}
	}
	for name, m := range map[string]netboot.Machine{"farnode": {MAC: mac("52:54:00:00:09:01")}, "": {MAC: mac("02:00:00:00:09:02")}} {
		m.Local, m.Relay, m.Interface, m.Ask = server, netip.MustParseAddr("10.9.0.1"), "eth0", netboot.AskDiscover
		p, err := s.Plan(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		m.Ask, m.Requested, m.Server = netboot.AskRequest, p.Addr.Addr(), p.Server
		if p, err := s.Plan(t.Context(), m); err != nil || p.Nak || p.Server != server {
			t.Fatalf("%q through its relay: %+v %v", name, p, err)
		}
		m.Relay, m.Server, m.Addr = netip.Addr{}, netip.Addr{}, m.Requested
		for _, ask := range []netboot.Ask{netboot.AskRequest, netboot.AskInform} {
			m.Ask = ask
			p, err := s.Plan(t.Context(), m)
			if err != nil || p.Nak || p.Addr.Addr() != m.Addr || p.Router.String() != "10.9.0.1" || p.Server != server || p.Node != name {
				t.Errorf("%q past its relay, ask %d: %+v %v", name, ask, p, err)
			}
		}
	}
	m := stranger(1, netboot.AskRequest)
	m.Interface, m.Addr, m.Requested = "eth0", netip.MustParseAddr("10.2.0.100"), netip.MustParseAddr("10.2.0.100")
	if p, err := s.Plan(t.Context(), m); err != nil || p.Nak || p.Addr.Addr() != m.Addr {
		t.Errorf("a stranger that renews by a router, with an address of another of our wires: %+v %v", p, err)
	}
	m.Broadcast = true
	if p, err := s.Plan(t.Context(), m); err != nil || !p.Nak {
		t.Errorf("a stranger that has moved between our wires: %+v %v, want that it is told so", p, err)
	}
}

// TestRebindsElsewhere: a machine that has been moved to another wire of ours and
// rebinds there, by itself or through the relay of that wire, is told to ask anew;
// not one of which we know nothing, where we give no addresses, nor one that has
// its address of another server.
func TestRebindsElsewhere(t *testing.T) {
	s, _ := newService(t)
	nodedbtest.Put(t, s.DB,
		nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.mgtifname=eth0", "networks.dynamicrange=10.1.0.100-10.1.0.107"),
		nodedbtest.Network("net2", "10.2.0.0", "255.255.255.0", "networks.mgtifname=eth1"),
		nodedbtest.Network("theirs", "10.3.0.0", "255.255.255.0", "networks.mgtifname=eth0", "networks.dhcpserver=10.3.0.66", "networks.dynamicrange=10.3.0.100-10.3.0.107"),
		nodedbtest.Network("far", "10.9.0.0", "255.255.255.0", "networks.mgtifname=!remote!eth0", "networks.dynamicrange=10.9.0.100-10.9.0.107"),
		nodedbtest.Node("farnode", "all", "mac.mac=52:54:00:00:09:01", "hosts.ip=10.9.0.11"))
	s.Local = func() []netip.Prefix {
		return []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("10.2.0.1/24")}
	}
	known := stranger(1, netboot.AskDiscover)
	known.Interface = "eth0"
	p, err := s.Plan(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	known.Ask, known.Requested = netboot.AskRequest, p.Addr.Addr()
	if p, err := s.Plan(t.Context(), known); err != nil || p.Nak {
		t.Fatalf("%+v %v", p, err)
	}
	const ack, nak, silence = "ack", "nak", "silence"
	for _, tt := range []struct {
		name, mac, addr, relay, local, ifname, want string
	}{
		{"a node at home", "52:54:00:00:00:01", "10.1.0.11", "", "10.1.0.1", "eth0", ack},
		{"a node on another wire of ours", "52:54:00:00:00:01", "10.1.0.11", "", "10.2.0.1", "eth1", nak},
		{"a node behind a relay", "52:54:00:00:00:01", "10.1.0.11", "10.9.0.1", "10.1.0.1", "eth0", nak},
		{"a node from behind a relay, at home", "52:54:00:00:09:01", "10.9.0.11", "10.9.0.1", "10.1.0.1", "eth0", ack},
		{"a node from behind a relay", "52:54:00:00:09:01", "10.9.0.11", "", "10.1.0.1", "eth0", nak},
		{"a stranger at home", known.MAC.String(), known.Requested.String(), "", "10.1.0.1", "eth0", ack},
		{"a stranger behind a relay", known.MAC.String(), known.Requested.String(), "10.9.0.1", "10.1.0.1", "eth0", nak},
		{"a stranger where we give no addresses", known.MAC.String(), known.Requested.String(), "", "10.2.0.1", "eth1", nak},
		{"a stranger of nobody's there", "02:00:00:00:0a:01", "172.20.0.5", "", "10.2.0.1", "eth1", silence},
		{"a stranger with another's lease there", "02:00:00:00:0a:01", known.Requested.String(), "", "10.2.0.1", "eth1", silence},
		{"a stranger of another server's, on a wire that is ours too", "02:00:00:00:0a:01", "10.3.0.100", "", "10.1.0.1", "eth0", silence},
	} {
		m := netboot.Machine{MAC: mac(tt.mac), Ask: netboot.AskRequest, Local: netip.MustParseAddr(tt.local), Interface: tt.ifname,
			Relay: addrOf(tt.relay), Broadcast: tt.relay == "", Addr: netip.MustParseAddr(tt.addr), Requested: netip.MustParseAddr(tt.addr)}
		p, err := s.Plan(t.Context(), m)
		got := ack
		switch {
		case errors.Is(err, netboot.ErrIgnore):
			got = silence
		case err != nil:
			got = err.Error()
		case p.Nak:
			got = nak
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if s.Prompt(m) {
			continue
		}
		said := make(chan *netboot.Plan, 1)
		if s.Defer(m, func(p *netboot.Plan, _ error) { said <- p }) {
			if p := <-said; p == nil || p.Nak != (tt.want == nak) {
				t.Errorf("%s: later it is told %+v, want %s", tt.name, p, tt.want)
			}
		}
	}
}

// TestStrayed: a node that is switched on again on another wire of ours, and asks
// for the address that it had, is told to ask anew; then it hears why it has none.
// On wires that we know nothing of it is left alone.
func TestStrayed(t *testing.T) {
	s := twoNets(t)
	m := netboot.Machine{MAC: mac("52:54:00:00:00:01"), Local: netip.MustParseAddr("10.9.0.1"), Interface: "eth7", Requested: netip.MustParseAddr("10.1.0.11")}
	for _, tt := range []struct {
		relay, server string
		ask           netboot.Ask
		nak           bool
	}{
		{"10.2.0.9", "", netboot.AskRequest, true},
		{"10.2.0.9", "", netboot.AskDiscover, false},
		{"10.2.0.9", "10.2.0.66", netboot.AskRequest, false}, // it takes another server's offer
		{"172.20.0.9", "", netboot.AskRequest, false},
	} {
		m.Relay, m.Server, m.Ask = netip.MustParseAddr(tt.relay), addrOf(tt.server), tt.ask
		p, err := s.Plan(t.Context(), m)
		if tt.nak && (err != nil || !p.Nak || p.Node != "esx1") || !tt.nak && !refusedFor(err, "asks from "+tt.relay) {
			t.Errorf("%+v: %+v %v", tt, p, err)
		}
	}
	m.Relay, m.Server, m.Ask = netip.MustParseAddr("10.1.0.9"), netip.Addr{}, netboot.AskRequest
	if p, err := s.Plan(t.Context(), m); err != nil || p.Nak || p.Addr.Addr() != m.Requested {
		t.Errorf("on its own wire: %+v %v", p, err)
	}
}

// TestInterfaces: mac.mac says which address each interface of a node gets.
func TestInterfaces(t *testing.T) {
	s := twoNets(t)
	nodedbtest.Put(t, s.DB, nodedbtest.Node("many", "all", "hosts.ip=10.1.0.60", "hosts.otherinterfaces=-ib0:10.2.0.60,store:10.2.0.61",
		"nics.nicips=eth2!10.2.0.62|10.2.0.64,eth3!10.2.0.63", "nics.nichostnamesuffixes=eth2!-san|-san2",
		"mac.mac=52:54:00:00:03:01|52:54:00:00:03:02!many-ib0|52:54:00:00:03:03!store|52:54:00:00:03:04!many-san|52:54:00:00:03:05!many-eth3|52:54:00:00:03:06!esx2|52:54:00:00:03:07!*NOIP*|52:54:00:00:03:08!nosuch|52:54:00:00:03:09!many-san2|52:54:00:00:03:0a"))
	for last, want := range map[string]string{
		"01": "10.1.0.60/24", "02": "10.2.0.60/24", "03": "10.2.0.61/24", "04": "10.2.0.62/24", "05": "10.2.0.63/24",
		"06": "10.1.0.12/24", "07": "ignored", "08": "refused", "09": "10.2.0.64/24", "0a": "10.1.0.60/24",
	} {
		p, err := s.Plan(t.Context(), netboot.Machine{MAC: mac("52:54:00:00:03:" + last), Local: server, Interface: "eth0", Ask: netboot.AskDiscover})
		got := "ignored"
		switch {
		case err == nil:
			got = p.Addr.String()
			if p.Node != "many" || p.Hostname != "many" {
				t.Errorf("%s: node %s, host name %s", last, p.Node, p.Hostname)
			}
		case refusedFor(err, "52:54:00:00:03:08 is to have the address of nosuch"):
			got = "refused"
		case !errors.Is(err, netboot.ErrIgnore):
			t.Errorf("%s: %v", last, err)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", last, got, want)
		}
	}
	if n, _ := s.DB.Snapshot().Node("many"); !s.ownsAddr(n, netip.MustParseAddr("10.2.0.61")) || s.ownsAddr(n, netip.MustParseAddr("10.2.0.99")) {
		t.Error("a node may ask from the addresses of its interfaces, and from no other")
	}
}

// TestTwoNodesOneMAC: nobody can say which of them a machine is, unless it says
// so itself by the address that it has.
func TestTwoNodesOneMAC(t *testing.T) {
	s, _ := newService(t)
	nodedbtest.Put(t, s.DB, nodedbtest.Node("copy", "all", "mac.mac=52:54:00:00:00:01", "hosts.ip=10.1.0.70"))
	m := netboot.Machine{MAC: mac("52:54:00:00:00:01"), Local: server, Ask: netboot.AskDiscover}
	if _, err := s.Plan(t.Context(), m); !refusedFor(err, "52:54:00:00:00:01 is that of nodes copy and esx1") {
		t.Errorf("%v", err)
	}
	m.Ask, m.Requested = netboot.AskRequest, netip.MustParseAddr("10.1.0.11")
	if p, err := s.Plan(t.Context(), m); err != nil || p.Node != "esx1" || p.Nak {
		t.Errorf("the one that has its address already: %+v %v", p, err)
	}
}

// TestServers: who a machine renews with is we ourselves, whoever it is to fetch
// from.
func TestServers(t *testing.T) {
	s, _ := newService(t)
	nodedbtest.Put(t, s.DB,
		nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.tftpserver=10.1.0.5", "networks.dynamicrange=10.1.0.100-10.1.0.107",
			"networks.nameservers=<xcatmaster>,10.1.0.6", "networks.ntpservers=10.1.0.7", "networks.logservers=10.1.0.8", "networks.mtu=9000", "networks.domain=One.test", "networks.gateway=10.1.0.254"),
		nodedbtest.Node("sn", "all", "mac.mac=52:54:00:00:04:01", "hosts.ip=10.1.0.80", "noderes.xcatmaster=10.1.0.9", "noderes.tftpserver=10.1.0.10"))
	p, err := s.Plan(t.Context(), netboot.Machine{MAC: mac("52:54:00:00:04:01"), Local: server, Ask: netboot.AskDiscover})
	if err != nil || p.Server != server || p.Next.String() != "10.1.0.10" || fmt.Sprint(p.DNS) != "[10.1.0.9 10.1.0.6]" {
		t.Errorf("a node with servers of its own: %+v %v", p, err)
	}
	nodedbtest.Put(t, s.DB, nodedbtest.Node("ns", "all", "mac.mac=52:54:00:00:04:02", "hosts.ip=10.1.0.81", "noderes.nameservers=10.1.0.53,<xcatmaster>"))
	p, err = s.Plan(t.Context(), netboot.Machine{MAC: mac("52:54:00:00:04:02"), Local: server, Ask: netboot.AskDiscover})
	if err != nil || fmt.Sprint(p.DNS) != "[10.1.0.53 10.1.0.1]" {
		t.Errorf("a node with name servers of its own: %+v %v", p, err)
	}
	p, err = s.Plan(t.Context(), netboot.Machine{MAC: mac("52:54:00:00:00:01"), Local: server, Ask: netboot.AskDiscover})
	if err != nil || p.Server != server || p.Next.String() != "10.1.0.5" || p.Router.String() != "10.1.0.254" || p.MTU != 9000 || p.Domain != "One.test" ||
		fmt.Sprint(p.DNS, p.NTP, p.Log, p.Search) != "[10.1.0.1 10.1.0.6] [10.1.0.7] [10.1.0.8] [One.test cluster.test]" {
		t.Errorf("a node: %+v %v", p, err)
	}
	m := stranger(1, netboot.AskDiscover)
	if p, err = s.Plan(t.Context(), m); err != nil || p.Server != server || p.Next.String() != "10.1.0.5" || p.Lease != 10*time.Minute {
		t.Errorf("a stranger that boots: %+v %v", p, err)
	}
	m.Ask, m.Requested, m.Server, m.PXE = netboot.AskRequest, p.Addr.Addr(), server, false
	if p, err = s.Plan(t.Context(), m); err != nil || p.Nak || p.Lease != 12*time.Hour {
		t.Errorf("and its system: %+v %v", p, err)
	}
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.dhcpserver=10.1.0.5", "networks.dynamicrange=10.1.0.100-10.1.0.107"))
	if p, err := s.Plan(t.Context(), stranger(2, netboot.AskDiscover)); !errors.Is(err, netboot.ErrIgnore) {
		t.Errorf("a range that is another server's to give: %+v %v", p, err)
	}
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.dhcpserver=10.1.0.1", "networks.dynamicrange=10.1.0.100-10.1.0.107"))
	if _, err := s.Plan(t.Context(), stranger(2, netboot.AskDiscover)); err != nil {
		t.Errorf("a range that is ours: %v", err)
	}
}

// TestFixtures: several ranges, one of them a prefix, are given out to their last
// address, less the network's own, the broadcast address, ours, and those that
// the networks table says are servers.
func TestFixtures(t *testing.T) {
	s, _ := newService(t)
	s.leases.local = s.Local
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.gateway=10.1.0.2", "networks.nameservers=10.1.0.3",
		"networks.dynamicrange=10.1.0.0-10.1.0.5;10.1.0.64/29,10.1.0.254-10.1.0.255"))
	want := []string{"10.1.0.4", "10.1.0.5", "10.1.0.65", "10.1.0.66", "10.1.0.67", "10.1.0.68", "10.1.0.69", "10.1.0.70", "10.1.0.254"}
	var got []string
	for i := range len(want) + 1 {
		p, err := s.Plan(t.Context(), stranger(i, netboot.AskDiscover))
		if i == len(want) {
			if !refusedFor(err, "used up") {
				t.Errorf("one more: %+v %v", p, err)
			}
			break
		}
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, p.Addr.Addr().String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	m := stranger(20, netboot.AskRequest)
	for _, a := range []string{"10.1.0.0", "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.255"} {
		m.Requested = netip.MustParseAddr(a)
		if p, err := s.Plan(t.Context(), m); err == nil && !p.Nak {
			t.Errorf("%s is acknowledged", a)
		}
	}
}

// TestExplainedOnce: what DHCP refuses a machine its timeline and the log say
// once, however often it asks, and again when it is something else.
func TestExplainedOnce(t *testing.T) {
	s, c := newService(t)
	var log bytes.Buffer
	s.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	nodedbtest.Put(t, s.DB, nodedbtest.Network("net1", "10.1.0.0", "255.255.255.0", "networks.dynamicrange=10.1.0.100-10.1.0.100"),
		nodedbtest.Node("noip", "all", "mac.mac=52:54:00:00:07:01"),
		nodedbtest.Node("lost", "all", "mac.mac=52:54:00:00:07:02", "hosts.ip=172.20.0.5"),
		nodedbtest.Node("old", "all", "mac.mac=52:54:00:00:07:03", "hosts.ip=10.1.0.91", "chain.currstate=install esxi8-x86_64-base", "nodetype.os=esxi8"),
		nodedbtest.Node("none", "all", "mac.mac=52:54:00:00:07:04", "hosts.ip=10.1.0.92"),
		nodedbtest.Node("words", "all", "mac.mac=52:54:00:00:07:05", "hosts.ip=10.1.0.93", "bootparams.dhcpstatements=opshun 1;"),
		nodedbtest.Node("taken", "all", "mac.mac=52:54:00:00:07:06", "hosts.ip=10.1.0.94"),
		nodedbtest.Node("won", "all", "mac.mac=52:54:00:00:07:07", "hosts.ip=10.1.0.95"),
	)
	ask := func(last string, as netboot.Ask, fw netboot.Firmware) {
		t.Helper()
		m := netboot.Machine{MAC: mac("52:54:00:00:07:" + last), Local: server, Interface: "eth0", Ask: as, PXE: true, Firmware: fw, Requested: netip.MustParseAddr("10.1.0.94"), Server: netip.MustParseAddr("10.1.0.66")}
		if last == "pool" {
			m = stranger(2, as)
		}
		if last == "07" { // as dhcp.Server does when it hears that another has won
			s.Observe(netboot.Event{Step: netboot.StepForeign, Proto: "dhcp", Machine: m})
			s.Foreign(Foreign{Interface: "eth0", Server: m.Server})
			return
		}
		p, err := s.Plan(t.Context(), m)
		if err == nil {
			s.Observe(netboot.Event{Step: netboot.StepOffer, Proto: "dhcp", Machine: m, Node: p.Node, Addr: p.Addr.Addr(), Done: true})
			if p.Why == "" {
				return
			}
			err = &netboot.Refusal{Node: p.Node, Reason: p.Why}
		}
		var no *netboot.Refusal
		if errors.As(err, &no) {
			s.Observe(netboot.Event{Step: netboot.StepRefused, Proto: "dhcp", Machine: m, Node: no.Node, Err: err})
		} else {
			t.Errorf("%s: %v", last, err)
		}
	}
	if _, err := s.Plan(t.Context(), stranger(1, netboot.AskDiscover)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		last, node, want string
		ask              netboot.Ask
		firmware         netboot.Firmware
	}{
		{"01", "noip", "no ip; set one with chdef noip ip=ADDRESS", netboot.AskDiscover, netboot.BIOS},
		{"02", "lost", "172.20.0.5 is in none of the networks; define it with mkdef -t network", netboot.AskDiscover, netboot.BIOS},
		{"03", "old", "nothing to boot: no loader of ours runs on uefi-ia32 firmware", netboot.AskDiscover, netboot.UEFI32},
		{"04", "none", "nothing to boot: nodeset was never run for it", netboot.AskDiscover, netboot.UEFI64},
		{"05", "words", "opshun", netboot.AskDiscover, netboot.BIOS},
		{"06", "taken", "declines 10.1.0.94, which another machine has", netboot.AskDecline, netboot.BIOS},
		{"07", "won", "10.1.0.66", netboot.AskRequest, netboot.BIOS},
		{"pool", "", "its dynamic range is used up", netboot.AskDiscover, netboot.BIOS},
	}
	for round := range 3 {
		for _, tt := range tests {
			ask(tt.last, tt.ask, tt.firmware)
		}
		c.tick(time.Duration(4+round) * time.Second)
	}
	for _, tt := range tests {
		if n := strings.Count(log.String(), tt.want); n != 1 {
			t.Errorf("%s: the log says %q %d times", tt.node, tt.want, n)
		}
		if tt.node == "" {
			continue
		}
		n := 0
		for _, b := range s.Views([]string{tt.node})[0].Boots {
			for _, st := range b.Steps {
				if st.Name == StepRefused && strings.Contains(st.Text, tt.want) {
					n++
				}
			}
		}
		if n != 1 {
			t.Errorf("%s: the timeline says %q %d times", tt.node, tt.want, n)
		}
	}
	if t.Failed() {
		t.Log(log.String())
	}
	log.Reset() // a fault of ours is no file's
	s.Observe(netboot.Event{Step: netboot.StepRefused, Proto: "dhcp", Machine: netboot.Machine{MAC: mac("52:54:00:00:07:01")}, Err: errors.New("the disk is full")})
	if got := log.String(); !strings.Contains(got, `level=ERROR msg="not answered" service=dhcp why="the disk is full" node=noip mac=52:54:00:00:07:01`) {
		t.Errorf("of a fault the log says %s", got)
	}
	log.Reset()
	c.tick(2 * time.Hour) // and again when it comes up anew
	ask("01", netboot.AskDiscover, netboot.BIOS)
	if n := strings.Count(log.String(), "no ip; set one"); n != 1 {
		t.Errorf("hours later: said %d times, want once more", n)
	}
}

// TestNothingToBoot: iPXE shows why there is nothing to boot, and goes on to the
// disk.
func TestNothingToBoot(t *testing.T) {
	s, _ := newService(t)
	m := netboot.Machine{MAC: mac("52:54:00:00:00:01"), Local: server, Ask: netboot.AskDiscover, PXE: true, Loader: true, Firmware: netboot.UEFI64}
	for _, tt := range []struct{ mode, want string }{
		{"", "nodeset was never run for it. On the server: nodeset esx1 osimage=IMAGE"},
		{"offline", "nothing to boot: nodeset offline"},
	} {
		mode, want := tt.mode, tt.want
		if mode != "" {
			s.mustSet(t, "esx1", mode)
		}
		p, err := s.Plan(t.Context(), m)
		if err != nil || p.File != "http://10.1.0.1/boot/esx1/script" || !strings.Contains(p.Why, "nothing to boot") {
			t.Fatalf("%q: %+v %v", mode, p, err)
		}
		text, err := s.get(from1, "boot/esx1/script")
		if err != nil || !strings.Contains(text, "echo node esx1: ") || !strings.Contains(text, want) || !strings.Contains(text, "exit") {
			t.Errorf("%q: %v\n%s", mode, err, text)
		}
		if mode == "" {
			firmware := m
			firmware.Loader = false
			if p, err := s.Plan(t.Context(), firmware); err != nil || p.File != "" {
				t.Errorf("its firmware is sent %q, %v", p.File, err)
			}
		}
	}
}

// TestForeign: another server is told of once, those that share our table never.
func TestForeign(t *testing.T) {
	s, c := newService(t)
	var log bytes.Buffer
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	f := Foreign{Interface: "eth0", Server: netip.MustParseAddr("10.1.0.66")}
	for range 3 {
		s.Foreign(f)
		c.tick(20 * time.Minute)
	}
	f.Addr = netip.MustParseAddr("10.1.0.67")
	s.Foreign(f)
	if n := strings.Count(log.String(), "another DHCP server gives addresses here; stop it, or serve with --interface eth0=proxy"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	if met := s.Strangers(); len(met) != 1 || met[0].Server != f.Server || met[0].Addr != f.Addr {
		t.Errorf("met %+v", met)
	}
	c.tick(time.Hour)
	if met := s.Strangers(); len(met) != 0 {
		t.Errorf("an hour later still %+v", met)
	}
	s.Foreign(f)
	if n := strings.Count(log.String(), "another DHCP server"); n != 2 {
		t.Errorf("back after an hour, said %d times in all", n)
	}
	for i := range 1000 {
		s.Foreign(Foreign{Interface: "eth0", Server: netip.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)})})
	}
	if n := len(s.Strangers()); n > maxStrangers {
		t.Errorf("%d servers are remembered", n)
	}
	served := []Interface{{Name: "eth0", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.9/24"), netip.MustParsePrefix("10.2.0.9/24")}}}
	for range 2 {
		if err := Announce(t.Context(), s.DB, served); err != nil {
			t.Fatal(err)
		}
	}
	snap := s.DB.Snapshot()
	if !Fellow(snap, netip.MustParseAddr("10.2.0.9")) || Fellow(snap, f.Server) {
		t.Errorf("fellows: %+v", snap.Records(kindServer))
	}
}

func TestDHCPInterfaces(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "eth0,eth1": "eth0 eth1", "mn|eth0,eth1:noboot;sn1|eth2;sn2|eth3": "eth0 eth1 eth2", "eth0; sn1|!remote!eth4": "eth0 eth4", "sn2|eth3": "",
	} {
		db := nodedbtest.New(t, nodedbtest.Site("dhcpinterfaces", text))
		if got := strings.Join(DHCPInterfaces(db.Snapshot(), "sn1"), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestNoBoot: where the site says so, machines that are no nodes get an address
// and nothing to boot; nodes boot as everywhere.
func TestNoBoot(t *testing.T) {
	s, _ := newService(t)
	dynamicNet(t, s)
	s.mustSet(t, "esx1", "install")
	nodedbtest.Put(t, s.DB, nodedbtest.Site("dhcpinterfaces", "mn|eth0:noboot,eth1"))
	for ifname, boots := range map[string]bool{"eth0": false, "eth1": true} {
		m := stranger(1, netboot.AskDiscover)
		m.Interface = ifname
		if p, err := s.Plan(t.Context(), m); err != nil || !p.Addr.IsValid() || (p.File != "") != boots {
			t.Errorf("a stranger on %s: %+v %v, want something to boot: %v", ifname, p, err, boots)
		}
		m.MAC = mac("52:54:00:00:00:01")
		if p, err := s.Plan(t.Context(), m); err != nil || p.File == "" {
			t.Errorf("a node on %s: %+v %v", ifname, p, err)
		}
	}
}

// TestProxyTimeline: in proxy mode a machine is told what to boot, and no address.
func TestProxyTimeline(t *testing.T) {
	s, _ := newService(t)
	m := netboot.Machine{MAC: mac("52:54:00:00:00:01"), Local: server, Ask: netboot.AskDiscover, PXE: true, Proxy: true, Firmware: netboot.UEFI64}
	s.Observe(netboot.Event{Step: netboot.StepOffer, Proto: "dhcp", Machine: m, Node: "esx1", Name: "xcat/xnba.efi", Done: true})
	m.Proxy = false
	s.Observe(netboot.Event{Step: netboot.StepOffer, Proto: "dhcp", Machine: m, Node: "esx1", Addr: from1.Addr, Done: true})
	var said []string
	for _, b := range s.Views([]string{"esx1"})[0].Boots {
		for _, st := range b.Steps {
			said = append(said, st.Text)
		}
	}
	if got, want := strings.Join(said, "; "), "uefi PXE asks, told to boot xcat/xnba.efi; uefi PXE asks, offered 10.1.0.11"; got != want {
		t.Errorf("the timeline says %q, want %q", got, want)
	}
}
