package dns

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	miekg "github.com/miekg/dns"
)

// transferMessage is how long each message of a transfer gets, about; writing
// one may take transferTime.
const (
	transferMessage = 16 << 10
	transferTime    = 30 * time.Second
)

var errRefused = errors.New("transfer refused")

// mayTransfer says whether somebody may have whole zones.
func (s *Server) mayTransfer(from netip.Addr) bool {
	return slices.ContainsFunc(s.policy().Secondaries, func(a netip.AddrPort) bool { return a.Addr() == from.Unmap() })
}

// transferUDP answers a question for a zone by UDP: the SOA alone, at which
// the asker comes back by TCP (RFC 1995, 2).
func (s *Server) transferUDP(buf []byte, q *query, from netip.Addr) []byte {
	var r reply
	r.start(buf, q)
	limit := min(q.size, bestUDP)
	z := s.now().zones[q.name]
	if z == nil || !s.mayTransfer(from) {
		return r.refuse(miekg.RcodeRefused, limit)
	}
	if q.qtype == miekg.TypeAXFR {
		return r.refuse(miekg.RcodeFormatError, limit) // RFC 5936, 4.2
	}
	r.soa(owner{at: atQuestion}, z.ttl(), z)
	r.an++
	return r.end(flagAA, limit)
}

// transfer sends the zone that msg asks for (RFC 5936). IXFR is answered the same
// way, which it allows: we keep no history (RFC 1995, 4). Who has the zone as it
// is gets the SOA alone.
func (s *Server) transfer(conn *net.TCPConn, q *query, msg []byte, from netip.Addr) error {
	t := s.now()
	z := t.zones[q.name]
	var r reply
	r.start(nil, q)
	if z == nil || q.qclass != miekg.ClassINET || !s.mayTransfer(from) {
		s.count.refused.Add(1)
		return errors.Join(errRefused, writeMessage(conn, r.refuse(miekg.RcodeRefused, maxMessage)))
	}
	s.count.transfers.Add(1)
	out := &transferWriter{conn: conn, r: &r, q: q}
	out.add(func() { r.soa(owner{name: z.Name}, z.ttl(), z) })
	if has(msg, z.Serial) {
		return out.flush()
	}
	for _, ns := range z.NS {
		out.add(func() { r.name(owner{name: z.Name}, miekg.TypeNS, z.ttl(), ns) })
	}
	for _, mx := range z.MX {
		out.add(func() { r.mx(owner{name: z.Name}, z.ttl(), mx) })
	}
	if reverse(z.Name) {
		t.allAddrs(z, out)
	} else {
		t.allHosts(z, out)
	}
	out.add(func() { r.soa(owner{name: z.Name}, z.ttl(), z) })
	return out.flush()
}

// has says whether who asks for what changed in a zone has its serial, or a newer
// one (RFC 1995, 2; RFC 1982, 3.2).
func has(msg []byte, serial uint32) bool {
	var m miekg.Msg
	if m.Unpack(msg) != nil || m.Question[0].Qtype != miekg.TypeIXFR || len(m.Ns) == 0 {
		return false
	}
	soa, ok := m.Ns[0].(*miekg.SOA)
	return ok && int32(serial-soa.Serial) <= 0
}

// allHosts are the records of a forward zone.
func (t *table) allHosts(z *Zone, out *transferWriter) {
	for name, h := range t.names.Hosts() {
		if own, _ := t.zone(name); own != z {
			continue
		}
		own := owner{name: name}
		if h.Alias != "" {
			out.add(func() { out.r.name(own, miekg.TypeCNAME, z.ttlOf(h), h.Alias) })
			continue
		}
		for _, a := range h.Addrs {
			out.add(func() { out.r.address(own, z.ttlOf(h), a) })
		}
		for _, mx := range h.MX {
			out.add(func() { out.r.mx(own, z.ttl(), mx) })
		}
	}
}

// allAddrs are the records of a reverse zone, each address once.
func (t *table) allAddrs(z *Zone, out *transferWriter) {
	seen := make(map[netip.Addr]bool)
	for _, h := range t.names.Hosts() {
		for _, a := range h.Addrs {
			if seen[a] {
				continue
			}
			seen[a] = true
			name := t.nameIn(z, a)
			if name == "" {
				continue
			}
			for _, n := range t.names.Addr(a) {
				h, _ := t.names.Host(n)
				out.add(func() { out.r.name(owner{name: name}, miekg.TypePTR, z.ttlOf(h), n) })
			}
		}
	}
}

// A transferWriter sends records in messages of about transferMessage octets.
type transferWriter struct {
	conn *net.TCPConn
	r    *reply
	q    *query
	err  error
}

func (w *transferWriter) add(record func()) {
	if w.err != nil {
		return
	}
	record()
	w.r.an++
	if len(w.r.buf) >= transferMessage {
		w.err = w.flush()
	}
}

func (w *transferWriter) flush() error {
	if w.err != nil {
		return w.err
	}
	w.conn.SetDeadline(time.Now().Add(transferTime))
	if err := writeMessage(w.conn, w.r.end(flagAA, maxMessage)); err != nil {
		return err
	}
	w.r.start(w.r.buf, w.q)
	return nil
}
