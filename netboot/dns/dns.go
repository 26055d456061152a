// Package dns answers for the cluster's names and passes other questions on
// (RFC 1034, 1035, 2181, 2308, 6891, 8482).
//
// What it answers with authority comes straight from a Names that never
// changes, so there is nothing to reload: the next question after a change
// sees it. It recurses for nothing of ours, and passes on only for clients
// that it is told of.
package dns

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	miekg "github.com/miekg/dns"
)

// A Server answers. Fields must not change once it serves.
type Server struct {
	// Names gives the names as they are now. It is asked once for questions that
	// came together, after they came, and must not block.
	Names func() Names
	// Policy gives who may ask for what beyond our names; nil, or a nil
	// Policy: nobody for anything. It is asked like Names.
	Policy func() *Policy
	// Updater makes the changes that others send; nil: there are none.
	Updater Updater
	Log     *slog.Logger // nil: nothing is logged

	table   atomic.Pointer[table] // of the last Names
	tables  atomic.Uint64         // how many there were
	memory  atomic.Pointer[memory]
	nothing Policy
	forward forwarder
	count   counters
}

// A Policy says what is done for whom. It never changes; another one takes its
// place.
type Policy struct {
	// Upstreams are asked, in this order, what is not ours. Those that do not
	// answer are passed over for a while.
	Upstreams []netip.AddrPort
	// Clients may ask for what is not ours. None given: those on this host
	// and on private addresses.
	Clients []netip.Prefix
	// Secondaries may transfer whole zones, and Notify tells them of changes,
	// at port 53 unless another one is given.
	Secondaries []netip.AddrPort
	// Keys may update our names, by their names in lower case.
	Keys map[string]Key
}

// serves says whether a client may ask for what is not ours. A server that
// does so for everybody is a weapon in others' hands (RFC 5358).
func (p *Policy) serves(a netip.Addr) bool {
	a = a.Unmap()
	if len(p.Clients) == 0 {
		return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
	}
	for _, c := range p.Clients {
		if c.Contains(a.WithZone("")) {
			return true
		}
	}
	return false
}

func (s *Server) policy() *Policy {
	if s.Policy != nil {
		if p := s.Policy(); p != nil {
			return p
		}
	}
	return &s.nothing
}

// A moment is what questions are answered from that came together.
type moment struct {
	table  *table
	policy *Policy
	memory *memory
}

func (s *Server) moment() moment {
	m := s.memory.Load()
	if m == nil {
		s.memory.CompareAndSwap(nil, newMemory())
		m = s.memory.Load()
	}
	return moment{s.now(), s.policy(), m}
}

// now is the table of the names as they are.
func (s *Server) now() *table {
	names := s.Names()
	t := s.table.Load()
	if t == nil || t.names != names {
		t = newTable(names)
		t.number = s.tables.Add(1)
		s.table.Store(t)
	}
	return t
}

// Serve answers on c until ctx is done, then closes c, waits for the questions
// in hand and returns nil.
func (s *Server) Serve(ctx context.Context, c *Conn) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.forward.start(c.Addr())
	var tasks sync.WaitGroup
	errs := make(chan error, 2)
	tasks.Go(func() { defer stop(); errs <- s.serveUDP(ctx, c) })
	tasks.Go(func() { defer stop(); errs <- s.serveTCP(ctx, c) })
	tasks.Wait()
	return errors.Join(<-errs, <-errs)
}

// A verdict is what became of a message.
type verdict uint8

const (
	silent  verdict = iota // no answer is due
	replied                // the reply is whole
	later                  // somebody else has to be asked
	change                 // it is an update
	whole                  // the asker wants a whole zone
	signed                 // the answer is to be signed
)

// reply answers a message in buf's room as far as that can be done without
// waiting. Limit is what the way back takes; zero: what the asker says. Of q
// the name may be left to be spelt.
func (s *Server) reply(m moment, buf, msg []byte, from netip.Addr, limit int, q *query) ([]byte, verdict) {
	_ = q.read(msg)
	m.find(q)
	return s.respond(m, buf, from, limit, q)
}

// find has what is remembered of questions at hand for respond.
func (m moment) find(all ...*query) { m.memory.find(m.table.number, all) }

// respond is reply to a message that was read.
func (s *Server) respond(m moment, buf []byte, from netip.Addr, limit int, q *query) ([]byte, verdict) {
	if q.fault == errSilent {
		s.count.malformed.Add(1)
		return nil, silent
	}
	s.count.queries.Add(1)
	if limit == 0 {
		limit = min(q.size, bestUDP)
	}
	var r reply
	r.start(buf, q)
	if rcode, ok := q.fault.(rcodeError); ok {
		return r.refuse(int(rcode), limit), replied
	}
	if q.opcode == miekg.OpcodeUpdate && s.Updater != nil {
		return nil, change
	}
	if q.opcode != miekg.OpcodeQuery {
		return r.refuse(miekg.RcodeNotImplemented, limit), replied
	}
	if q.qtype == miekg.TypeAXFR || q.qtype == miekg.TypeIXFR {
		q.spell()
		return nil, whole
	}
	if q.signed {
		return nil, signed
	}
	if m.answer(&r, q) {
		if r.outward != "" && q.flags&flagRD != 0 && m.policy.forwards(from) {
			return nil, later
		}
		s.count.answers.Add(1)
		return r.end(flagAA|m.policy.available(from), limit), replied
	}
	if q.flags&flagRD == 0 || q.qclass != miekg.ClassINET || q.qtype == miekg.TypeANY || !m.policy.forwards(from) {
		s.count.refused.Add(1)
		return r.refuse(miekg.RcodeRefused, limit), replied
	}
	return nil, later
}

// answer writes into r what is known about q, from memory or from the table.
// False: it is not ours.
func (m moment) answer(r *reply, q *query) bool {
	if q.remember(r) {
		return true
	}
	q.spell()
	if !m.table.answer(r, q) {
		return false
	}
	m.memory.keep(r, q, m.table.number)
	return true
}

// refuse ends a reply that is only its code.
func (r *reply) refuse(rcode, limit int) []byte {
	r.rcode = rcode
	return r.end(0, limit)
}

// available is RA for those whom it holds for.
func (p *Policy) available(from netip.Addr) uint16 {
	if p.forwards(from) {
		return flagRA
	}
	return 0
}

// forwards says whether what from asks is passed on. An upstream that asks
// us what we would ask it makes a loop.
func (p *Policy) forwards(from netip.Addr) bool {
	if len(p.Upstreams) == 0 || !p.serves(from) {
		return false
	}
	for _, u := range p.Upstreams {
		if u.Addr() == from.Unmap() && !from.Unmap().IsLoopback() {
			return false
		}
	}
	return true
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// Counts are what a server has done since it began.
type Counts struct {
	Queries   uint64 // messages that were questions
	Malformed uint64 // messages that were not
	Answers   uint64 // of our names, from the table
	Refused   uint64
	Forwarded uint64 // passed on, or answered from what was remembered
	Hits      uint64 // of them, remembered
	Failed    uint64 // of them, no upstream answered
	Dropped   uint64 // too much at once
	Transfers uint64
}

// Counts gives the counts so far.
func (s *Server) Counts() Counts {
	c := &s.count
	return Counts{
		Queries:   c.queries.Load(),
		Malformed: c.malformed.Load(),
		Answers:   c.answers.Load(),
		Refused:   c.refused.Load(),
		Forwarded: c.forwarded.Load(),
		Hits:      c.hits.Load(),
		Failed:    c.failed.Load(),
		Dropped:   c.dropped.Load(),
		Transfers: c.transfers.Load(),
	}
}

type counters struct {
	queries, malformed, answers, refused, forwarded, hits, failed, dropped, transfers atomic.Uint64
}
