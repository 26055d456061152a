package ping

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A conn is a socket for echo requests: one that anybody may have, if the
// kernel's net.ipv4.ping_group_range says so, or a raw one.
type conn struct {
	*icmp.PacketConn
	raw bool
	six bool
	id  int
	buf []byte
}

func open(six bool) (*conn, error) {
	kind, raw, addr := "udp4", "ip4:icmp", "0.0.0.0"
	if six {
		kind, raw, addr = "udp6", "ip6:ipv6-icmp", "::"
	}
	c := &conn{six: six, id: os.Getpid() & 0xffff, buf: make([]byte, 1500)}
	var err error
	if c.PacketConn, err = icmp.ListenPacket(kind, addr); err != nil {
		c.raw = true
		c.PacketConn, err = icmp.ListenPacket(raw, addr)
	}
	return c, err
}

// ask sends one echo request.
func (c *conn) ask(a netip.Addr, seq int, cookie []byte) error {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: c.id, Seq: seq, Data: cookie}}
	if c.six {
		m.Type = ipv6.ICMPTypeEchoRequest
	}
	b, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	var to net.Addr = &net.UDPAddr{IP: a.AsSlice(), Zone: a.Zone()}
	if c.raw {
		to = &net.IPAddr{IP: a.AsSlice(), Zone: a.Zone()}
	}
	_, err = c.WriteTo(b, to)
	return err
}

// answer waits for an answer that has our cookie, and returns who sent it.
func (c *conn) answer(cookie []byte) (netip.Addr, error) {
	for {
		n, from, err := c.ReadFrom(c.buf)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
				return netip.Addr{}, err
			}
			continue // an ICMP error that the kernel hands on: no answer
		}
		if isAnswer(c.buf[:n], c.six, cookie) {
			if a := addrOf(from); a.IsValid() {
				return a, nil
			}
		}
	}
}

// isAnswer says whether a packet is an echo reply to us.
func isAnswer(b []byte, six bool, cookie []byte) bool {
	proto := 1
	if six {
		proto = 58
	}
	m, err := icmp.ParseMessage(proto, b)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
		return false
	}
	e, ok := m.Body.(*icmp.Echo)
	return ok && bytes.Equal(e.Data, cookie)
}

func addrOf(from net.Addr) netip.Addr {
	var ip net.IP
	zone := ""
	switch f := from.(type) {
	case *net.UDPAddr:
		ip, zone = f.IP, f.Zone
	case *net.IPAddr:
		ip, zone = f.IP, f.Zone
	}
	a, _ := netip.AddrFromSlice(ip)
	if a = a.Unmap(); a.Is6() && a.IsLinkLocalUnicast() {
		a = a.WithZone(zone)
	}
	return a
}
