package nodedb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A DB keeps the newest snapshot of a store. Every change, its own too, comes
// to it through the store's Watch.
type DB struct {
	store  Store
	snap   atomic.Pointer[Snapshot]
	cancel context.CancelFunc
	done   chan struct{}
	line   line         // of updates that ran into others
	rounds atomic.Int64 // snapshots that updates in the line were given

	mu   sync.Mutex
	seen chan struct{}     // closed and replaced at every new snapshot; guarded by mu
	subs map[*sub]struct{} // guarded by mu
	err  error             // why the store is not being followed; guarded by mu
}

// New loads the store and follows it until Close. The DB owns the store.
func New(ctx context.Context, store Store) (*DB, error) {
	recs, rev, err := store.Load(ctx)
	if err != nil {
		return nil, err
	}
	follow, cancel := context.WithCancel(context.Background())
	db := &DB{store: store, cancel: cancel, done: make(chan struct{}), seen: make(chan struct{}), subs: make(map[*sub]struct{})}
	b := newBuilder()
	db.publish(b.load(recs, rev))
	go db.Snapshot().Nodes() // so that the first to ask need not wait for all to be worked out
	go func() {
		defer close(db.done)
		db.follow(follow, b)
	}()
	return db, nil
}

// Snapshot returns the newest snapshot. It never blocks.
func (db *DB) Snapshot() *Snapshot { return db.snap.Load() }

// Err returns why the store is not being followed just now, nil if it is: then
// Snapshot shows the last view, and will catch up.
func (db *DB) Err() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.err
}

// Close ends the following and closes the store.
func (db *DB) Close() error {
	db.cancel()
	<-db.done
	return db.store.Close()
}

// follow applies the store's commits until ctx is done.
func (db *DB) follow(ctx context.Context, b *builder) {
	wait := minWait
	for ctx.Err() == nil {
		err := db.store.Watch(ctx, b.snap.rev, func(recs []Record, rev int64) {
			wait = minWait
			if len(recs) == 0 {
				db.fail(nil)
				return
			}
			db.publish(b.apply(recs, rev))
		})
		if errors.Is(err, ErrCompact) {
			err = db.reload(ctx, b)
		}
		if err == nil {
			continue
		}
		db.fail(err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			wait = min(2*wait, maxWait)
		}
	}
}

// How long to wait before the store is asked again after an error.
const (
	minWait = 100 * time.Millisecond
	maxWait = 5 * time.Second
)

// reload takes the store's present state whole.
func (db *DB) reload(ctx context.Context, b *builder) error {
	recs, rev, err := db.store.Load(ctx)
	if err != nil {
		return err
	}
	db.publish(b.load(recs, rev))
	return nil
}

// publish makes a snapshot the newest.
func (db *DB) publish(s *Snapshot) {
	db.snap.Store(s)
	db.mu.Lock()
	defer db.mu.Unlock()
	db.err = nil
	close(db.seen)
	db.seen = make(chan struct{})
	for s := range db.subs {
		s.nudge()
	}
}

// fail notes why the store is not being followed.
func (db *DB) fail(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.err = err
}

// Update runs fn and commits what it put, all or nothing. fn runs again, on a
// newer snapshot, if a record that it wrote was changed meanwhile, so it may
// have no other effect. When Update returns nil, Snapshot shows the change.
// An error of fn is returned as it is, and nothing is changed.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	tx := db.begin(db.Snapshot())
	changes, err := tx.run(fn)
	if err != nil || len(changes) == 0 {
		return err
	}
	if db.line.isBusy(changes) {
		return db.inLine(ctx, fn, changes)
	}
	err = db.commit(ctx, tx.snap, append(changes, entry(ctx, tx.snap, changes)...))
	if errors.Is(err, ErrConflict) {
		return db.inLine(ctx, fn, changes)
	}
	return err
}

func (db *DB) begin(snap *Snapshot) *Tx {
	tx := &Tx{snap: snap, pending: make(map[Kind]*pendings)}
	tx.seal, _ = db.store.(*sealed)
	return tx
}

// run runs fn and returns what is to be committed.
func (tx *Tx) run(fn func(*Tx) error) ([]Change, error) {
	if err := fn(tx); err != nil {
		return nil, errNotRetried(err)
	}
	if err := tx.settle(); err != nil {
		return nil, err
	}
	return tx.changes()
}

// commit commits changes that were made on snap, and waits until they are
// seen. After ErrConflict the snapshot is newer than it was.
func (db *DB) commit(ctx context.Context, snap *Snapshot, changes []Change) error {
	rev, err := db.store.Commit(ctx, changes)
	if errors.Is(err, ErrConflict) {
		if err := db.wait(ctx, snap.rev+1); err != nil {
			return fmt.Errorf("a record was changed meanwhile, and the change does not arrive: %v", err)
		}
		return err
	}
	if err != nil {
		return err
	}
	if err := db.wait(ctx, rev); err != nil {
		return fmt.Errorf("stored as revision %d, but not seen yet: %w", rev, err)
	}
	return nil
}

// errNotRetried keeps an error of fn's own from being taken for the store's.
func errNotRetried(err error) error {
	if errors.Is(err, ErrConflict) {
		return fmt.Errorf("%v", err)
	}
	return err
}

// wait returns when the snapshot is at revision rev or later.
func (db *DB) wait(ctx context.Context, rev int64) error {
	for {
		db.mu.Lock()
		seen := db.seen
		db.mu.Unlock()
		if db.Snapshot().rev >= rev {
			return nil
		}
		select {
		case <-seen:
		case <-ctx.Done():
			return ctx.Err()
		case <-db.done:
			return errors.New("the table is closed")
		}
	}
}

// A sub is told of new snapshots, one goroutine each.
type sub struct {
	news chan struct{} // holds one
	stop chan struct{}
}

func (s *sub) nudge() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// Subscribe calls fn with the newest snapshot, at once and after changes: the
// newest always, those before it perhaps not. Calls come one after another from
// a goroutine of their own. After cancel there are no new calls; one that
// runs may still be running. Close cancels all.
func (db *DB) Subscribe(fn func(*Snapshot)) (cancel func()) {
	s := &sub{news: make(chan struct{}, 1), stop: make(chan struct{})}
	s.nudge()
	db.mu.Lock()
	db.subs[s] = struct{}{}
	db.mu.Unlock()
	go db.serve(s, fn)
	return sync.OnceFunc(func() {
		db.mu.Lock()
		delete(db.subs, s)
		db.mu.Unlock()
		close(s.stop)
	})
}

func (db *DB) serve(s *sub, fn func(*Snapshot)) {
	for {
		select {
		case <-s.stop:
			return
		case <-db.done:
			return
		case <-s.news:
			select {
			case <-s.stop:
				return
			default:
			}
			fn(db.Snapshot())
		}
	}
}
