package bmc

import (
	"context"
	"iter"
	"strconv"
	"sync"
	"time"

	"margay/nodedb"
)

// Limits bound what Each does at a time.
type Limits struct {
	// Busy is how many controllers are worked with at a time: site.ipmimaxp.
	Busy int
	// Open is how many are either worked with or waited for in silence; it
	// bounds sockets. Zero: 4096.
	Open int
	// Budget is the time one target may take in all, waiting for its turn not
	// counted. Zero: 2 minutes.
	Budget time.Duration
}

// The defaults of Limits.
const (
	DefaultBusy   = 64
	defaultOpen   = 4096
	defaultBudget = 2 * time.Minute
)

// LimitsOf are the limits that the site table sets.
func LimitsOf(snap *nodedb.Snapshot) Limits {
	n, err := strconv.Atoi(snap.Site("ipmimaxp"))
	if err != nil || n < 1 {
		n = DefaultBusy
	}
	return Limits{Busy: n}
}

func (l Limits) filled() Limits {
	if l.Busy < 1 {
		l.Busy = DefaultBusy
	}
	if l.Open < 1 {
		l.Open = defaultOpen
	}
	l.Open = max(l.Open, l.Busy)
	if l.Budget <= 0 {
		l.Budget = defaultBudget
	}
	return l
}

// A Result is what came of one target.
type Result[T, R any] struct {
	Target T
	Value  R
	Err    error
}

// Each does fn for every target and yields results as they come. Stopping the
// loop, or the end of ctx, cancels what still runs; Each returns when all of
// it has returned. Targets that were not begun yield ctx's error.
//
// The limit is on controllers that answer: one that is silent gives up its
// place (see Pause), so dead ones cost only their own patience however many
// they are, and all of them at the same time.
func Each[T, R any](ctx context.Context, l Limits, targets []T, fn func(context.Context, T) (R, error)) iter.Seq[Result[T, R]] {
	l = l.filled()
	return func(yield func(Result[T, R]) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		results := make(chan Result[T, R], 16)
		go feed(ctx, l, targets, results, fn)
		more := true
		for r := range results {
			if more && !yield(r) {
				more = false
				cancel()
			}
		}
	}
}

// feed starts the targets in their order, and closes results when all have
// returned.
func feed[T, R any](ctx context.Context, l Limits, targets []T, results chan<- Result[T, R], fn func(context.Context, T) (R, error)) {
	defer close(results)
	var wg sync.WaitGroup
	defer wg.Wait()
	busy, open := make(chan struct{}, l.Busy), make(chan struct{}, l.Open)
	for i, t := range targets {
		if !take(ctx, open) || !take(ctx, busy) {
			for _, t := range targets[i:] {
				results <- Result[T, R]{Target: t, Err: context.Cause(ctx)}
			}
			return
		}
		wg.Go(func() {
			defer func() { <-open }()
			p := newPlace(ctx, busy, l.Budget)
			defer p.close()
			v, err := fn(p.ctx, t)
			results <- Result[T, R]{t, v, err}
		})
	}
}

func take(ctx context.Context, c chan struct{}) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case c <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// A place is one target's share of the limit. Its clock stands still while it
// waits to get the share back.
type place struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	busy   chan struct{}

	mu    sync.Mutex // guards what follows
	held  bool
	ended bool
	timer *time.Timer
	left  time.Duration
	since time.Time
}

type placeKey struct{}

func newPlace(ctx context.Context, busy chan struct{}, budget time.Duration) *place {
	p := &place{busy: busy, held: true, left: budget, since: time.Now()}
	ctx, p.cancel = context.WithCancelCause(ctx)
	p.ctx = context.WithValue(ctx, placeKey{}, p)
	p.timer = time.AfterFunc(budget, func() { p.cancel(ErrTimeout) })
	return p
}

func (p *place) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer.Stop()
	p.cancel(nil)
	p.ended = true
	if p.held {
		p.held = false
		<-p.busy
	}
}

// give lets another target have the place; it says whether there was one.
func (p *place) give() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.held {
		return false
	}
	p.held = false
	<-p.busy
	return true
}

// regain waits for a place with the clock stopped.
func (p *place) regain(ctx context.Context) error {
	p.mu.Lock()
	p.timer.Stop()
	p.left -= time.Since(p.since)
	p.mu.Unlock()
	got := take(ctx, p.busy)
	p.mu.Lock()
	defer p.mu.Unlock()
	if got && p.ended {
		<-p.busy // too late: fn has returned
		return context.Canceled
	}
	p.held = got
	if !got {
		return context.Cause(ctx)
	}
	p.since = time.Now()
	p.timer.Reset(max(p.left, 0))
	return nil
}

// Pause says that the work under ctx now waits for a machine that is silent,
// so that Each may begin another. Call resume when the machine has answered;
// it waits for a place. Outside Each both do nothing. It is for those who
// speak to controllers.
func Pause(ctx context.Context) (resume func(context.Context) error) {
	p, _ := ctx.Value(placeKey{}).(*place)
	if p == nil || !p.give() {
		return func(context.Context) error { return nil }
	}
	return p.regain
}
