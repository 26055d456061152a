package dhcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
)

type holderFunc func(netboot.LeaseQuery) *netboot.Holding

func (f holderFunc) Holding(q netboot.LeaseQuery) *netboot.Holding { return f(q) }

// TestLeaseQuery asks as a relay does that has lost its memory (RFC 4388), by
// each of the three ways, and gets each of the three answers.
func TestLeaseQuery(t *testing.T) {
	addr, other := netip.MustParseAddr("10.1.0.11"), netip.MustParseAddr("10.1.0.12")
	s := &Server{
		Planner: planFunc(func(context.Context, netboot.Machine) (*netboot.Plan, error) {
			t.Error("a lease query is not to be planned for")
			return nil, netboot.ErrIgnore
		}),
		Holder: holderFunc(func(q netboot.LeaseQuery) *netboot.Holding {
			switch {
			case q.Addr == addr, q.MAC.String() == testMAC.String(), string(q.ClientID) == "abc":
				return &netboot.Holding{Addr: addr, MAC: testMAC, Ends: time.Hour, Others: []netip.Addr{other}}
			case q.Addr == other:
				return &netboot.Holding{Addr: other}
			}
			return nil
		}),
	}
	r := newRelay(t, start(t, s))
	query := func(mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		d, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageType(msgLeaseQuery)), viaRelay}, mods...)...)
		if err != nil {
			t.Fatal(err)
		}
		return r.ask(d)
	}
	by := func(ip string) dhcpv4.Modifier {
		return func(d *dhcpv4.DHCPv4) { d.ClientIPAddr = net.ParseIP(ip); d.HWType = 0 }
	}
	for name, mod := range map[string]dhcpv4.Modifier{
		"address":           by("10.1.0.11"),
		"MAC":               dhcpv4.WithHwAddr(testMAC),
		"client identifier": func(d *dhcpv4.DHCPv4) { d.HWType = 0; d.UpdateOption(dhcpv4.OptClientIdentifier([]byte("abc"))) },
	} {
		got := query(mod)
		if byte(got.MessageType()) != msgLeaseActive || got.ClientIPAddr.String() != "10.1.0.11" || got.ClientHWAddr.String() != testMAC.String() ||
			got.IPAddressLeaseTime(0) != time.Hour || got.ServerIdentifier() == nil || !got.YourIPAddr.IsUnspecified() {
			t.Errorf("by %s:\n%s", name, got.Summary())
		}
		if b := got.Options.Get(dhcpv4.OptionAssociatedIP); net.IP(b).String() != "10.1.0.12" {
			t.Errorf("by %s: associated addresses %v", name, b)
		}
	}
	if got := query(by("10.1.0.12")); byte(got.MessageType()) != msgLeaseUnassigned || got.ClientIPAddr.String() != "10.1.0.12" {
		t.Errorf("an address that nobody has:\n%s", got.Summary())
	}
	if got := query(by("10.9.0.1")); byte(got.MessageType()) != msgLeaseUnknown {
		t.Errorf("an address of elsewhere:\n%s", got.Summary())
	}
	if c := s.Counts(); c.Malformed != 0 || c.Offers+c.Acks != 0 {
		t.Errorf("counts %+v", c)
	}
}

// TestLeaseQueryTells: a relay is told what its list asks for of the lease: what
// is left of its times, when the machine last asked, how it calls itself, where
// its own relay saw it, and what else it was told (RFC 4388, 6.4.2).
func TestLeaseQueryTells(t *testing.T) {
	info, id := bytes.Repeat([]byte{1, 2, 'e', '7'}, 20), []byte("\x00machine")
	h := netboot.Holding{
		Addr: netip.MustParseAddr("10.1.0.11"), MAC: testMAC, Length: 1000 * time.Second, Ends: 400 * time.Second, Silent: 600 * time.Second,
		ClientID: id, RelayInfo: info,
		Told: &netboot.Plan{Addr: netip.MustParsePrefix("10.1.0.11/24"), Router: netip.MustParseAddr("10.1.0.254"), Domain: "cluster.test", Options: map[uint8][]byte{42: {10, 1, 0, 7}, 150: {10, 1, 0, 8}}},
	}
	var now atomic.Pointer[netboot.Holding]
	s := &Server{
		Planner: planFunc(func(context.Context, netboot.Machine) (*netboot.Plan, error) { return nil, netboot.ErrIgnore }),
		Holder:  holderFunc(func(netboot.LeaseQuery) *netboot.Holding { return now.Load() }),
	}
	r := newRelay(t, start(t, s))
	query := func(codes ...uint8) *dhcpv4.DHCPv4 {
		t.Helper()
		held := h // the server reads its own
		now.Store(&held)
		mods := []dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageType(msgLeaseQuery)), viaRelay, dhcpv4.WithHwAddr(testMAC)}
		if codes != nil {
			mods = append(mods, dhcpv4.WithGeneric(dhcpv4.OptionParameterRequestList, codes))
		}
		d, err := dhcpv4.New(mods...)
		if err != nil {
			t.Fatal(err)
		}
		return r.ask(d)
	}
	has := func(what string, d *dhcpv4.DHCPv4, want map[uint8][]byte) {
		t.Helper()
		for code := uint8(1); code < 255; code++ {
			got := d.Options.Get(dhcpv4.GenericOptionCode(code))
			if code != optMessageType && code != optServer && !bytes.Equal(got, want[code]) {
				t.Errorf("%s: option %d is %x, want %x", what, code, got, want[code])
			}
		}
	}
	sec := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	query82 := []byte{1, 2, 'e', '0', 19, 0} // viaRelay's own, sent back

	has("all", query(51, 58, 59, 61, 82, 91, 1, 3, 15, 42, 6), map[uint8][]byte{51: sec(400), 59: sec(275), 61: id, 82: info, 91: sec(600),
		1: {255, 255, 255, 0}, 3: {10, 1, 0, 254}, 15: []byte("cluster.test"), 42: {10, 1, 0, 7}})
	has("nothing but the mask", query(1), map[uint8][]byte{1: {255, 255, 255, 0}, 82: query82})
	has("no list", query(), map[uint8][]byte{51: sec(400), 59: sec(275), 61: id, 91: sec(600), 82: query82})

	h.Ends, h.Silent = 1000*time.Second, 0
	has("renewed just now", query(58, 59, 91), map[uint8][]byte{58: sec(500), 59: sec(875), 91: sec(0), 82: query82})
	told := *h.Told
	told.Options = map[uint8][]byte{58: sec(100)}
	h.Told = &told
	h.Ends, h.Silent = 950*time.Second, 50*time.Second
	has("the operator's own renewal time", query(58, 59), map[uint8][]byte{58: sec(50), 59: sec(825), 82: query82})
	h = netboot.Holding{Addr: h.Addr, MAC: testMAC, Ends: 800 * time.Second, Silent: -1}
	has("an old record", query(51, 58, 59, 61, 82, 91, 1), map[uint8][]byte{51: sec(800), 58: sec(400), 59: sec(700)})
	h.MAC, h.RelayInfo = nil, info
	has("nobody has it", query(51, 82), map[uint8][]byte{82: query82})
}
