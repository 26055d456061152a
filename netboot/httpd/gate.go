package httpd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"margay/netboot"
)

// largeFile is from where on a file waits its turn. Smaller ones never do:
// scripts and configurations are what a machine's own clock is set for.
const largeFile = 1 << 20

// How long a large file waits for its turn. Firmware gives a request 10 s, so
// it is then served whatever else is under way; iPXE understands Retry-After
// and is told to come back.
const (
	turnTime   = 6 * time.Second
	retryAfter = "5" // seconds
)

// slowTime is how long a client may take over a slice of a file and keep its
// turn: half of what it has for it.
const slowTime = stallTime / 2

// A gate gives so many turns at once, in the order in which they are asked for.
// Where none is left it takes those of who is slow, and of an address that has more
// than its share for one that has less. Who has lost his turn goes on without.
type gate struct {
	mu      sync.Mutex // guards the rest
	free    int
	share   int // turns of an address that no other one takes
	turns   map[*turn]struct{}
	byAddr  map[netip.Addr]int
	over    int // addresses with more than their share
	waiting []*turn
}

// A turn is a large file's, once it is given.
type turn struct {
	addr  netip.Addr
	given chan struct{} // closed then
	moved atomic.Int64  // when its client last had a slice, in ns
}

var errTurn = errors.New("not yet")

func newGate(n int) *gate {
	return &gate{free: n, share: max(1, n/4), turns: make(map[*turn]struct{}), byAddr: make(map[netip.Addr]int)}
}

// pass gives addr a turn if it need not wait for it, else nil.
func (g *gate) pass(addr netip.Addr) *turn {
	t := &turn{addr: addr}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) > 0 || !g.give(t) {
		return nil
	}
	return t
}

// enter returns with addr's turn; errTurn if it does not come in time.
func (g *gate) enter(ctx context.Context, addr netip.Addr, within time.Duration) (*turn, error) {
	t := &turn{addr: addr, given: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, t)
	g.next()
	g.mu.Unlock()

	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-t.given:
		return t, nil
	case <-ctx.Done():
	case <-timer.C:
	}
	return g.giveUp(t)
}

// giveUp leaves the queue. A turn that came at the same moment is taken.
func (g *gate) giveUp(t *turn) (*turn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next()
	if i := slices.Index(g.waiting, t); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		return nil, errTurn
	}
	return t, nil
}

// leave ends a turn, if there is one.
func (g *gate) leave(t *turn) {
	if t == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end(t)
	g.next()
}

// next gives turns to those who wait. The caller holds mu, as in what follows.
func (g *gate) next() {
	left := g.waiting[:0]
	for i, t := range g.waiting {
		if g.give(t) {
			close(t.given)
			continue
		}
		left = append(left, t)
		if g.over == 0 { // so none is left for others either
			left = append(left, g.waiting[i+1:]...)
			break
		}
	}
	clear(g.waiting[len(left):])
	g.waiting = left
}

func (g *gate) give(t *turn) bool {
	if g.free == 0 && !g.takeBack(t.addr) {
		return false
	}
	g.free--
	g.turns[t] = struct{}{}
	if g.byAddr[t.addr]++; g.byAddr[t.addr] == g.share+1 {
		g.over++
	}
	t.took(time.Now())
	return true
}

// takeBack ends a turn for addr, and says whether there was one to take.
func (g *gate) takeBack(addr netip.Addr) bool {
	since := time.Now().Add(-slowTime).UnixNano()
	var more *turn
	for t := range g.turns {
		if t.moved.Load() < since {
			g.end(t)
			return true
		}
		if g.over > 0 && g.byAddr[t.addr] > g.share {
			more = t
		}
	}
	if more == nil || g.byAddr[addr] >= g.share {
		return false
	}
	g.end(more)
	return true
}

func (g *gate) end(t *turn) {
	if _, ok := g.turns[t]; !ok {
		return
	}
	delete(g.turns, t)
	g.free++
	switch g.byAddr[t.addr]--; g.byAddr[t.addr] {
	case 0:
		delete(g.byAddr, t.addr)
	case g.share:
		g.over--
	}
}

// took says that the client had a slice just now.
func (t *turn) took(now time.Time) {
	if t != nil {
		t.moved.Store(now.UnixNano())
	}
}

// wait holds a large file until it is its turn, which is to be left. The error
// means that the machine may be told to ask again; others are served beyond the
// limit, for a refusal would end their boot.
func (s *Server) wait(w http.ResponseWriter, r *http.Request, m netboot.Machine) (*turn, error) {
	g := s.turns()
	if g == nil {
		return nil, nil
	}
	if t := g.pass(m.Addr); t != nil {
		return t, nil
	}
	ctx := r.Context()
	if own, ok := w.(*reply); ok { // net/http watches by itself
		var stop func()
		ctx, stop = own.conn.watch(ctx)
		defer stop()
	}
	t, err := g.enter(ctx, m.Addr, turnTime)
	if err != nil && strings.HasPrefix(m.Agent, "iPXE/") {
		return nil, err
	}
	return t, nil
}

func (s *Server) turns() *gate {
	if s.Sends <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate == nil {
		s.gate = newGate(s.Sends)
	}
	return s.gate
}

// retry tells a machine to come back.
func (s *Server) retry(w http.ResponseWriter, m netboot.Machine, f *netboot.File, name string) {
	s.log().Debug("http: busy, told to come back", "node", f.Node, "addr", m.Addr, "file", shown(name))
	s.mu.Lock()
	s.busy++
	s.mu.Unlock()
	w.Header().Set("Retry-After", retryAfter)
	say(w, http.StatusServiceUnavailable, "busy; ask again in "+retryAfter+" s")
	s.observe(netboot.Event{Step: netboot.StepRefused, Machine: m, Node: f.Node, Err: &netboot.Refusal{Node: f.Node, Reason: fmt.Sprintf(
		"%d large files are on their way already; told to ask again in %s s, which iPXE does by itself", s.Sends, retryAfter)}})
}

// A Load is what a server is busy with.
type Load struct {
	Conns   int    // open connections
	Sending int    // large files that hold a turn; 0 without a limit
	Waiting int    // large files that wait for one
	Busy    uint64 // machines that were told to come back, so far
	Closed  uint64 // connections that were closed at a limit, so far
}

// Load returns what s is busy with.
func (s *Server) Load() Load {
	g := s.turns()
	s.mu.Lock()
	l := Load{Conns: len(s.conns), Busy: s.busy, Closed: s.closed}
	s.mu.Unlock()
	if g != nil {
		g.mu.Lock()
		l.Sending, l.Waiting = s.Sends-g.free, len(g.waiting)
		g.mu.Unlock()
	}
	return l
}
