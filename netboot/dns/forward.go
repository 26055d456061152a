package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	askTime    = 1500 * time.Millisecond // for one upstream's answer
	forwardFor = 5 * time.Second         // for all of them: resolvers ask again then
	restTime   = 10 * time.Second        // for an upstream that does not answer
)

var errNoUpstream = errors.New("no upstream answered")

// A forwarder asks others and remembers what they said.
type forwarder struct {
	once  sync.Once
	cache *cache

	mu      sync.Mutex
	own     []netip.AddrPort             // where we listen; guarded by mu
	flights map[question]*flight         // guarded by mu
	rests   map[netip.AddrPort]time.Time // until when an upstream is not asked; guarded by mu
}

// A question is what answers are remembered by.
type question struct {
	name   string
	qtype  uint16
	do, cd bool
}

// A flight is a question that has been asked and not yet answered. Whoever
// asks the same meanwhile waits for the same answer; so a loop of forwarders
// ends at the second round.
type flight struct {
	done   chan struct{}
	msg    *miekg.Msg // not to be changed
	err    error
	others int // who wait for it; guarded by forwarder.mu
}

// start is told of each address on which the server listens.
func (f *forwarder) start(own netip.AddrPort) {
	f.once.Do(func() {
		f.cache = newCache()
		f.flights = make(map[question]*flight)
		f.rests = make(map[netip.AddrPort]time.Time)
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.own = append(f.own, own)
}

// passOn answers a question that is not ours, from memory or by an upstream;
// or one of ours whose alias is of elsewhere. Limit as in reply.
func (s *Server) passOn(ctx context.Context, raw []byte, limit int) []byte {
	var ask miekg.Msg
	if err := ask.Unpack(raw); err != nil || len(ask.Question) != 1 {
		s.count.malformed.Add(1)
		return nil
	}
	s.count.forwarded.Add(1)
	ctx, cancel := context.WithTimeout(ctx, forwardFor)
	defer cancel()
	chain, target := s.aliases(raw)
	elsewhere := ask.Copy()
	if target != "" {
		elsewhere.Question[0].Name = target
	}
	got, age, err := s.resolve(ctx, elsewhere)
	if err != nil {
		s.count.failed.Add(1)
		s.log().Debug("dns: not answered", "name", ask.Question[0].Name, "err", err)
		got, age = failure(), 0
	}
	return finish(&ask, chain, got, age, limit)
}

// aliases are our own records by which a question leads elsewhere, and where.
func (s *Server) aliases(raw []byte) ([]miekg.RR, string) {
	var q query
	if q.parse(raw) != nil {
		return nil, ""
	}
	var r reply
	r.start(nil, &q)
	if !s.now().answer(&r, &q) || r.outward == "" {
		return nil, ""
	}
	var m miekg.Msg
	if err := m.Unpack(r.end(flagAA, maxMessage)); err != nil {
		return nil, ""
	}
	return m.Answer, r.outward + "."
}

func failure() *miekg.Msg {
	m := new(miekg.Msg)
	m.Rcode = miekg.RcodeServerFailure
	return m
}

// finish makes the answer to ask of our own records that led there and of what
// an upstream said some time ago.
func finish(ask *miekg.Msg, chain []miekg.RR, got *miekg.Msg, age uint32, limit int) []byte {
	m := got.Copy()
	m.Id, m.Opcode, m.Response = ask.Id, ask.Opcode, true
	m.Authoritative, m.Truncated, m.RecursionAvailable = len(chain) > 0, false, true // AA is of the name asked for
	m.RecursionDesired, m.CheckingDisabled = ask.RecursionDesired, ask.CheckingDisabled
	opt := ask.IsEdns0()
	m.AuthenticatedData = len(chain) == 0 && got.AuthenticatedData && (ask.AuthenticatedData || opt != nil && opt.Do())
	m.Question = ask.Question // in the asker's own letters
	for _, section := range [][]miekg.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			rr.Header().Ttl -= min(age, rr.Header().Ttl)
		}
	}
	m.Answer = append(chain, m.Answer...)
	size := miekg.MinMsgSize
	if opt != nil {
		size = min(max(int(opt.UDPSize()), size), bestUDP)
		m.SetEdns0(bestUDP, opt.Do())
	}
	if limit != 0 {
		size = limit
	}
	m.Compress = true
	m.Truncate(size)
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// resolve gives an answer, and how many seconds old it is.
func (s *Server) resolve(ctx context.Context, ask *miekg.Msg) (*miekg.Msg, uint32, error) {
	f := &s.forward
	opt := ask.IsEdns0()
	key := question{
		name:  strings.ToLower(ask.Question[0].Name),
		qtype: ask.Question[0].Qtype,
		do:    opt != nil && opt.Do(),
		cd:    ask.CheckingDisabled,
	}
	if m, age, ok := f.cache.get(key, time.Now()); ok {
		s.count.hits.Add(1)
		return m, age, nil
	}
	f.mu.Lock()
	if fl := f.flights[key]; fl != nil {
		fl.others++
		f.mu.Unlock()
		select {
		case <-fl.done:
			return fl.msg, 0, fl.err
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
	fl := &flight{done: make(chan struct{})}
	f.flights[key] = fl
	f.mu.Unlock()

	fl.msg, fl.err = s.ask(ctx, key)
	if fl.err == nil {
		f.cache.put(key, fl.msg, time.Now())
	}
	f.mu.Lock()
	delete(f.flights, key)
	f.mu.Unlock()
	close(fl.done)
	return fl.msg, 0, fl.err
}

// ask asks the upstreams in their order until one has an answer; the ones that
// rest come last.
func (s *Server) ask(ctx context.Context, key question) (*miekg.Msg, error) {
	var last *miekg.Msg
	err := errNoUpstream
	for _, u := range s.forward.order(s.policy().Upstreams, time.Now()) {
		if ctx.Err() != nil {
			break
		}
		m, aerr := askOne(ctx, u, key)
		if aerr != nil {
			err = aerr
			s.forward.rest(u, time.Now().Add(restTime))
			continue
		}
		s.forward.rest(u, time.Time{})
		last = m
		if m.Rcode == miekg.RcodeSuccess || m.Rcode == miekg.RcodeNameError {
			return m, nil
		}
	}
	if last != nil {
		return last, nil
	}
	return nil, err
}

// order is the upstreams that are not this very server, the awake first.
func (f *forwarder) order(all []netip.AddrPort, now time.Time) []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	var awake, resting []netip.AddrPort
	for _, u := range all {
		switch {
		case f.self(u):
		case f.rests[u].After(now):
			resting = append(resting, u)
		default:
			awake = append(awake, u)
		}
	}
	return append(awake, resting...)
}

func (f *forwarder) rest(u netip.AddrPort, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if until.IsZero() {
		delete(f.rests, u)
		return
	}
	if len(f.rests) > 64 { // upstreams of policies gone by
		clear(f.rests)
	}
	f.rests[u] = until
}

// askOne asks by UDP from a port that nobody can guess, and by TCP what does
// not fit. An answer to another question is not one (RFC 5452, 9.1).
func askOne(ctx context.Context, u netip.AddrPort, key question) (*miekg.Msg, error) {
	m := new(miekg.Msg)
	m.SetQuestion(key.name, key.qtype)
	m.CheckingDisabled = key.cd
	m.SetEdns0(bestUDP, key.do)
	for _, network := range []string{"udp", "tcp"} {
		c := &miekg.Client{Net: network, Timeout: askTime, UDPSize: bestUDP}
		got, _, err := c.ExchangeContext(ctx, m, u.String())
		if err != nil {
			return nil, err
		}
		if !got.Response || len(got.Question) != 1 || !strings.EqualFold(got.Question[0].Name, key.name) || got.Question[0].Qtype != key.qtype {
			return nil, errors.New("an answer to another question")
		}
		if !got.Truncated {
			return plain(got), nil
		}
	}
	return nil, errors.New("too long for TCP")
}

// plain is an answer without what is only between us and the upstream.
func plain(m *miekg.Msg) *miekg.Msg {
	extra := m.Extra[:0]
	for _, rr := range m.Extra {
		switch rr.Header().Rrtype {
		case miekg.TypeOPT, miekg.TypeTSIG, miekg.TypeSIG:
		default:
			extra = append(extra, rr)
		}
	}
	m.Extra = extra
	return m
}

// self says whether an upstream is this very server. f.mu is held.
func (f *forwarder) self(u netip.AddrPort) bool {
	for _, own := range f.own {
		if own == u || own.Port() == u.Port() && own.Addr().IsUnspecified() && localAddr(u.Addr()) {
			return true
		}
	}
	return false
}

// localAddr says whether a is an address of this host. Of 127.0.0.0/8 only
// 127.0.0.1 is: behind the others are servers of their own.
func localAddr(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, x := range addrs {
		if n, ok := x.(*net.IPNet); ok && n.IP.Equal(a.AsSlice()) {
			return true
		}
	}
	return false
}
