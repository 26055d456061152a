package netboottest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// ErrNak is a server's word that an address is not the machine's.
var ErrNak = errors.New("the server says NAK")

// A Relay passes on what machines behind it ask a DHCP server, from a port of
// its own (RFC 8357). It is used by one goroutine.
type Relay struct {
	conn *net.UDPConn
	addr netip.Addr
	rnd  *rand.Rand

	// Loss is how much of what it sends and gets is lost, of 1; as much is sent
	// twice, and as much of what was sent before comes again, late.
	Loss float64
	last []byte
}

// NewRelay makes a relay at an address of this host. Close it.
func NewRelay(addr netip.Addr, seed uint64) (*Relay, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		return nil, err
	}
	return &Relay{conn: c, addr: addr, rnd: rand.New(rand.NewPCG(seed, 1))}, nil
}

// Close stops it.
func (r *Relay) Close() error { return r.conn.Close() }

// Lease has a machine take an address, as a new one (want is zero) or as one
// that is switched on again and had an address. It asks anew until the time is
// over.
func (r *Relay) Lease(server netip.AddrPort, mac net.HardwareAddr, want netip.Addr, until time.Time) (netip.Addr, error) {
	for patience := 200 * time.Millisecond; time.Now().Before(until); patience = min(2*patience, 2*time.Second) {
		id := r.rnd.Uint32()
		if want.IsValid() {
			kind, a, _ := r.exchange(server, Message(mac, id, 3, r.addr, want, netip.Addr{}), id, patience)
			switch kind {
			case 5:
				return a, nil
			case 6:
				return a, ErrNak
			}
			continue
		}
		kind, a, from := r.exchange(server, Message(mac, id, 1, r.addr, netip.Addr{}, netip.Addr{}), id, patience)
		if kind != 2 {
			continue
		}
		if kind, a, _ = r.exchange(server, Message(mac, id, 3, r.addr, a, from), id, patience); kind == 5 {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s: no lease", mac)
}

// exchange sends a message and waits for an answer to it.
func (r *Relay) exchange(server netip.AddrPort, msg []byte, id uint32, patience time.Duration) (kind byte, a, from netip.Addr) {
	if r.last != nil && r.rnd.Float64() < r.Loss {
		r.conn.WriteToUDPAddrPort(r.last, server)
	}
	if r.rnd.Float64() >= r.Loss {
		r.conn.WriteToUDPAddrPort(msg, server)
	}
	if r.rnd.Float64() < r.Loss {
		r.conn.WriteToUDPAddrPort(msg, server)
	}
	r.last = msg
	asked := byte(1)
	if msg[242] == 1 {
		asked = 2
	}
	buf := make([]byte, 2048)
	for r.conn.SetReadDeadline(time.Now().Add(patience)); ; {
		n, _, err := r.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return 0, a, from
		}
		if n < 244 || binary.BigEndian.Uint32(buf[4:]) != id || r.rnd.Float64() < r.Loss {
			continue
		}
		kind, from = kindOf(buf[240:n])
		if (kind == 2) != (asked == 2) {
			continue
		}
		return kind, netip.AddrFrom4([4]byte(buf[16:20])), from
	}
}

// Message is a DHCP message of a type, passed on by a relay.
func Message(mac net.HardwareAddr, id uint32, kind byte, relay, requested, server netip.Addr) []byte {
	b := make([]byte, 240, 320)
	b[0], b[1], b[2], b[3] = 1, 1, 6, 1
	binary.BigEndian.PutUint32(b[4:], id)
	copy(b[24:], relay.AsSlice())
	copy(b[28:], mac)
	copy(b[236:], []byte{0x63, 0x82, 0x53, 0x63})
	b = append(b, 53, 1, kind)
	if requested.IsValid() {
		b = append(append(b, 50, 4), requested.AsSlice()...)
	}
	if server.IsValid() {
		b = append(append(b, 54, 4), server.AsSlice()...)
	}
	b = append(b, 55, 4, 1, 3, 6, 15, 82, 6, 1, 2, 'e', '0', 19, 0, 255)
	return append(b, make([]byte, max(0, 300-len(b)))...)
}

// kindOf is a reply's type and the server that it is of.
func kindOf(b []byte) (kind byte, server netip.Addr) {
	for len(b) >= 2 && b[0] != 255 {
		n := 2 + int(b[1])
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		if len(b) < n {
			break
		}
		switch {
		case b[0] == 53 && n == 3:
			kind = b[2]
		case b[0] == 54 && n == 6:
			server = netip.AddrFrom4([4]byte(b[2:6]))
		}
		b = b[n:]
	}
	return kind, server
}
