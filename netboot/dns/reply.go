package dns

import (
	"encoding/binary"
	"net/netip"

	miekg "github.com/miekg/dns"
)

// atQuestion is where a compression pointer finds the question's name.
const atQuestion = 0xc000 | headerSize

// A reply is an answer being written.
type reply struct {
	buf      []byte
	q        *query
	rcode    int
	an, nsct uint16 // records in the answer and authority sections
	ar       uint16
	outward  string // the name elsewhere at which a chain of aliases ends
}

// start writes the header and the question, if there is one.
func (r *reply) start(buf []byte, q *query) {
	*r = reply{buf: append(buf[:0], make([]byte, headerSize)...), q: q}
	if q.qname == nil {
		return
	}
	r.buf = append(r.buf, q.qname...)
	r.buf = binary.BigEndian.AppendUint16(r.buf, q.qtype)
	r.buf = binary.BigEndian.AppendUint16(r.buf, q.qclass)
}

// end writes the OPT record and the header. What is longer than limit is cut
// to its question, with TC set: the asker comes back by TCP (RFC 2181, 9).
func (r *reply) end(flags uint16, limit int) []byte {
	opt := 0
	if r.q.edns {
		opt = 11
	}
	if len(r.buf)+opt > limit {
		flags |= flagTC
		r.an, r.nsct, r.ar = 0, 0, 0
		r.buf = r.buf[:headerSize]
		r.buf = append(r.buf, r.q.qname...)
		r.buf = binary.BigEndian.AppendUint16(r.buf, r.q.qtype)
		r.buf = binary.BigEndian.AppendUint16(r.buf, r.q.qclass)
	}
	if r.q.edns {
		r.opt()
	}
	b := r.buf
	binary.BigEndian.PutUint16(b, r.q.id)
	binary.BigEndian.PutUint16(b[2:], flagQR|flags|r.q.flags&(15<<11|flagRD|flagCD)|uint16(r.rcode&15))
	if r.q.qname != nil {
		b[5] = 1
	}
	binary.BigEndian.PutUint16(b[6:], r.an)
	binary.BigEndian.PutUint16(b[8:], r.nsct)
	binary.BigEndian.PutUint16(b[10:], r.ar)
	return b
}

// opt says what we take (RFC 6891, 6.1.2), and the upper bits of the rcode.
func (r *reply) opt() {
	b := append(r.buf, 0, 0, byte(miekg.TypeOPT))
	b = binary.BigEndian.AppendUint16(b, bestUDP)
	var flags uint16
	if r.q.do {
		flags = flagDO
	}
	b = append(b, byte(r.rcode>>4), 0)
	b = binary.BigEndian.AppendUint16(b, flags)
	r.buf = append(b, 0, 0)
	r.ar++
}

// An owner is whose record one is: a pointer to where the name already
// stands, or the name.
type owner struct {
	at   uint16
	name string
}

// record writes a record's head and leaves its length to done.
func (r *reply) record(o owner, typ uint16, ttl uint32) (length int) {
	if o.at != 0 {
		r.buf = binary.BigEndian.AppendUint16(r.buf, o.at)
	} else {
		r.buf = appendName(r.buf, o.name)
	}
	r.buf = binary.BigEndian.AppendUint16(r.buf, typ)
	r.buf = binary.BigEndian.AppendUint16(r.buf, miekg.ClassINET)
	r.buf = binary.BigEndian.AppendUint32(r.buf, ttl)
	r.buf = append(r.buf, 0, 0)
	return len(r.buf)
}

func (r *reply) done(length int) {
	binary.BigEndian.PutUint16(r.buf[length-2:], uint16(len(r.buf)-length))
}

func (r *reply) address(o owner, ttl uint32, a netip.Addr) {
	if a.Is4() {
		at := r.record(o, miekg.TypeA, ttl)
		b := a.As4()
		r.buf = append(r.buf, b[:]...)
		r.done(at)
		return
	}
	at := r.record(o, miekg.TypeAAAA, ttl)
	b := a.As16()
	r.buf = append(r.buf, b[:]...)
	r.done(at)
}

// name writes a record that is one name: PTR, CNAME, NS.
func (r *reply) name(o owner, typ uint16, ttl uint32, name string) {
	at := r.record(o, typ, ttl)
	r.buf = appendName(r.buf, name)
	r.done(at)
}

func (r *reply) mx(o owner, ttl uint32, mx MX) {
	at := r.record(o, miekg.TypeMX, ttl)
	r.buf = binary.BigEndian.AppendUint16(r.buf, mx.Preference)
	r.buf = appendName(r.buf, mx.Host)
	r.done(at)
}

func (r *reply) soa(o owner, ttl uint32, z *Zone) {
	at := r.record(o, miekg.TypeSOA, ttl)
	r.buf = appendName(r.buf, z.primary())
	r.buf = appendName(r.buf, z.mail())
	for _, v := range [...]uint32{z.Serial, soaRefresh, soaRetry, soaExpire, z.missing()} {
		r.buf = binary.BigEndian.AppendUint32(r.buf, v)
	}
	r.done(at)
}

// hinfo is what a question for everything is answered by (RFC 8482, 4.2).
func (r *reply) hinfo(o owner, ttl uint32) {
	at := r.record(o, miekg.TypeHINFO, ttl)
	r.buf = append(append(r.buf, 7), "RFC8482"...)
	r.buf = append(r.buf, 0)
	r.done(at)
}

// appendName writes a name without compression. A label that DNS cannot hold
// is cut: names are checked where they are typed, and the message must stay
// whole whatever comes.
func appendName(b []byte, name string) []byte {
	start := len(b)
	for len(name) > 0 {
		label := name
		if i := indexDot(name); i >= 0 {
			label, name = name[:i], name[i+1:]
		} else {
			name = ""
		}
		if label == "" {
			continue
		}
		label = label[:min(len(label), 63)]
		if len(b)-start+1+len(label) >= maxName {
			break
		}
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

func indexDot(s string) int {
	for i := range len(s) {
		if s[i] == '.' {
			return i
		}
	}
	return -1
}
