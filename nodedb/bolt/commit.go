package bolt

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"margay/nodedb"
)

// A request is a commit that waits for the writer.
type request struct {
	changes []nodedb.Change
	reply   chan reply // holds one
}

type reply struct {
	rev int64
	err error
}

var errClosed = errors.New("the table is closed")

// Commit makes all changes or none. If ctx is done while it waits, the changes
// may or may not have been made.
func (s *Store) Commit(ctx context.Context, changes []nodedb.Change) (int64, error) {
	r := &request{changes, make(chan reply, 1)}
	select {
	case s.requests <- r:
	case <-s.stop:
		return 0, errClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case a := <-r.reply:
		return a.rev, a.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// groupMax bounds how many records commits that share an fsync may change
// together, unless one alone changes more.
const groupMax = 1000

// write serves commits until the store is closed. While it waits for the disk
// others queue up; they go together next time.
func (s *Store) write() {
	defer close(s.done)
	for {
		select {
		case r := <-s.requests:
			s.group(s.gather(r))
		case <-s.stop:
			return
		}
	}
}

// gather takes what is waiting.
func (s *Store) gather(first *request) []*request {
	group := []*request{first}
	for n := len(first.changes); n < groupMax; {
		select {
		case r := <-s.requests:
			group = append(group, r)
			n += len(r.changes)
		default:
			return group
		}
	}
	return group
}

// group makes the commits of a group in one transaction of the file. Each has
// its own revision and its own conflicts.
func (s *Store) group(group []*request) {
	replies := make([]reply, len(group))
	var commits []commit
	err := s.guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			rev := revision(tx)
			first := rev
			for i, r := range group {
				if replies[i].err = check(tx, r.changes); replies[i].err != nil {
					continue
				}
				recs, err := apply(tx, r.changes, rev+1)
				if err != nil {
					return err
				}
				rev++
				replies[i].rev = rev
				commits = append(commits, commit{recs, rev})
			}
			if rev == first {
				return nil
			}
			return setNumber(tx, keyRev, rev)
		})
	})
	if err == nil {
		s.log.add(commits)
	}
	for i, r := range group {
		if err != nil && replies[i].err == nil {
			replies[i] = reply{err: fmt.Errorf("table %s: not written: %w", s.path, err)}
		}
		r.reply <- replies[i]
	}
}

// check refuses changes to records that are not at the revision that their
// writer saw.
func check(tx *bbolt.Tx, changes []nodedb.Change) error {
	records := tx.Bucket(bucketRecords)
	for _, c := range changes {
		if at := revisionOf(records.Get(key(c.Key))); at != c.If {
			return fmt.Errorf("%s %s: %w", c.Kind, c.Name, nodedb.ErrConflict)
		}
	}
	return nil
}

// apply writes changes and returns them as watchers see them.
func apply(tx *bbolt.Tx, changes []nodedb.Change, rev int64) ([]nodedb.Record, error) {
	records := tx.Bucket(bucketRecords)
	recs := make([]nodedb.Record, len(changes))
	count := number(tx, keyCount)
	for i, c := range changes {
		recs[i] = nodedb.Record{Key: c.Key, Attrs: c.Attrs, Rev: rev}
		k := key(c.Key)
		if records.Get(k) != nil {
			count--
		}
		if c.Attrs == nil {
			if err := records.Delete(k); err != nil {
				return nil, err
			}
			continue
		}
		count++
		if err := records.Put(k, encode(k, rev, c.Attrs)); err != nil {
			return nil, err
		}
	}
	return recs, setNumber(tx, keyCount, count)
}
