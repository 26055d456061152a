package dhcp

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
	"margay/netboot/netboottest"
)

// TestProxy speaks to both ports of a server in proxy mode as a PXE ROM does
// (PXE 2.1, 2.2.3): DISCOVER by broadcast, then a REQUEST to port 4011 from
// the address that the other server gave.
func TestProxy(t *testing.T) {
	lan := netboottest.NewLAN(t)
	us, client := lan.NewHost(t, "10.1.0.1/16"), lan.NewHost(t, "10.1.0.77/16")
	s := &Server{Workers: 1, Planner: planFunc(func(_ context.Context, m netboot.Machine) (*netboot.Plan, error) {
		if !m.Proxy {
			t.Error("the planner does not know that no address is asked for")
		}
		p := testPlan
		p.Nak = true // is not ours to say
		p.File = file(&m)
		return &p, nil
	})}
	serveOn(t, us, s, Proxy)

	var c *net.UDPConn
	var err error
	client.Do(func() {
		c, err = listen(t.Context(), netip.MustParseAddrPort("0.0.0.0:68"), "eth0")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	to67, to4011 := netip.MustParseAddrPort("255.255.255.255:67"), netip.MustParseAddrPort("10.1.0.1:4011")
	request := func(mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		return discover(t, append(mods, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest))...)
	}
	ours := dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 1, 0, 1)))
	at := dhcpv4.WithClientIP(net.IPv4(10, 1, 0, 77))
	steps := []struct {
		name string
		msg  *dhcpv4.DHCPv4
		to   netip.AddrPort
		want dhcpv4.MessageType // none: silence
	}{
		{"not PXE", discover(t), to67, dhcpv4.MessageTypeNone},
		{"a REQUEST for the other server", request(biosROM), to67, dhcpv4.MessageTypeNone},
		{"DISCOVER", discover(t, biosROM), to67, dhcpv4.MessageTypeOffer},
		{"REQUEST to the boot server", request(biosROM, at, ours), to4011, dhcpv4.MessageTypeAck},
		{"REQUEST to the boot server, no server named", request(biosROM, at), to4011, dhcpv4.MessageTypeAck},
		{"INFORM to the boot server", discover(t, biosROM, at, dhcpv4.WithMessageType(dhcpv4.MessageTypeInform)), to4011, dhcpv4.MessageTypeAck},
	}
	buf := make([]byte, 2048)
	for i, tt := range steps {
		tt.msg.TransactionID = dhcpv4.TransactionID{byte(i)}
		if _, err := c.WriteToUDPAddrPort(tt.msg.ToBytes(), tt.to); err != nil {
			t.Fatal(err)
		}
		if tt.want == dhcpv4.MessageTypeNone {
			continue // the next reply shows that there was none
		}
		c.SetReadDeadline(time.Now().Add(time.Minute))
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		if got.MessageType() != tt.want || got.TransactionID != tt.msg.TransactionID || from.Port() != tt.to.Port() {
			t.Errorf("%s: from %v\n%s", tt.name, from, got.Summary())
		}
		if !got.YourIPAddr.IsUnspecified() || got.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || got.Options.Has(dhcpv4.OptionSubnetMask) {
			t.Errorf("%s: gives an address\n%s", tt.name, got.Summary())
		}
		if got.BootFileName != "xcat/xnba.kpxe" || got.ServerIPAddr.String() != "10.1.0.1" || got.ClassIdentifier() != "PXEClient" {
			t.Errorf("%s: does not say what to boot\n%s", tt.name, got.Summary())
		}
	}
	if c := s.Counts(); c.Ignored != 2 || c.Naks != 0 {
		t.Errorf("counts %+v", c)
	}
}
