package provision

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"margay/nodedb"
)

// A taking is a machine that waits for its lease to be written.
type taking struct {
	addr   netip.Addr
	mac    string
	name   string
	length time.Duration

	done chan struct{} // closed when ok and err are known
	ok   bool          // the lease is its own
	err  error
}

// takings are written many in one commit: what comes while the disk is at work
// goes together next time. A commit for each would have each wait for the disk,
// and all wake at each other's.
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
	// takingsTime bounds one commit: a machine has asked again by then.
	takingsTime = 4 * time.Second
)

// write returns when the lease is in the table, or can not be.
func (q *takings) write(ctx context.Context, l *leaser, t *taking) (bool, error) {
	t.done = make(chan struct{})
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
	select {
	case <-t.done:
		return t.ok, t.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (q *takings) writeAll(l *leaser) {
	for {
		q.mu.Lock()
		some := q.queue[:min(len(q.queue), takingsMax)]
		if q.queue = q.queue[len(some):]; len(some) == 0 {
			q.queue = nil
			q.writers--
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		l.commit(some)
	}
}

// commit writes leases, and says to each who waits what became of its own.
func (l *leaser) commit(some []*taking) {
	ctx, cancel := context.WithTimeout(context.Background(), takingsTime)
	defer cancel()
	err := l.db.Update(ctx, func(tx *nodedb.Tx) error {
		now := l.now()
		for _, t := range some {
			r, there := tx.Get(leaseKey(t.addr)) // so that two servers cannot both write it
			if t.ok = leasable(tx.Snapshot(), r, there, t.addr, t.mac, now); t.ok {
				putLease(tx, t.addr, Lease{MAC: t.mac, Name: t.name, Expires: now.Add(t.length)}, now)
			}
		}
		return nil
	})
	for _, t := range some {
		t.err = err
		close(t.done)
	}
}
