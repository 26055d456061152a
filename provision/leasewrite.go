package provision

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"margay/nodedb"
)

// A taking is a machine that waits for its lease to be written.
type taking struct {
	addr   netip.Addr
	lease  Lease // but for its times
	length time.Duration
	since  time.Time

	done func(ok bool, err error) // called once; ok: the lease is its own
	ok   bool
	err  error
}

// takings are written many in one commit: what comes while the disk is at work
// goes together next time. A commit for each would have each wait for the disk.
// Nobody sleeps until it is written either: thousands that wake at once would
// have all others wait for them.
type takings struct {
	mu      sync.Mutex
	queue   []*taking // guarded by mu
	writers int       // goroutines that write; guarded by mu
}

const (
	// takingsMax is how many leases go together, fewer than etcd takes in one
	// transaction. When as many more wait, another commit of takingsWriters
	// goes on its way: the store has those that come together share an fsync.
	takingsMax     = 120
	takingsWriters = 8
	// takingsTime bounds one commit, and how long it may be until it begins: a
	// machine has asked again by then.
	takingsTime = 4 * time.Second
)

// While many ask, the next commit waits a little for others to join it: each
// costs the processor as much as several exchanges.
const (
	gatherFrom = 3
	gatherTime = 500 * time.Microsecond
)

// errLeaseLate is what becomes of a lease that could not be written in time.
var errLeaseLate = errors.New("its lease was not written in time: the table's disk is slow, see margay doctor")

// add has a lease written, and t.done called when it is in the table, or can not
// be.
func (q *takings) add(l *leaser, t *taking) {
	t.since = time.Now()
	q.mu.Lock()
	q.queue = append(q.queue, t)
	begin := q.writers == 0 || len(q.queue) >= takingsMax && q.writers < takingsWriters
	if begin {
		q.writers++
	}
	q.mu.Unlock()
	if begin {
		go q.writeAll(l) // until nobody waits
	}
}

// write returns when the lease is in the table, or can not be.
func (q *takings) write(ctx context.Context, l *leaser, t *taking) (bool, error) {
	done := make(chan struct{})
	t.done = func(bool, error) { close(done) }
	q.add(l, t)
	select {
	case <-done:
		return t.ok, t.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// writeAll writes what waits. While some are told, the next are on their way to
// the disk already.
func (q *takings) writeAll(l *leaser) {
	for n := 0; ; {
		if n >= gatherFrom {
			time.Sleep(gatherTime)
		}
		some := q.next()
		n = len(some)
		l.commit(some)
		q.mu.Lock()
		more := len(q.queue) > 0
		if !more {
			q.writers--
		}
		q.mu.Unlock()
		if !more {
			tell(some)
			return
		}
		go tell(some)
	}
}

// next takes from the queue what is to go together.
func (q *takings) next() []*taking {
	q.mu.Lock()
	defer q.mu.Unlock()
	some := q.queue[:min(len(q.queue), takingsMax)]
	if q.queue = q.queue[len(some):]; len(q.queue) == 0 {
		q.queue = nil
	}
	return some
}

func tell(some []*taking) {
	for _, t := range some {
		t.done(t.ok, t.err)
	}
}

// writes is the lease as it is written in place of a record. One that is renewed
// without a relay is still of the machine that the relay told of.
func (t *taking) writes(before nodedb.Record, now time.Time) Lease {
	l := t.lease
	l.At, l.Expires = now, now.Add(t.length)
	if was := before.Attrs["lease.relay"]; l.RelayInfo == "" && was != "" && before.Attrs["lease.mac"] == l.MAC {
		l.RelayInfo = unhex(was)
	}
	return l
}

// commit writes leases, and notes what became of each.
func (l *leaser) commit(some []*taking) {
	ctx, cancel := context.WithTimeout(context.Background(), takingsTime)
	defer cancel()
	begun := time.Now()
	err := l.db.Update(ctx, func(tx *nodedb.Tx) error {
		now := l.now()
		for _, t := range some {
			if begun.Sub(t.since) > takingsTime {
				t.err = errLeaseLate
				continue
			}
			r, there := tx.Get(leaseKey(t.addr)) // so that two servers cannot both write it
			if t.ok = leasable(tx.Snapshot(), r, there, t.addr, t.lease.MAC, now); t.ok {
				putLease(tx, t.addr, t.writes(r, now), now)
			}
		}
		return nil
	})
	for _, t := range some {
		t.err = cmp.Or(t.err, err)
	}
}
