package netboottest

import (
	"net"
	"net/netip"
	"testing"
)

// TestCapture: a reply that breaks off is complained of, a whole one is not,
// and neither is what the other side sends.
func TestCapture(t *testing.T) {
	Binary(t, "tshark")
	lan := NewLAN(t)
	server, client := lan.NewHost(t, "10.1.0.1/16"), lan.NewHost(t, "10.1.0.2/16")
	send := func(h *Host, from, to string, msg []byte) {
		t.Helper()
		h.Do(func() {
			c, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(msg); err != nil {
				t.Fatal(err)
			}
		})
	}
	whole := []byte{0, 1, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1}
	for _, tt := range []struct {
		name string
		msg  []byte
		sent bool // by the server
		want int
	}{
		{"whole", whole, true, 0},
		{"broken off", whole[:15], true, 1},
		{"another's", whole[:15], false, 0},
	} {
		c := NewCapture(t, server, "eth0", nil)
		if tt.sent {
			send(server, "10.1.0.1:53", "10.1.0.2:4000", tt.msg)
		} else {
			send(client, "10.1.0.2:53", "10.1.0.1:4000", tt.msg)
		}
		got := c.Complaints(t, netip.MustParseAddr("10.1.0.1"), "dns")
		if len(got) != tt.want {
			t.Errorf("%s: complaints %q, want %d", tt.name, got, tt.want)
		}
		if n := c.Count(t, "udp.port == 53 && !icmp"); n != 1 {
			t.Errorf("%s: %d packets, want 1", tt.name, n)
		}
	}
}
