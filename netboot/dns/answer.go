package dns

import (
	"strings"

	miekg "github.com/miekg/dns"
)

// maxAliases bounds a chain of aliases; a loop of them ends here.
const maxAliases = 8

// answer writes what the table knows about q into r. False: the name is not
// in any of our zones, nothing was written. It is RFC 1034, 4.3.2 for zones
// without delegations and wildcards.
func (t *table) answer(r *reply, q *query) bool {
	z, at := t.zone(q.name)
	if z == nil {
		return false
	}
	if q.qclass != miekg.ClassINET {
		r.rcode = miekg.RcodeRefused
		return true
	}
	if q.qtype == miekg.TypeANY {
		r.hinfo(owner{at: atQuestion}, z.ttl())
		r.an++
		return true
	}
	if q.odd {
		r.nothing(owner{at: atQuestion + uint16(at)}, z, false)
		return true
	}
	switch {
	case at == 0:
		t.apex(r, q, z)
	case reverse(z.Name):
		t.reverse(r, q, z, at)
	default:
		t.host(r, q, z)
	}
	return true
}

// nothing says that there is no such record, or no such name, and how long
// that may be remembered (RFC 2308, 2 and 3).
func (r *reply) nothing(zone owner, z *Zone, found bool) {
	if !found {
		r.rcode = miekg.RcodeNameError
	}
	r.soa(zone, min(z.missing(), z.ttl()), z)
	r.nsct++
}

func reverse(zone string) bool {
	return strings.HasSuffix(zone, suffix4) || strings.HasSuffix(zone, suffix6)
}

// apex answers for the zone's own name.
func (t *table) apex(r *reply, q *query, z *Zone) {
	own := owner{at: atQuestion}
	switch q.qtype {
	case miekg.TypeSOA:
		r.soa(own, z.ttl(), z)
		r.an++
	case miekg.TypeNS:
		for _, ns := range z.NS {
			r.name(own, miekg.TypeNS, z.ttl(), ns)
			r.an++
		}
		for _, ns := range z.NS {
			t.glue(r, ns)
		}
	case miekg.TypeMX:
		t.mail(r, own, z, z.MX)
	default:
		if h, ok := t.names.Host(q.name); ok && h.Alias == "" {
			t.records(r, own, q.qtype, z, h)
		}
	}
	if r.an == 0 {
		r.nothing(own, z, true)
	}
}

// reverse answers for an address. The name of part of an address is there, if
// only for those below it (RFC 8020).
func (t *table) reverse(r *reply, q *query, z *Zone, at int) {
	a, whole, ok := reverseIn(z.Name, q.name)
	var names []string
	if whole {
		names = t.names.Addr(a)
	}
	if q.qtype == miekg.TypePTR {
		for _, n := range names {
			h, _ := t.names.Host(n)
			r.name(owner{at: atQuestion}, miekg.TypePTR, z.ttlOf(h), n)
			r.an++
		}
	}
	if r.an == 0 {
		r.nothing(owner{at: atQuestion + uint16(at)}, z, ok && !whole || len(names) > 0)
	}
}

// host answers for a name, and for those that it stands for. The end of a
// chain decides what is said of the whole (RFC 6604, 3).
func (t *table) host(r *reply, q *query, z *Zone) {
	own, name := owner{at: atQuestion}, q.name
	for range maxAliases {
		h, ok := t.names.Host(name)
		before := r.an
		if ok && (h.Alias == "" || q.qtype == miekg.TypeCNAME) {
			t.records(r, own, q.qtype, z, h)
		}
		if !ok || h.Alias == "" || q.qtype == miekg.TypeCNAME {
			if r.an == before {
				r.nothing(owner{name: z.Name}, z, ok)
			}
			return
		}
		r.name(own, miekg.TypeCNAME, z.ttlOf(h), h.Alias)
		r.an++
		name = strings.ToLower(h.Alias)
		own = owner{name: name}
		if z, _ = t.zone(name); z == nil {
			r.outward = name // the asker goes on from here, or we do for it
			return
		}
	}
}

// records writes what a host has of a type.
func (t *table) records(r *reply, own owner, qtype uint16, z *Zone, h Host) {
	switch qtype {
	case miekg.TypeA, miekg.TypeAAAA:
		for _, a := range h.Addrs {
			if a.Is4() == (qtype == miekg.TypeA) {
				r.address(own, z.ttlOf(h), a)
				r.an++
			}
		}
	case miekg.TypeCNAME:
		if h.Alias != "" {
			r.name(own, miekg.TypeCNAME, z.ttlOf(h), h.Alias)
			r.an++
		}
	case miekg.TypeMX:
		t.mail(r, own, z, h.MX)
	}
}

func (t *table) mail(r *reply, own owner, z *Zone, all []MX) {
	for _, mx := range all {
		r.mx(own, z.ttl(), mx)
		r.an++
	}
	for _, mx := range all {
		t.glue(r, mx.Host)
	}
}

// glue adds the addresses of a name of ours that an answer speaks of, so that
// the asker need not come again.
func (t *table) glue(r *reply, name string) {
	name = strings.ToLower(name)
	z, _ := t.zone(name)
	if z == nil {
		return
	}
	h, ok := t.names.Host(name)
	if !ok || h.Alias != "" {
		return
	}
	for _, a := range h.Addrs {
		r.address(owner{name: name}, z.ttlOf(h), a)
		r.ar++
	}
}
