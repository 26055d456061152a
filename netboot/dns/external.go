package dns

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	externalTime = 10 * time.Second // for one answer
	externalSize = 32 << 10         // of one update, which may have twice that
	externalTTL  = 86400            // as in our own zones
)

// An External is another's server that keeps names and takes them by updates
// (RFC 2136).
type External struct {
	Addr netip.AddrPort
	Name string // of the key that updates are signed with; empty: they are not
	Key  Key
}

// An Entry is a name as it is to be there: with an address, or an alias of
// another.
type Entry struct {
	Name  string
	Addr  netip.Addr
	Alias string
}

// Put has the server answer for entries as they say, in place of what addresses
// and aliases they had there, and both ways. Zones are changed one after the
// other, and one that cannot be changed keeps the others from nothing: the errors
// name each.
func (x External) Put(ctx context.Context, entries []Entry) error {
	return x.change(ctx, entries, false)
}

// Remove has the server forget entries.
func (x External) Remove(ctx context.Context, entries []Entry) error {
	return x.change(ctx, entries, true)
}

// A caller speaks with one server by TCP, in one connection as long as that
// holds.
type caller struct {
	External
	client miekg.Client
	conn   net.Conn
	zones  map[string]string // by the name without its first label
	away   bool              // it does not answer
	faults map[string]bool   // that were told
	errs   []error
}

func (x External) change(ctx context.Context, entries []Entry, remove bool) error {
	c := &caller{External: x, zones: map[string]string{}, faults: map[string]bool{}}
	c.client = miekg.Client{Net: "tcp", Timeout: externalTime}
	if x.Name != "" {
		c.client.TsigSecret = map[string]string{miekg.CanonicalName(x.Name): base64.StdEncoding.EncodeToString(x.Key.Secret)}
	}
	defer c.hangUp()
	byZone := map[string][]miekg.RR{}
	add := func(name string, rrs ...miekg.RR) {
		if zone := c.zone(ctx, name); zone != "" {
			byZone[zone] = append(byZone[zone], rrs...)
		}
	}
	named := map[netip.Addr]bool{}
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, old := range c.addrs(ctx, e.Name) {
			if remove || old != e.Addr {
				add(ReverseName(old), without(pointer(old, e.Name)))
			}
		}
		add(e.Name, e.records(remove)...)
		if !e.Addr.IsValid() || named[e.Addr] {
			continue
		}
		named[e.Addr] = true
		ptr := pointer(e.Addr, e.Name)
		if remove {
			add(ReverseName(e.Addr), without(ptr))
		} else {
			add(ReverseName(e.Addr), none(ReverseName(e.Addr), miekg.TypePTR), ptr)
		}
	}
	for _, zone := range slices.Sorted(maps.Keys(byZone)) {
		c.update(ctx, zone, byZone[zone])
	}
	return errors.Join(c.errs...)
}

// records take an entry's name out and, unless it is to go, put it in anew.
func (e Entry) records(remove bool) []miekg.RR {
	rrs := []miekg.RR{none(e.Name, miekg.TypeA), none(e.Name, miekg.TypeAAAA), none(e.Name, miekg.TypeCNAME)}
	h := miekg.RR_Header{Name: e.Name + ".", Class: miekg.ClassINET, Ttl: externalTTL}
	switch {
	case remove:
	case e.Alias != "":
		h.Rrtype = miekg.TypeCNAME
		rrs = append(rrs, &miekg.CNAME{Hdr: h, Target: e.Alias + "."})
	case e.Addr.Is4():
		h.Rrtype = miekg.TypeA
		rrs = append(rrs, &miekg.A{Hdr: h, A: e.Addr.AsSlice()})
	default:
		h.Rrtype = miekg.TypeAAAA
		rrs = append(rrs, &miekg.AAAA{Hdr: h, AAAA: e.Addr.AsSlice()})
	}
	return rrs
}

func pointer(a netip.Addr, name string) miekg.RR {
	h := miekg.RR_Header{Name: ReverseName(a) + ".", Rrtype: miekg.TypePTR, Class: miekg.ClassINET, Ttl: externalTTL}
	return &miekg.PTR{Hdr: h, Ptr: name + "."}
}

// none takes out all records of a type that a name has (RFC 2136, 2.5.2).
func none(name string, rrtype uint16) miekg.RR {
	return &miekg.ANY{Hdr: miekg.RR_Header{Name: name + ".", Rrtype: rrtype, Class: miekg.ClassANY}}
}

// without takes out one record, and nothing where there is another (2.5.4).
func without(rr miekg.RR) miekg.RR {
	rr.Header().Class, rr.Header().Ttl = miekg.ClassNONE, 0
	return rr
}

// zone asks for the zone that a name belongs to; "" where the server has none,
// which is told once.
func (c *caller) zone(ctx context.Context, name string) string {
	_, above, _ := strings.Cut(name, ".")
	if zone, known := c.zones[above]; known {
		return zone
	}
	m, err := c.ask(ctx, name, miekg.TypeSOA)
	zone := ""
	if err == nil {
		for _, rr := range slices.Concat(m.Answer, m.Ns) {
			if soa, ok := rr.(*miekg.SOA); ok && m.Authoritative && miekg.IsSubDomain(soa.Hdr.Name, name+".") {
				zone = lower(soa.Hdr.Name)
			}
		}
	}
	switch {
	case err != nil:
		c.fault(err)
	case zone == "":
		c.fault(fmt.Errorf("DNS server %s has no zone for %s; make one there first", c.Addr, above))
	}
	c.zones[above] = zone
	return zone
}

// addrs are the addresses that a name has there.
func (c *caller) addrs(ctx context.Context, name string) (out []netip.Addr) {
	for _, qtype := range []uint16{miekg.TypeA, miekg.TypeAAAA} {
		m, err := c.ask(ctx, name, qtype)
		if err != nil {
			return nil // which zone tells
		}
		for _, rr := range m.Answer {
			if lower(rr.Header().Name) != name {
				continue // behind an alias
			}
			if a, err := netip.ParseAddr(value(rr)); err == nil {
				out = append(out, a)
			}
		}
	}
	return out
}

func (c *caller) ask(ctx context.Context, name string, qtype uint16) (*miekg.Msg, error) {
	m := new(miekg.Msg)
	m.SetQuestion(name+".", qtype)
	m.RecursionDesired = false
	return c.exchange(ctx, m)
}

// update changes one zone, in messages that end between names.
func (c *caller) update(ctx context.Context, zone string, rrs []miekg.RR) {
	for len(rrs) > 0 {
		n := 0
		for size := 0; n < len(rrs) && (size < externalSize || rrs[n].Header().Name == rrs[n-1].Header().Name); n++ {
			size += miekg.Len(rrs[n])
		}
		m := new(miekg.Msg)
		m.SetUpdate(zone + ".")
		m.Ns, rrs = rrs[:n], rrs[n:]
		got, err := c.exchange(ctx, m)
		if err == nil && got.Rcode != miekg.RcodeSuccess {
			err = c.refused(zone, got.Rcode)
		}
		if err != nil {
			c.fault(err)
			return
		}
	}
}

func (c *caller) refused(zone string, rcode int) error {
	signed := "updates from here, which are not signed: no key is in passwd key=omapi"
	if c.Name != "" {
		signed = "updates signed by key " + c.Name
	}
	return fmt.Errorf("DNS server %s does not change zone %s: %s; have it take %s", c.Addr, zone, miekg.RcodeToString[rcode], signed)
}

// exchange sends a message and waits for its answer, once more where the server
// has ended the connection meanwhile.
func (c *caller) exchange(ctx context.Context, m *miekg.Msg) (*miekg.Msg, error) {
	if c.away {
		return nil, errNoUpstream
	}
	fresh := c.conn == nil
	got, err := c.once(ctx, m)
	if err != nil && got == nil && !fresh && ctx.Err() == nil {
		got, err = c.once(ctx, m)
	}
	switch {
	case got != nil && (err == nil || got.Rcode != miekg.RcodeSuccess): // a refusal need not be signed
		return got, nil
	case errors.Is(err, miekg.ErrKeyAlg), errors.Is(err, miekg.ErrSecret):
		return nil, fmt.Errorf("key %s: %v; see passwd key=omapi", c.Name, err)
	case got != nil:
		return nil, fmt.Errorf("DNS server %s: its answer is not to be trusted: %w", c.Addr, err)
	}
	err = fmt.Errorf("DNS server %s: %w", c.Addr, err)
	c.fault(err)
	c.away = true // and it is not asked again
	return nil, err
}

func (c *caller) once(ctx context.Context, m *miekg.Msg) (*miekg.Msg, error) {
	if c.conn == nil {
		conn, err := c.client.DialContext(ctx, c.Addr.String())
		if err != nil {
			return nil, err
		}
		c.conn = conn.Conn
	}
	signed := m.Opcode == miekg.OpcodeUpdate && c.Name != ""
	if signed {
		m.SetTsig(miekg.CanonicalName(c.Name), c.Key.algorithm(), fudge, time.Now().Unix())
	}
	// Each message in a Conn of its own: one would sign the next with the last
	// one's MAC, as answers are signed.
	got, _, err := c.client.ExchangeWithConnContext(ctx, m, &miekg.Conn{Conn: c.conn})
	if err == nil && signed && got.IsTsig() == nil {
		err = miekg.ErrNoSig
	}
	if err != nil {
		c.hangUp()
	}
	return got, err
}

func (c *caller) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// fault tells what is wrong, once.
func (c *caller) fault(err error) {
	if !c.away && !c.faults[err.Error()] {
		c.faults[err.Error()] = true
		c.errs = append(c.errs, err)
	}
}
