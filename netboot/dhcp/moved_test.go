package dhcp

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
	"margay/netboot/netboottest"
)

// TestMoved: a machine that has moved here from another wire of ours and rebinds is
// seen on this one. To one that has its address here the nearest of ours is told,
// and one that asks us alone may be anywhere.
func TestMoved(t *testing.T) {
	one, two := netboottest.NewLAN(t), netboottest.NewLAN(t)
	us := one.NewHost(t, "10.1.0.1/16", "10.3.0.1/16")
	if err := two.Attach(us, "eth1", "10.2.0.1/16"); err != nil {
		t.Fatal(err)
	}
	us.Do(func() {
		for _, name := range []string{"all", "eth0"} { // a strict kernel hears none of it
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte("0"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
	asked := make(chan netboot.Machine, 8)
	serveOn(t, us, &Server{Planner: planFunc(func(_ context.Context, m netboot.Machine) (*netboot.Plan, error) {
		asked <- netboot.Machine{Local: m.Local, Broadcast: m.Broadcast, Interface: m.Interface}
		return &netboot.Plan{Nak: true}, nil
	})}, Authoritative)
	client := one.NewHost(t, "10.1.0.50/16", "10.2.0.50/16", "10.3.0.50/16")
	var said *net.UDPConn
	var err error
	client.Do(func() { said, err = net.ListenUDP("udp4", &net.UDPAddr{Port: clientPort}) })
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	for _, tt := range []struct {
		name, from, to, local string
		broadcast             bool
	}{
		{"at home", "10.1.0.50", "255.255.255.255", "10.1.0.1", true},
		{"at home, in the wire's other network", "10.3.0.50", "255.255.255.255", "10.3.0.1", true},
		{"moved", "10.2.0.50", "255.255.255.255", "10.1.0.1", true},
		{"by the network's broadcast address", "10.1.0.50", "10.1.255.255", "10.1.0.1", true},
		{"asks us", "10.1.0.50", "10.1.0.1", "10.1.0.1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from := netip.MustParseAddr(tt.from)
			var c *net.UDPConn
			client.Do(func() { c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))) })
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			msg := made(t, renewing, func(d *dhcpv4.DHCPv4) { d.ClientIPAddr = from.AsSlice() })
			if _, err := c.WriteToUDPAddrPort(msg, netip.AddrPortFrom(netip.MustParseAddr(tt.to), serverPort)); err != nil {
				t.Fatal(err)
			}
			select {
			case m := <-asked:
				if m.Local.String() != tt.local || m.Broadcast != tt.broadcast || m.Interface != "eth0" {
					t.Errorf("asked at %v on %s, to everybody: %v; want at %s, %v", m.Local, m.Interface, m.Broadcast, tt.local, tt.broadcast)
				}
			case <-time.After(time.Minute):
				t.Fatal("not heard")
			}
			said.SetReadDeadline(time.Now().Add(time.Minute))
			buf := make([]byte, 2048)
			n, err := said.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got, err := dhcpv4.FromBytes(buf[:n])
			if err != nil {
				t.Fatal(err)
			}
			if got.MessageType() != dhcpv4.MessageTypeNak || got.ServerIdentifier().String() != tt.local {
				t.Errorf("told %s", got.Summary())
			}
		})
	}
}
