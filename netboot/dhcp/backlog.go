package dhcp

import (
	"sync"
	"sync/atomic"
	"time"
)

// backlogSize is how many requests stand in line for those that wait: a rack
// that is switched on at once, and a second's worth of a disk that stands still.
const backlogSize = 2048

// A backlog is requests that may have to wait, in line, and the hands that do
// so. Hands are had as they are needed, up to a number, and stay: a new
// goroutine's stack has to grow first.
type backlog struct {
	line chan *exchange
	do   func(*exchange)
	most int
	free atomic.Int32 // hands that have nothing to do

	deferred deferred

	mu    sync.Mutex
	hands int // guarded by mu
	all   sync.WaitGroup
}

func newBacklog(most int, do func(*exchange)) *backlog {
	return &backlog{line: make(chan *exchange, backlogSize), do: do, most: most}
}

// put puts a request in the line; false: it is full.
func (b *backlog) put(x *exchange) bool {
	x.at = time.Now()
	select {
	case b.line <- x:
	default:
		return false
	}
	if int(b.free.Load()) < len(b.line) {
		b.hire()
	}
	return true
}

// hire has one hand more, if there may be one.
func (b *backlog) hire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hands >= b.most {
		return
	}
	b.hands++
	b.all.Go(func() {
		for {
			b.free.Add(1)
			x, ok := <-b.line
			b.free.Add(-1)
			if !ok {
				return
			}
			b.do(x)
		}
	})
}

// close waits until what is in the line is done. Nothing may be put any more.
func (b *backlog) close() {
	close(b.line)
	b.all.Wait()
}

// deferred counts the requests that are answered later, without a hand.
type deferred struct {
	n   atomic.Int32
	all sync.WaitGroup
}

// begin counts one more; false: there are too many.
func (d *deferred) begin() bool {
	if d.n.Add(1) > backlogSize {
		d.n.Add(-1)
		return false
	}
	d.all.Add(1)
	return true
}

func (d *deferred) end() {
	d.n.Add(-1)
	d.all.Done()
}

// wait returns when all have been answered. None may begin any more.
func (d *deferred) wait() { d.all.Wait() }
