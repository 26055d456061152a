package dns

import (
	"context"
	"errors"
	"slices"
	"strings"

	miekg "github.com/miekg/dns"
)

// ErrRefused is an Updater's word for a change that may not be made.
var ErrRefused = errors.New("refused")

// An Updater makes changes to our names that others send (RFC 2136). All of
// them or none; when it returns nil they are in the next Names. ErrRefused:
// they may not be made.
type Updater interface {
	Update(ctx context.Context, key, zone string, changes []Change) error
}

// A Change is one step of an update. Names are as in Names.
type Change struct {
	Delete bool
	Name   string
	Type   string // "A", "AAAA", "PTR", "CNAME"; empty when all of a name is deleted
	Value  string // the address or name; empty when all of a type is deleted
}

// update answers an UPDATE.
func (s *Server) update(ctx context.Context, raw []byte) []byte {
	var m miekg.Msg
	if err := m.Unpack(raw); err != nil {
		s.count.malformed.Add(1)
		return nil
	}
	name, key, fault := s.authentic(raw, &m)
	if fault != miekg.RcodeSuccess {
		return s.unauthentic(&m, fault)
	}
	r := new(miekg.Msg)
	r.MsgHdr = miekg.MsgHdr{Id: m.Id, Response: true, Opcode: miekg.OpcodeUpdate}
	r.Question = m.Question
	ctx, cancel := context.WithTimeout(ctx, forwardFor)
	defer cancel()
	r.Rcode = s.change(ctx, name, &m)
	return key.sign(r, m.IsTsig())
}

// change checks an update and has it made (RFC 2136, 3).
func (s *Server) change(ctx context.Context, key string, m *miekg.Msg) int {
	if len(m.Question) != 1 || m.Question[0].Qtype != miekg.TypeSOA {
		return miekg.RcodeFormatError
	}
	t := s.now()
	z := t.zones[lower(m.Question[0].Name)]
	if z == nil || m.Question[0].Qclass != miekg.ClassINET {
		return miekg.RcodeNotAuth
	}
	if rcode := t.required(z, m.Answer); rcode != miekg.RcodeSuccess {
		return rcode
	}
	var changes []Change
	changed := make(map[string]bool)
	for _, rr := range m.Ns {
		c, rcode := t.read(z, rr)
		if rcode != miekg.RcodeSuccess {
			return rcode
		}
		if !changed[c.Name] && t.stands(z, c, rr.Header().Rrtype) {
			continue
		}
		changed[c.Name] = true
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return miekg.RcodeSuccess
	}
	err := s.Updater.Update(ctx, key, z.Name, changes)
	switch {
	case err == nil:
		s.log().Info("dns: updated", "zone", z.Name, "key", key, "changes", len(changes))
		return miekg.RcodeSuccess
	case errors.Is(err, ErrRefused):
		s.log().Warn("dns: update refused", "zone", z.Name, "key", key, "err", err)
		return miekg.RcodeRefused
	}
	s.log().Warn("dns: update", "zone", z.Name, "key", key, "err", err)
	return miekg.RcodeServerFailure
}

// stands says whether a change leaves all as it is, which is no fault (RFC 2136,
// 3.4.2): who gives a name its address sends the PTR along that it has by then.
func (t *table) stands(z *Zone, c Change, qtype uint16) bool {
	switch {
	case c.Type == "":
		return !t.has(z, c.Name, miekg.TypeANY)
	case c.Value == "":
		return !t.has(z, c.Name, qtype)
	}
	return slices.Contains(t.values(z, c.Name, qtype), c.Value) != c.Delete
}

func lower(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// in says whether a name is one of a zone's.
func (t *table) in(z *Zone, name string) bool {
	own, _ := t.zone(name)
	return own == z
}

// required checks what an update takes for granted (RFC 2136, 3.2).
func (t *table) required(z *Zone, all []miekg.RR) int {
	type set struct {
		name  string
		qtype uint16
	}
	wanted := make(map[set][]string)
	for _, rr := range all {
		h := rr.Header()
		name := lower(h.Name)
		if !t.in(z, name) {
			return miekg.RcodeNotZone
		}
		has := t.has(z, name, h.Rrtype)
		switch h.Class {
		case miekg.ClassANY:
			if !has && h.Rrtype == miekg.TypeANY {
				return miekg.RcodeNameError
			}
			if !has {
				return miekg.RcodeNXRrset
			}
		case miekg.ClassNONE:
			if has && h.Rrtype == miekg.TypeANY {
				return miekg.RcodeYXDomain
			}
			if has {
				return miekg.RcodeYXRrset
			}
		case miekg.ClassINET:
			k := set{name, h.Rrtype}
			wanted[k] = append(wanted[k], value(rr))
		default:
			return miekg.RcodeFormatError
		}
	}
	for k, want := range wanted {
		got := t.values(z, k.name, k.qtype)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, slices.Compact(want)) {
			return miekg.RcodeNXRrset
		}
	}
	return miekg.RcodeSuccess
}

// has says whether a name has records of a type; TypeANY: of any.
func (t *table) has(z *Zone, name string, qtype uint16) bool {
	if qtype != miekg.TypeANY {
		return len(t.values(z, name, qtype)) > 0
	}
	if name == z.Name {
		return true
	}
	if a, whole, _ := reverseAddr(name); whole {
		return len(t.names.Addr(a)) > 0
	}
	h, ok := t.names.Host(name)
	return ok && (h.Alias != "" || len(h.Addrs) > 0 || len(h.MX) > 0)
}

// values are a name's records of a type, as value writes them.
func (t *table) values(z *Zone, name string, qtype uint16) (all []string) {
	var r reply
	q := query{asked: asked{name: name, qtype: qtype, qclass: miekg.ClassINET, qname: appendName(nil, name)}}
	r.start(nil, &q)
	t.answer(&r, &q)
	var m miekg.Msg
	if err := m.Unpack(r.end(flagAA, maxMessage)); err != nil {
		return nil
	}
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == qtype && lower(rr.Header().Name) == name {
			all = append(all, value(rr))
		}
	}
	return all
}

// value is what a record says, as Change.Value has it.
func value(rr miekg.RR) string {
	switch rr := rr.(type) {
	case *miekg.A:
		return rr.A.String()
	case *miekg.AAAA:
		return rr.AAAA.String()
	case *miekg.PTR:
		return lower(rr.Ptr)
	case *miekg.CNAME:
		return lower(rr.Target)
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// read is an update's record as a change (RFC 2136, 2.5 and 3.4.1).
func (t *table) read(z *Zone, rr miekg.RR) (Change, int) {
	h := rr.Header()
	c := Change{Name: lower(h.Name), Delete: h.Class != miekg.ClassINET}
	if !t.in(z, c.Name) {
		return c, miekg.RcodeNotZone
	}
	if h.Rrtype != miekg.TypeANY {
		c.Type = miekg.TypeToString[h.Rrtype]
	}
	switch h.Class {
	case miekg.ClassANY:
		if h.Ttl != 0 || h.Rdlength != 0 {
			return c, miekg.RcodeFormatError
		}
	case miekg.ClassINET, miekg.ClassNONE:
		if h.Rrtype == miekg.TypeANY || h.Rdlength == 0 {
			return c, miekg.RcodeFormatError
		}
		c.Value = value(rr)
	default:
		return c, miekg.RcodeFormatError
	}
	switch h.Rrtype {
	case miekg.TypeA, miekg.TypeAAAA, miekg.TypePTR, miekg.TypeCNAME:
		return c, miekg.RcodeSuccess
	case miekg.TypeANY:
		if c.Name == z.Name {
			return c, miekg.RcodeRefused // the zone itself is not theirs
		}
		return c, miekg.RcodeSuccess
	}
	if c.Delete {
		return c, miekg.RcodeSuccess // we have none: DHCP servers clear TXT and DHCID so
	}
	return c, miekg.RcodeRefused
}
