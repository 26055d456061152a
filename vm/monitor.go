package vm

import (
	"context"
	"errors"
	"sync"
	"time"

	"margay/nodedb"
)

// A Watcher tells of guests as they change.
type Watcher interface {
	// Watch tells of all guests first, then of those that change, until ctx is
	// done or the connection is lost; with ErrSession it is only the session,
	// and watching again goes on where it ended. gone are IDs. It is told of a
	// guest's name, state, host, tools, address and question.
	Watch(ctx context.Context, seen func(changed []VM, gone []string)) error
}

// A monitor watches one endpoint for all who want to know, through one
// collector, as long as anybody does.
type monitor struct {
	m      *Manager
	e      Endpoint
	users  int // guarded by m.mu
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended

	mu      sync.Mutex
	guests  map[string]VM          // by ID; guarded by mu, as all below
	ready   bool                   // the first look is over
	err     error                  // why nothing is seen
	waiting map[chan struct{}]bool // told that something is new
}

// monitorOf joins an endpoint's monitor; the caller calls leave.
func (m *Manager) monitorOf(e Endpoint) *monitor {
	m.mu.Lock()
	defer m.mu.Unlock()
	if mon := m.monitors[e.Key()]; mon != nil {
		mon.users++
		return mon
	}
	ctx, cancel := context.WithCancel(context.Background())
	mon := &monitor{m: m, e: e, users: 1, cancel: cancel, done: make(chan struct{}), guests: map[string]VM{}, waiting: map[chan struct{}]bool{}}
	if m.monitors == nil {
		m.monitors = map[string]*monitor{}
	}
	m.monitors[e.Key()] = mon
	go mon.run(ctx)
	return mon
}

// leave ends the monitor with its last user.
func (mon *monitor) leave() {
	mon.m.mu.Lock()
	mon.users--
	last := mon.users == 0
	if last {
		delete(mon.m.monitors, mon.e.Key())
	}
	mon.m.mu.Unlock()
	if last {
		mon.cancel()
		<-mon.done
	}
}

// How long an endpoint that was lost is left alone: a second at first, then
// twice as long each time, half a minute at most.
const (
	watchFirst = time.Second
	watchMost  = 30 * time.Second
	maxEnded   = 3 // sessions that end before anything is seen are said to
)

func (mon *monitor) run(ctx context.Context) {
	defer close(mon.done)
	pause, ended := watchFirst, 0
	for ctx.Err() == nil {
		err := mon.once(ctx, func() { pause, ended = watchFirst, 0 })
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrSession) {
			if ended++; ended <= maxEnded {
				continue // nothing was lost, and nobody need know
			}
		}
		mon.fail(err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, watchMost)
	}
}

// once watches until the connection is lost. What was known before and is not
// told of again is gone.
func (mon *monitor) once(ctx context.Context, well func()) error {
	hv, err := mon.m.Open(ctx, mon.e)
	if err != nil {
		return err
	}
	w, ok := as[Watcher](hv)
	if !ok {
		return ErrUnsupported
	}
	first := true
	return w.Watch(ctx, func(changed []VM, gone []string) {
		mon.mu.Lock()
		defer mon.mu.Unlock()
		if first {
			first = false
			clear(mon.guests)
			well()
		}
		mon.ready, mon.err = true, nil
		for _, v := range changed {
			mon.guests[v.ID] = v
		}
		for _, id := range gone {
			delete(mon.guests, id)
		}
		mon.tell()
	})
}

func (mon *monitor) fail(err error) {
	mon.mu.Lock()
	defer mon.mu.Unlock()
	mon.err = err
	mon.tell()
}

// tell wakes all who wait; mu is held.
func (mon *monitor) tell() {
	for ch := range mon.waiting {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// subscribe returns a channel on which there is something whenever something
// is new, and what ends that.
func (mon *monitor) subscribe() (news chan struct{}, stop func()) {
	news = make(chan struct{}, 1)
	news <- struct{}{}
	mon.mu.Lock()
	defer mon.mu.Unlock()
	mon.waiting[news] = true
	return news, func() {
		mon.mu.Lock()
		defer mon.mu.Unlock()
		delete(mon.waiting, news)
	}
}

// look is what is known of guests by name.
func (mon *monitor) look() (guests map[string][]VM, ready bool, err error) {
	mon.mu.Lock()
	defer mon.mu.Unlock()
	guests = map[string][]VM{}
	for _, v := range mon.guests {
		guests[v.Name] = append(guests[v.Name], v)
	}
	return guests, mon.ready, mon.err
}

// Watch tells how guests are and whatever changes of it, until ctx is done:
// power, host, VMware Tools, address, questions. Each endpoint is watched
// through one collector, however many guests and however many watch.
func (m *Manager) Watch(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, emit Emit) {
	emit = serial(emit)
	var wg sync.WaitGroup
	for _, b := range batches(snap, nodes, emit) {
		wg.Go(func() { m.watchBatch(ctx, b, emit) })
	}
	wg.Wait()
}

func (m *Manager) watchBatch(ctx context.Context, b *batch, emit Emit) {
	mon := m.monitorOf(b.e)
	defer mon.leave()
	news, stop := mon.subscribe()
	defer stop()
	shown := map[string]map[string]string{}
	failed := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
		guests, ready, err := mon.look()
		if err != nil {
			if err.Error() != failed {
				fail(b.guests, emit, err)
			}
			failed = err.Error()
			continue
		}
		failed = ""
		if !ready {
			continue
		}
		for _, g := range b.guests {
			v, err := pick(g, guests[g.Name])
			if err != nil {
				continue
			}
			now := sight(v)
			for _, what := range []string{"power", "host", "tools", "address", "question"} {
				if was := shown[g.Name]; now[what] != was[what] {
					emit(Result{Node: g.Name, Text: what + ": " + orNone(now[what])})
				}
			}
			shown[g.Name] = now
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// sight is what is shown of a guest, by what it is.
func sight(v *VM) map[string]string {
	if v == nil {
		return map[string]string{"power": "not on its host"}
	}
	out := map[string]string{"power": string(v.State), "host": v.Host, "address": v.Address}
	if v.Tools {
		out["tools"] = "running"
	}
	if v.Question != nil {
		out["question"] = v.Question.Text
	}
	return out
}
