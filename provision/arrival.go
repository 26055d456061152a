package provision

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"margay/nodedb"
)

// A Door is a port that a system answers at once it is up.
type Door struct {
	Name  string // "API port 443"
	Addr  netip.AddrPort
	Vital bool // without it the system is of no use
}

// A doorkeeper is a family whose systems have doors.
type doorkeeper interface {
	Doors(b *Boot) []Door
}

// How long after a node's last word its doors are knocked at, and how often.
const (
	knockEvery  = 5 * time.Second
	knockSlower = time.Minute // from giveUp on
	giveUp      = 10 * time.Minute
	forget      = 24 * time.Hour
	// installerGone is how long after "installed" what answers may still be the
	// installer itself, if nothing else was seen of the machine.
	installerGone = 3 * time.Minute
	// knocks is how many doors are knocked at at once.
	knocks = 64
)

// An arrival is a node that said its last word and is not yet seen to be up.
type arrival struct {
	secret string    // of its attempt
	next   time.Time // when to knock
	gone   bool      // the installer is: its port was found closed since
	silent bool      // said so
}

// arrivals are the nodes that are knocked at.
type arrivals struct {
	mu    sync.Mutex
	nodes map[string]*arrival
	sem   chan struct{}
}

// expect adds a node, if its family has doors.
func (s *Service) expectArrival(node, osName, secret string) {
	f, err := s.family(osName)
	if _, ok := f.(doorkeeper); err != nil || !ok || s.Reach == nil {
		return
	}
	s.arrivals.mu.Lock()
	defer s.arrivals.mu.Unlock()
	if old := s.arrivals.nodes[node]; old != nil && old.secret == secret {
		return
	}
	s.arrivals.nodes[node] = &arrival{secret: secret}
}

// recallArrivals goes on where an earlier daemon was.
func (s *Service) recallArrivals() {
	snap := s.DB.Snapshot()
	for _, r := range snap.Records(kindAttempt) {
		a := attempt(snap, r.Name)
		if n, err := snap.Node(r.Name); err == nil && a != nil && a.arriving() {
			s.expectArrival(n.Name, n.OS, a.Secret)
		}
	}
}

// arriving says whether the attempt's node is still to be seen up.
func (a *Attempt) arriving() bool {
	return !a.Up && (a.Phase == PhaseBooted || a.Phase == PhaseInstalled && a.Mode == nodedb.ModeInstall)
}

// watchArrivals knocks until ctx is done.
func (s *Service) watchArrivals(ctx context.Context) {
	s.recallArrivals()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.knock(ctx)
		}
	}
}

// knock knocks once at the doors of all nodes whose time it is, and returns
// when all have answered or not.
func (s *Service) knock(ctx context.Context) {
	now := s.Now()
	var wg sync.WaitGroup
	s.arrivals.mu.Lock()
	for node, ar := range s.arrivals.nodes {
		if now.Before(ar.next) {
			continue
		}
		ar.next = now.Add(knockEvery)
		wg.Go(func() { s.knockAt(ctx, node, ar) })
	}
	s.arrivals.mu.Unlock()
	wg.Wait()
}

func (s *Service) dropArrival(node string, ar *arrival) {
	s.arrivals.mu.Lock()
	if s.arrivals.nodes[node] == ar {
		delete(s.arrivals.nodes, node)
	}
	s.arrivals.mu.Unlock()
}

// knockAt knocks at one node's doors.
func (s *Service) knockAt(ctx context.Context, node string, ar *arrival) {
	select {
	case s.arrivals.sem <- struct{}{}:
		defer func() { <-s.arrivals.sem }()
	case <-ctx.Done():
		return
	}
	snap := s.DB.Snapshot()
	n, err := snap.Node(node)
	a := attempt(snap, node)
	if err != nil || a == nil || a.Secret != ar.secret || !a.arriving() || s.Now().Sub(a.At) > forget {
		s.dropArrival(node, ar)
		return
	}
	doors := s.doors(snap, n)
	if len(doors) == 0 {
		s.dropArrival(node, ar)
		return
	}
	var open, shut []string
	up := true
	for _, d := range doors {
		if err := s.Reach(ctx, d.Addr); err != nil {
			shut = append(shut, fmt.Sprintf("%s does not answer (%v)", d.Name, err))
			up = up && !d.Vital
			continue
		}
		open = append(open, d.Name+" answers")
	}
	if ctx.Err() != nil {
		return
	}
	waited := s.Now().Sub(a.At)
	if a.Phase == PhaseInstalled && !s.installerIsGone(node, ar, up, waited) {
		return
	}
	words := strings.Join(append(open, shut...), ", ")
	switch {
	case up && (len(shut) == 0 || waited > giveUp):
		if s.arrived(ctx, n, a, words) == nil {
			s.dropArrival(node, ar)
		}
	case !up && waited > giveUp && a.Phase == PhaseBooted:
		ar.next = s.Now().Add(knockSlower)
		if !ar.silent && s.unreachable(ctx, n, a, words) == nil {
			ar.silent = true
		}
	}
}

// installerIsGone says whether what answers can be the installed system: the
// machine was told to boot from its disk, or its port was closed meanwhile, or
// enough time went by.
func (s *Service) installerIsGone(node string, ar *arrival, up bool, waited time.Duration) bool {
	if !up || waited > installerGone || s.journal.reached(node, StepLocalBoot) {
		ar.gone = true
	}
	return ar.gone
}

// doors are those of a node's system.
func (s *Service) doors(snap *nodedb.Snapshot, n *nodedb.Node) []Door {
	b, f, err := s.boot(snap, n, current(snap, n), s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return nil
	}
	if k, ok := f.(doorkeeper); ok {
		return k.Doors(b)
	}
	return nil
}

// arrived writes that a node's system answers.
func (s *Service) arrived(ctx context.Context, n *nodedb.Node, a *Attempt, words string) error {
	booted := false
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		booted = false
		now := attempt(tx.Snapshot(), n.Name)
		if now == nil || now.Secret != a.Secret {
			return nil
		}
		if booted = now.Phase == PhaseInstalled; booted {
			now.Phase = PhaseBooted
		}
		now.Up = true
		tx.Put(attemptKey(n.Name), now.attrs())
		if at, err := tx.Snapshot().Node(n.Name); err == nil && (booted || at.Status == nodedb.StatusUnreachable) {
			s.setStatus(tx, n.Name, nodedb.StatusBooted)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if booted {
		words += "; it said no word itself, as %firstboot does not run with Secure Boot on"
		s.journal.good(n.Name)
	}
	s.journal.step(n.Name, a.Mode, StepAnswers, words)
	return nil
}

// unreachable writes that a node said it is up, and does not answer.
func (s *Service) unreachable(ctx context.Context, n *nodedb.Node, a *Attempt, words string) error {
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		if now := attempt(tx.Snapshot(), n.Name); now != nil && now.Secret == a.Secret {
			s.setStatus(tx, n.Name, nodedb.StatusUnreachable)
		}
		return nil
	})
	if err == nil {
		s.journal.step(n.Name, a.Mode, StepSilent, fmt.Sprintf("%s after its last word: %s; is its management network the one that the table says?", giveUp, words))
	}
	return err
}
