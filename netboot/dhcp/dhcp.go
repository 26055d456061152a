// Package dhcp speaks DHCP and PXE as a planner says (RFC 2131, 2132, 3046,
// 3396, 4388, 4578; PXE 2.1; UEFI 2.10, 24.7).
//
// It decides nothing: who a machine is, which address it has and what it
// boots are the Planner's. What the package owns is the wire: what each
// firmware has to be told so that it takes the answer, where the answer goes,
// and that a packet from anywhere cannot make it fail.
//
// A Planner sees every request, those too that have taken another server's
// offer (Machine.Server is then neither zero nor the plan's); it must not
// promise an address on such a one. For RELEASE and DECLINE its answer is not
// sent. It is called from many goroutines at once, each with a deadline.
package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"margay/netboot"
)

// A Prompter is a Planner that knows which requests it can answer at once,
// without waiting for anything. They are served in the order in which they come,
// and never behind those that wait.
type Prompter interface {
	Prompt(m netboot.Machine) bool
}

// A Deferrer is a Planner that knows which requests it can answer as soon as
// something is written down. They wait without a goroutine each.
type Deferrer interface {
	// Defer calls done once with what Plan would return, perhaps before it
	// returns itself and from any goroutine, and soon. False: m is no such
	// request, and done is not called.
	Defer(m netboot.Machine, done func(*netboot.Plan, error)) bool
}

// planTime bounds one request: a client has asked again by then.
const planTime = 4 * time.Second

// defaultWorkers is how many requests wait at once unless told: enough for
// planners that wait for a disk, few enough to stay small in a storm.
const defaultWorkers = 512

// A Server answers machines. The zero value with a Planner is ready; fields
// must not change once it serves.
type Server struct {
	Planner  netboot.Planner
	Observer netboot.Observer // nil: nobody is told
	Log      *slog.Logger     // nil: nothing is logged
	Workers  int              // requests that wait at once on a socket; 0: 512
	Holder   Holder           // answers relays' lease queries; nil: silence

	// Foreign is told of other servers from which machines take their addresses
	// while we are to give them, each time a machine says so. It must not block.
	// False: that server is none to speak of. nil: a warning is logged, once for
	// each.
	Foreign func(Foreign) bool

	pool    sync.Pool // of *exchange
	count   counters
	foreign strangers
}

// Serve answers what arrives on c until ctx is done, then closes c, waits for
// the requests in hand and returns nil.
func (s *Server) Serve(ctx context.Context, c *Conn) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make(chan error, len(c.socks))
	for _, k := range c.socks {
		go func() {
			defer stop() // one socket's fault ends the others
			errs <- s.listen(ctx, k)
		}()
	}
	var all []error
	for range c.socks {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// listen reads requests and sees that each is served.
func (s *Server) listen(ctx context.Context, k *sock) error {
	defer context.AfterFunc(ctx, func() { k.udp.Close() })()
	b := newBacklog(s.workers(), func(x *exchange) { s.wait(ctx, k, x) })
	defer b.close()
	defer b.deferred.wait()
	s.read(ctx, k, b) // alone: a second reader costs more than it takes off the first
	return nil
}

// read serves what can be answered at once where it was read, in the order in
// which it came. For what has to wait, for a disk or for the network, there are
// others to do so: a machine of the table's never stands behind such a one.
func (s *Server) read(ctx context.Context, k *sock, b *backlog) {
	now := renewed{parent: ctx}
	defer now.end()
	for i := 1; ; i++ {
		if i%turn == 0 {
			runtime.Gosched()
		}
		x := s.exchange()
		err := x.read(k)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log().Warn("dhcp: cannot receive", "interface", k.ifname, "err", err)
			if !netboot.Pause(ctx, time.Second) {
				return
			}
			continue
		}
		if !s.take(k, x) {
			s.pool.Put(x)
			continue
		}
		if p, ok := s.Planner.(Prompter); ok && p.Prompt(x.m) {
			s.serve(now.context(), k, x)
			s.pool.Put(x)
			continue
		}
		if s.defers(k, b, x) {
			continue
		}
		if !b.put(x) {
			s.count.dropped.Add(1)
			s.pool.Put(x)
		}
	}
}

// turn is how many requests are read before others have theirs: as long as there
// are more to read, nobody else is had in on one processor, for milliseconds.
const turn = 128

// defers has the planner answer a request when it can; false: it is none to be
// answered later. There are no more of them than stand in line otherwise: what
// is too many is dropped.
func (s *Server) defers(k *sock, b *backlog, x *exchange) bool {
	d, ok := s.Planner.(Deferrer)
	if !ok {
		return false
	}
	if !b.deferred.begin() {
		return false // the line may have room
	}
	ok = d.Defer(x.m, func(plan *netboot.Plan, err error) {
		defer b.deferred.end()
		defer s.pool.Put(x)
		s.finish(k, x, plan, err)
	})
	if !ok {
		b.deferred.end()
	}
	return ok
}

// wait serves a request that may take its time, unless it has waited so long
// that its machine has asked again.
func (s *Server) wait(ctx context.Context, k *sock, x *exchange) {
	defer s.pool.Put(x)
	if time.Since(x.at) > stale {
		s.count.dropped.Add(1)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, planTime)
	defer cancel()
	s.serve(ctx, k, x)
}

// stale is how long machines wait for an answer before they ask again, and are
// no longer interested in one to what they asked before (RFC 2131, 4.1: 4
// seconds, give or take one).
const stale = 3 * time.Second

// renewed is a context for requests that are served one after the other: one for
// each would cost more than some of them do.
type renewed struct {
	parent context.Context
	ctx    context.Context
	cancel context.CancelFunc
	made   time.Time
}

// context has planTime left, or a second less.
func (r *renewed) context() context.Context {
	if now := time.Now(); r.ctx == nil || now.Sub(r.made) > time.Second {
		r.end()
		r.ctx, r.cancel = context.WithDeadline(r.parent, now.Add(planTime))
		r.made = now
	}
	return r.ctx
}

func (r *renewed) end() {
	if r.cancel != nil {
		r.cancel()
	}
}

func (s *Server) workers() int {
	if s.Workers > 0 {
		return s.Workers
	}
	return defaultWorkers
}

// take reads a request; false: there is nothing more to do for it.
func (s *Server) take(k *sock, x *exchange) bool {
	s.count.received.Add(1)
	if err := x.parse(k); err != nil {
		s.count.malformed.Add(1)
		s.log().Debug("dhcp: dropped", "from", x.src, "err", err)
		return false
	}
	if x.req.kind == msgLeaseQuery {
		s.leaseQuery(k, x)
		return false
	}
	x.m = x.machine(k)
	if s.unwanted(k, x, &x.m) {
		s.count.ignored.Add(1)
		return false
	}
	return true
}

// serve answers one request, or stays silent.
func (s *Server) serve(ctx context.Context, k *sock, x *exchange) {
	plan, err := s.Planner.Plan(ctx, x.m)
	s.finish(k, x, plan, err)
}

// finish answers as planned.
func (s *Server) finish(k *sock, x *exchange, plan *netboot.Plan, err error) {
	m := &x.m
	s.notice(k, m, plan)
	if err == nil && plan == nil {
		err = netboot.ErrIgnore
	}
	if err != nil {
		s.refuse(m, err)
		return
	}
	s.answer(k, x, m, plan)
}

// unwanted says whether a request is for somebody else altogether: a socket
// that cannot broadcast has no way to a machine without an address, and a
// proxy has nothing to say to one that boots from its disk.
func (s *Server) unwanted(k *sock, x *exchange, m *netboot.Machine) bool {
	if k.relayed && x.destination(k, msgAck).Addr() == broadcastAddr {
		return true
	}
	if k.mode != Proxy {
		return false
	}
	return !m.PXE && !m.HTTPBoot && !m.Loader
}

// refuse ends a request that has no plan.
func (s *Server) refuse(m *netboot.Machine, err error) {
	var no *netboot.Refusal
	switch {
	case errors.Is(err, netboot.ErrIgnore):
		s.count.ignored.Add(1)
	case errors.As(err, &no):
		s.count.refused.Add(1)
		s.tell(netboot.StepRefused, m, no.Node, "", netip.Addr{}, err)
	default:
		s.count.failed.Add(1)
		s.log().Warn("dhcp: no plan", "mac", m.MAC.String(), "err", err)
		s.tell(netboot.StepRefused, m, "", "", netip.Addr{}, err)
	}
}

// answer sends what a plan says and tells of it.
func (s *Server) answer(k *sock, x *exchange, m *netboot.Machine, plan *netboot.Plan) {
	if m.Ask == netboot.AskDiscover {
		s.tell(netboot.StepDiscover, m, plan.Node, "", netip.Addr{}, nil)
	}
	kind, msg, lost := x.reply(k, m, plan)
	if kind == 0 {
		s.silent(m, plan)
		return
	}
	if len(lost) > 0 {
		s.log().Warn("dhcp: options left out, the machine takes no longer message",
			"node", plan.Node, "mac", m.MAC.String(), "options", lost, "octets", x.req.limit)
	}
	to := x.destination(k, kind)
	if err := x.send(k, msg, to); err != nil {
		s.count.failed.Add(1)
		s.log().Warn("dhcp: cannot send", "node", plan.Node, "mac", m.MAC.String(), "to", to, "err", err)
		return
	}
	s.count.sent(kind)
	addr := plan.Addr.Addr()
	if m.Proxy {
		addr = m.Addr // the other server's to give
	}
	s.tell(step(kind, m.Ask), m, plan.Node, plan.File, addr, nil)
	if plan.Why != "" && m.Ask == netboot.AskDiscover {
		s.tell(netboot.StepRefused, m, plan.Node, "", netip.Addr{}, &netboot.Refusal{Node: plan.Node, Reason: plan.Why})
	}
}

// silent ends a request that gets no reply by the protocol's own rules.
func (s *Server) silent(m *netboot.Machine, plan *netboot.Plan) {
	switch m.Ask {
	case netboot.AskRelease:
		s.tell(netboot.StepRelease, m, plan.Node, "", m.Addr, nil)
	case netboot.AskDecline:
		s.tell(netboot.StepDecline, m, plan.Node, "", m.Requested, nil)
	default:
		s.count.ignored.Add(1)
	}
}

func step(kind byte, ask netboot.Ask) netboot.Step {
	switch {
	case kind == msgOffer:
		return netboot.StepOffer
	case kind == msgNak:
		return netboot.StepNak
	case ask == netboot.AskInform:
		return netboot.StepInform
	}
	return netboot.StepAck
}

func (s *Server) tell(step netboot.Step, m *netboot.Machine, node, file string, addr netip.Addr, err error) {
	if s.Observer == nil {
		return
	}
	s.Observer.Observe(netboot.Event{
		Time:    time.Now(),
		Step:    step,
		Proto:   "dhcp",
		Machine: *m,
		Node:    node,
		Name:    file,
		Addr:    addr,
		Done:    true,
		Err:     err,
	})
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// Counts are what a server has done since it began.
type Counts struct {
	Received  uint64 // datagrams
	Malformed uint64 // of them, not DHCP requests
	Ignored   uint64 // not for us: silence
	Dropped   uint64 // too many waited, or it had waited for too long
	Refused   uint64 // the planner's *Refusal
	Failed    uint64 // by our own fault
	Offers    uint64
	Acks      uint64
	Naks      uint64
}

// Counts gives the counts so far.
func (s *Server) Counts() Counts {
	c := &s.count
	return Counts{
		Received:  c.received.Load(),
		Malformed: c.malformed.Load(),
		Ignored:   c.ignored.Load(),
		Dropped:   c.dropped.Load(),
		Refused:   c.refused.Load(),
		Failed:    c.failed.Load(),
		Offers:    c.offers.Load(),
		Acks:      c.acks.Load(),
		Naks:      c.naks.Load(),
	}
}

type counters struct {
	received, malformed, ignored, dropped, refused, failed, offers, acks, naks atomic.Uint64
}

func (c *counters) sent(kind byte) {
	switch kind {
	case msgOffer:
		c.offers.Add(1)
	case msgNak:
		c.naks.Add(1)
	default:
		c.acks.Add(1)
	}
}
