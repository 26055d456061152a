package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"margay/nodedb"
)

// A big commit goes like this:
//
//  1. Take the lock, a key with a lease. While it is there nobody else
//     commits: every transaction compares that it is not.
//  2. Compare the revisions of all records; none can change any more.
//  3. Write down all that is to be done, under redo.
//  4. Put the batch key. This one transaction is the commit: if it is there,
//     the commit is made, if it is not, nothing was.
//  5. Do what is written down, in transactions of a size that etcd takes.
//  6. Delete the batch key, the redo and the lock in one transaction.
//
// Watches hold back what they see between 4 and 6 and tell of it at once; Load
// waits for 6. If whoever makes the commit dies before 4, the lock goes with
// its lease and nothing has happened; if after 4, whoever next takes the lock
// does 5 and 6. The lock's revision fences: every transaction from 3 on
// compares it, so one who was taken for dead can do no harm.

// lockTTL is how many seconds a lock outlives its holder.
const lockTTL = 10

// applyWorkers is how many transactions of a big commit are under way at once.
const applyWorkers = 4

// errFenced says that the lock is not ours any more.
var errFenced = errors.New("the lock has gone to another server")

// A holder holds the lock.
type holder struct {
	s     *Store
	lease clientv3.LeaseID
	rev   int64 // of the lock key
	stop  context.CancelFunc
}

// acquire takes the lock, waiting for who holds it, and finishes what they
// left behind.
func (s *Store) acquire(ctx context.Context) (*holder, error) {
	for {
		h, err := s.tryLock(ctx)
		if err != nil {
			return nil, err
		}
		if h == nil {
			if err := s.lockGone(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if err := h.recover(ctx); err != nil {
			h.release()
			return nil, err
		}
		return h, nil
	}
}

// tryLock takes the lock; nil if somebody has it.
func (s *Store) tryLock(ctx context.Context) (*holder, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	lease, err := s.c.Grant(call, lockTTL)
	if err != nil {
		return nil, s.explain(err)
	}
	r, err := s.c.Txn(call).
		If(absent(s.keys.lock)).
		Then(clientv3.OpPut(s.keys.lock, "", clientv3.WithLease(lease.ID))).Commit()
	h := &holder{s: s, lease: lease.ID, stop: func() {}}
	if err != nil || !r.Succeeded {
		h.release()
		return nil, s.explain(err)
	}
	h.rev = r.Header.Revision
	alive, stop := context.WithCancel(s.ctx)
	h.stop = stop
	renewed, err := s.c.KeepAlive(alive, lease.ID)
	if err != nil {
		h.release()
		return nil, s.explain(err)
	}
	go func() {
		for range renewed { // until stopped, or the lease is lost: then we are fenced
		}
	}()
	return h, nil
}

// release gives the lock back, if it is still ours.
func (h *holder) release() {
	h.stop()
	ctx, cancel := context.WithTimeout(h.s.ctx, callTimeout)
	defer cancel()
	h.s.c.Revoke(ctx, h.lease) // if that fails it runs out by itself
}

// mine is the comparison that fences.
func (h *holder) mine() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(h.s.keys.lock), "=", h.rev)
}

// txn makes a transaction if the lock is still ours.
func (h *holder) txn(ctx context.Context, ops ...clientv3.Op) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := h.s.c.Txn(ctx).If(h.mine()).Then(ops...).Commit()
	if err != nil {
		return 0, h.s.explain(err)
	}
	if !r.Succeeded {
		return 0, errFenced
	}
	return r.Header.Revision, nil
}

// commitBig makes a commit in steps.
func (s *Store) commitBig(ctx context.Context, changes []nodedb.Change, ops []op) (int64, error) {
	h, err := s.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer h.release()
	if err := s.verify(ctx, changes, ops); err != nil {
		return 0, err
	}
	id := strconv.FormatInt(h.rev, 10) // no other batch has it
	if err := h.writeRedo(ctx, id, ops); err != nil {
		return 0, fmt.Errorf("nothing was changed: %w", err)
	}
	made, err := h.txn(ctx, clientv3.OpPut(s.keys.batch, id))
	if err != nil {
		return 0, err
	}
	// It is made. What is left is finished whatever becomes of ctx, by us or
	// by others.
	rev, err := h.finish(s.ctx, ops)
	if err == nil {
		return rev, nil
	}
	h.release()
	return made, s.finished(ctx, id)
}

// verify compares the revisions of records. The lock is held.
func (s *Store) verify(ctx context.Context, changes []nodedb.Change, ops []op) error {
	const step = 100
	for i := 0; i < len(ops); i += step {
		part := ops[i:min(i+step, len(ops))]
		gets := make([]clientv3.Op, len(part))
		for j, o := range part {
			gets[j] = clientv3.OpGet(o.key, clientv3.WithKeysOnly())
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		r, err := s.c.Txn(call).Then(gets...).Commit()
		cancel()
		if err != nil {
			return s.explain(err)
		}
		for j, resp := range r.Responses {
			at := int64(0)
			if kvs := resp.GetResponseRange().Kvs; len(kvs) > 0 {
				at = kvs[0].ModRevision
			}
			if c := changes[i+j]; at != c.If {
				return fmt.Errorf("%s %s: %w", c.Kind, c.Name, nodedb.ErrConflict)
			}
		}
	}
	return nil
}

// finish does what is written down, and deletes it, the batch key and the lock.
func (h *holder) finish(ctx context.Context, ops []op) (int64, error) {
	if err := h.apply(ctx, ops); err != nil {
		return 0, err
	}
	return h.txn(ctx,
		clientv3.OpDelete(h.s.keys.batch),
		clientv3.OpDelete(h.s.keys.redo, clientv3.WithPrefix()),
		clientv3.OpDelete(h.s.keys.lock))
}

// apply puts and deletes records, several transactions at a time: nobody looks
// at them before all are done.
func (h *holder) apply(ctx context.Context, ops []op) error {
	parts := make(chan []clientv3.Op)
	faults := make(chan error, applyWorkers)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	for range applyWorkers {
		workers.Go(func() {
			for part := range parts {
				if _, err := h.txn(ctx, part...); err != nil {
					faults <- err
					cancel()
					return
				}
			}
		})
	}
	split(ops, func(part []op) bool {
		list := make([]clientv3.Op, len(part))
		for i, o := range part {
			list[i] = o.etcd()
		}
		select {
		case parts <- list:
			return true
		case <-ctx.Done():
			return false
		}
	})
	close(parts)
	workers.Wait()
	select {
	case err := <-faults:
		return err
	default:
		return ctx.Err()
	}
}

// split cuts ops into parts that a transaction takes.
func split(ops []op, fn func([]op) bool) {
	for start := 0; start < len(ops); {
		end, size := start, 0
		for end < len(ops) && end-start < maxOps && (end == start || size+ops[end].size() <= maxBytes) {
			size += ops[end].size()
			end++
		}
		if !fn(ops[start:end]) {
			return
		}
		start = end
	}
}

// finished waits until a batch that was made is applied, by whoever takes the
// lock. Who then waits for the revision at which it was made has waited for
// all of it: between that and its end nobody is told of anything.
func (s *Store) finished(ctx context.Context, id string) error {
	for {
		r, err := s.get(ctx, s.keys.batch)
		if err == nil && (len(r.Kvs) == 0 || string(r.Kvs[0].Value) != id) {
			return nil
		}
		if err == nil {
			err = s.settle(ctx)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, rpctypes.ErrNoSpace) { // a person is needed: do not let the caller wait for one
			return fmt.Errorf("%s: the change is made but not yet seen: %s: %w", s.name, roomAgain, rpctypes.ErrNoSpace)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: the change is made but not yet seen: %w", s.name, ctx.Err())
		case <-s.ctx.Done():
			return fmt.Errorf("%s: the change is made but not yet seen: the store was closed", s.name)
		case <-time.After(time.Second): // etcd is away; it will be back
		}
	}
}

// settle returns when no big commit is under way, finishing one whose maker is
// gone.
func (s *Store) settle(ctx context.Context) error {
	r, err := s.get(ctx, s.keys.lock)
	if err != nil {
		return err
	}
	if len(r.Kvs) > 0 {
		return s.lockGone(ctx)
	}
	if r, err = s.get(ctx, s.keys.batch); err != nil || len(r.Kvs) == 0 {
		return err
	}
	h, err := s.acquire(ctx) // which finishes it
	if err != nil {
		return err
	}
	h.release()
	return nil
}

// lockGone waits until nobody holds the lock.
func (s *Store) lockGone(ctx context.Context) error {
	r, err := s.get(ctx, s.keys.lock)
	if err != nil || len(r.Kvs) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for w := range s.c.Watch(clientv3.WithRequireLeader(ctx), s.keys.lock, clientv3.WithRev(r.Header.Revision+1)) {
		if err := w.Err(); err != nil {
			return s.explain(err)
		}
		for _, e := range w.Events {
			if e.Type == clientv3.EventTypeDelete {
				return nil
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: another server has held the lock for %v: %w", s.name, lockWait, err)
	}
	return fmt.Errorf("%s: the connection was closed", s.name)
}

// lockWait is how long to wait for another server's big commit.
const lockWait = time.Minute
