package nodedb

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// A line is the updates that ran into others. They take turns, each on what
// those before it leave, and go to the store together: a record that everybody
// writes costs one commit for all who wait, not one for each.
type line struct {
	mu      sync.Mutex
	waiting []*turn     // guarded by mu
	led     bool        // somebody commits for those who wait; guarded by mu
	busy    map[Key]int // records that updates in the line write; guarded by mu
}

// A turn is one update in the line.
type turn struct {
	ctx   context.Context
	keys  []Key
	begin chan *round // its turn to run, or to lead if nil
	ran   chan struct{}
	tries int
}

// A round is what goes to the store together.
type round struct {
	b       *builder
	base    *Snapshot
	changes map[Key]*Change
	order   []*Change
	done    chan struct{}
	err     error // of all; set before done is closed
}

// notYet is behind all revisions of stores.
const notYet = 1 << 62

const (
	lineMost = 256 // updates in a round
	busyMost = 64  // records of an update that others look out for
	maxTries = 100 // rounds that an update takes part in before it gives up
)

// isBusy says whether updates in the line write one of these records: then
// they would run into each other.
func (l *line) isBusy(changes []Change) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.busy) == 0 {
		return false
	}
	for _, c := range changes[:min(len(changes), busyMost)] {
		if l.busy[c.Key] > 0 {
			return true
		}
	}
	return false
}

func (l *line) enter(ctx context.Context, changes []Change) *turn {
	t := &turn{ctx: ctx, begin: make(chan *round)}
	for _, c := range changes[:min(len(changes), busyMost)] {
		t.keys = append(t.keys, c.Key)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy == nil {
		l.busy = make(map[Key]int)
	}
	for _, k := range t.keys {
		l.busy[k]++
	}
	return t
}

func (l *line) leave(t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range t.keys {
		if l.busy[k]--; l.busy[k] == 0 {
			delete(l.busy, k)
		}
	}
}

// stand puts an update at the end of the line. It is true if nobody leads: the
// caller has to.
func (l *line) stand(t *turn) (lead bool) {
	t.ran = make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.led {
		l.waiting = append(l.waiting, t)
		return false
	}
	l.led = true
	return true
}

// next takes those who wait out of the line.
func (l *line) next() []*turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.waiting), lineMost)
	list := l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	return list
}

// pass hands the lead to the first who waits.
func (l *line) pass() {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.led = false
			l.mu.Unlock()
			return
		}
		t := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		select {
		case t.begin <- nil:
			return
		case <-t.ctx.Done():
		}
	}
}

// inLine runs an update among others that write the same records.
func (db *DB) inLine(ctx context.Context, fn func(*Tx) error, changes []Change) error {
	t := db.line.enter(ctx, changes)
	defer db.line.leave(t)
	for {
		err := db.turn(t, fn)
		if t.tries++; !errors.Is(err, ErrConflict) || t.tries >= maxTries {
			return err
		}
	}
}

// turn waits for an update's turn, runs it, and waits for the store.
func (db *DB) turn(t *turn, fn func(*Tx) error) error {
	if db.line.stand(t) {
		return db.lead(t, fn)
	}
	select {
	case r := <-t.begin:
		if r == nil {
			return db.lead(t, fn)
		}
		return r.result(t.ctx, db.step(t, r, fn))
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}

// step runs one update of a round, in the update's own goroutine.
func (db *DB) step(t *turn, r *round, fn func(*Tx) error) error {
	defer close(t.ran) // also if fn panics
	return r.add(db, t.ctx, fn)
}

// result waits for the round's end. An error of fn's own says something about
// the table only if what fn saw has come to be.
func (r *round) result(ctx context.Context, own error) error {
	select {
	case <-r.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.err != nil {
		return r.err
	}
	return own
}

// lead runs an update and those behind it, and commits for all.
func (db *DB) lead(t *turn, fn func(*Tx) error) error {
	defer db.line.pass()
	r := &round{base: db.Snapshot(), changes: make(map[Key]*Change), done: make(chan struct{}), err: errEndedEarly}
	defer close(r.done)
	r.b = &builder{snap: r.base, sets: make(map[string]*groupSet), max: setsMin}
	own := r.add(db, t.ctx, fn)
	all := []context.Context{t.ctx}
	for _, other := range db.line.next() {
		select {
		case other.begin <- r:
			<-other.ran
			all = append(all, other.ctx)
		case <-other.ctx.Done():
		}
	}
	ctx, cancel := whileAny(all)
	defer cancel()
	r.err = nil
	if list := r.list(); len(list) > 0 {
		r.err = db.commit(ctx, r.base, list)
	}
	if r.err != nil {
		return r.err
	}
	return own
}

var errEndedEarly = errors.New("the update that it was to be stored with ended early")

// whileAny returns a context that is done when all are.
func whileAny(list []context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(list[0]))
	left := new(atomic.Int64)
	left.Store(int64(len(list)))
	var stops []func() bool
	for _, c := range list {
		stops = append(stops, context.AfterFunc(c, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		}))
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// add runs an update on what the others of the round left.
func (r *round) add(db *DB, ctx context.Context, fn func(*Tx) error) error {
	tx := db.begin(r.b.snap)
	changes, err := tx.run(fn)
	if err != nil || len(changes) == 0 {
		return err
	}
	changes = append(changes, entry(ctx, tx.snap, changes)...)
	recs := make([]Record, len(changes))
	for i, c := range changes {
		recs[i] = Record{Key: c.Key, Attrs: c.Attrs, Rev: c.If}
		r.merge(c)
	}
	// A revision that no other snapshot has, for those who remember by it.
	r.b.apply(recs, notYet+db.rounds.Add(1))
	return nil
}

// merge puts a change behind those that there are.
func (r *round) merge(c Change) {
	before := r.changes[c.Key]
	if before == nil {
		r.changes[c.Key] = &c
		r.order = append(r.order, &c)
		return
	}
	if before.Touched != nil && c.Touched != nil {
		before.Touched = append(before.Touched[:len(before.Touched):len(before.Touched)], c.Touched...)
	} else {
		before.Touched = nil
	}
	before.Attrs = c.Attrs
}

// list is what the store is given. What came and went within the round is left
// out.
func (r *round) list() []Change {
	list := make([]Change, 0, len(r.order))
	for _, c := range r.order {
		if c.Attrs != nil || c.If != 0 {
			list = append(list, *c)
		}
	}
	return list
}
