package httpd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
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

// A gate lets so many in at once, and the others in the order they came.
type gate struct {
	mu      sync.Mutex // guards the rest
	free    int
	waiting []chan struct{}
}

var errTurn = errors.New("not yet")

// pass lets the caller in if it need not wait.
func (g *gate) pass() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free > 0 {
		g.free--
		return true
	}
	return false
}

// enter returns when it is the caller's turn; errTurn if it is not in time.
func (g *gate) enter(ctx context.Context, within time.Duration) error {
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{}, 1)
	g.waiting = append(g.waiting, turn)
	g.mu.Unlock()

	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	return g.giveUp(turn)
}

// giveUp leaves the queue. A turn that came at the same moment is taken.
func (g *gate) giveUp(turn chan struct{}) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, t := range g.waiting {
		if t == turn {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return errTurn
		}
	}
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.free++
		return
	}
	g.waiting[0] <- struct{}{}
	g.waiting = g.waiting[1:]
}

// wait holds a large file until it is its turn. The error means that the
// machine may be told to ask again; others are served beyond the limit, for a
// refusal would end their boot.
func (s *Server) wait(w http.ResponseWriter, r *http.Request, m netboot.Machine) (leave func(), err error) {
	g := s.turns()
	switch {
	case g == nil:
		return func() {}, nil
	case g.pass():
		return g.leave, nil
	}
	ctx := r.Context()
	if own, ok := w.(*reply); ok { // net/http watches by itself
		var stop func()
		ctx, stop = own.conn.watch(ctx)
		defer stop()
	}
	if err := g.enter(ctx, turnTime); err == nil {
		return g.leave, nil
	}
	if strings.HasPrefix(m.Agent, "iPXE/") {
		return nil, errTurn
	}
	return func() {}, nil
}

func (s *Server) turns() *gate {
	if s.Sends <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate == nil {
		s.gate = &gate{free: s.Sends}
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
