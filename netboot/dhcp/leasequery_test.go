package dhcp

import (
	"context"
	"net"
	"net/netip"
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
