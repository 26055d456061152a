package api

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A crew runs commands: as many at a time as there are processors, since more
// would only take from each other, and each would last as long as all. Those
// that only look at things go first, in the order in which they came; those
// that change something wait for the disk anyway, and lose nothing by being
// stored together.
type crew struct {
	fill func() // takes in commands that have come; nil: they are added by others
	room func() // is called when there is a place again after there was none; may be nil

	mu      sync.Mutex
	going   int   // members at work, less those whose command waits; guarded by mu
	looking queue // guarded by mu
	others  queue // guarded by mu
	resting queue // have begun, and let others go before; guarded by mu
}

// A turn is a command's, until it ends, or says that it waits, or takes long:
// then it waits too, or leaves the processors to others in the runtime's way,
// up to where it can rest.
type turn struct {
	crew *crew
	do   func(*turn)
	came time.Time // or began to rest
	over atomic.Bool
	long *time.Timer // ends it; nil: nothing does

	rests atomic.Bool   // is in rest
	back  chan struct{} // holds one: it has a place again; nil: it has not rested yet
}

const (
	// turnLong is how long a turn may be.
	turnLong = 2 * time.Millisecond
	// turnGrace is how much later a command that only looks may have come and
	// still go before others.
	turnGrace = 20 * time.Millisecond
	// restMost is how long one rests at most while others come.
	restMost = 20 * time.Millisecond
)

// crewSize is how many commands have their turns at once.
func crewSize() int { return runtime.NumCPU() }

// add has a command run when its turn has come.
func (c *crew) add(looks bool, do func(*turn)) {
	t := &turn{crew: c, do: do, came: time.Now()}
	c.mu.Lock()
	if looks {
		c.looking.push(t)
	} else {
		c.others.push(t)
	}
	start := c.going < crewSize()
	if start {
		c.going++
	}
	c.mu.Unlock()
	if start {
		go c.work()
	}
}

// work runs commands one after another, as long as there are some.
func (c *crew) work() {
	for {
		if c.fill != nil {
			c.fill()
		}
		t := c.next()
		if t == nil {
			return
		}
		if t.back != nil { // the place is its own again
			t.resume()
			return
		}
		t.do(t)
		if !t.over.CompareAndSwap(false, true) {
			return // somebody else has the place
		}
	}
}

// next returns whose turn it is. If nobody waits it gives the place up.
func (c *crew) next() *turn {
	c.mu.Lock()
	if t := c.first(); t != nil {
		c.mu.Unlock()
		return t
	}
	was := c.going
	c.going--
	c.mu.Unlock()
	c.leftOf(was)
	return nil
}

// first takes out of those who wait who is to go first.
func (c *crew) first() *turn {
	l, o, r := c.looking.head(), c.others.head(), c.resting.head()
	switch {
	case r != nil && (o == nil && l == nil || time.Since(r.came) > restMost):
		return c.resting.pop()
	case o == nil && l == nil:
		return nil
	case l == nil, o != nil && l.came.Sub(o.came) > turnGrace:
		return c.others.pop()
	}
	return c.looking.pop()
}

// end gives the place of a command that goes on to another. It may be called
// again.
func (t *turn) end() {
	if t == nil || !t.over.CompareAndSwap(false, true) {
		return
	}
	c := t.crew
	c.mu.Lock()
	was, start := c.going, c.waits()
	if !start {
		c.going--
	}
	c.mu.Unlock()
	if start {
		go c.work()
		return
	}
	c.leftOf(was)
}

// waits says whether somebody waits for a place. c.mu is held.
func (c *crew) waits() bool {
	return c.looking.head() != nil || c.others.head() != nil || c.resting.head() != nil
}

// rest lets those who wait go before, as a command with a large answer does
// from time to time, and returns when it has a place. There is none to wait for
// as long as nobody else wants one.
func (t *turn) rest() {
	if t == nil || !t.rests.CompareAndSwap(false, true) {
		return
	}
	defer t.rests.Store(false)
	c := t.crew
	c.mu.Lock()
	waits := c.waits()
	if !t.over.Load() && !waits {
		c.mu.Unlock()
		return
	}
	had := t.over.CompareAndSwap(false, true)
	if !had && !waits && c.going < crewSize() {
		c.going++
		c.mu.Unlock()
		t.again()
		return
	}
	if t.back == nil {
		t.back = make(chan struct{}, 1)
	}
	t.came = time.Now()
	c.resting.push(t)
	c.mu.Unlock()
	if had {
		go c.work()
	}
	<-t.back
}

// resume gives a turn that rests a place.
func (t *turn) resume() {
	t.again()
	t.back <- struct{}{}
}

// again begins a turn anew.
func (t *turn) again() {
	t.over.Store(false)
	if t.long != nil {
		t.long.Reset(turnLong)
	}
}

// leftOf says that one has left when so many were at work.
func (c *crew) leftOf(was int) {
	if was == crewSize() && c.room != nil {
		c.room()
	}
}

// full says whether all places are taken.
func (c *crew) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.going >= crewSize()
}

// A queue is turns in the order in which they came.
type queue struct{ list []*turn }

func (q *queue) push(t *turn) { q.list = append(q.list, t) }

func (q *queue) head() *turn {
	if len(q.list) == 0 {
		return nil
	}
	return q.list[0]
}

func (q *queue) pop() *turn {
	t := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	return t
}
