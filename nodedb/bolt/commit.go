package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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
	idle := time.NewTimer(foldIdle)
	defer idle.Stop()
	for {
		select {
		case r := <-s.requests:
			s.group(s.gather(r))
			s.foldSome(false)
			s.holdUp()
			idle.Reset(foldIdle)
		case err := <-s.folding:
			s.folded(err)
			s.foldSome(false)
		case <-idle.C:
			s.foldSome(true)
		case done := <-s.settle:
			done <- s.foldAll()
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

// group makes the commits of a group, with one sync. Each has its own revision
// and its own conflicts.
func (s *Store) group(group []*request) {
	replies := make([]reply, len(group))
	records := 0
	for _, r := range group {
		records += len(r.changes)
	}
	g := grouping{s: s, rev: s.rev, frame: newFrame(s.frame), alone: len(group) == 1}
	g.frame = slices.Grow(g.frame, records*frameGuess)
	if !g.alone {
		g.layer = make(layer, records)
	}
	err := s.guard(func() error {
		defer g.end()
		for i, r := range group {
			if replies[i].err = g.check(r.changes); replies[i].err == nil {
				replies[i].rev = g.add(r.changes)
			}
		}
		return s.append(&g)
	})
	if err == nil {
		s.log.add(g.commits)
	}
	for i, r := range group {
		if err != nil && replies[i].err == nil {
			replies[i] = reply{err: fmt.Errorf("table %s: not written: %w", s.path, err)}
		}
		r.reply <- replies[i]
	}
}

// frameGuess is what a record takes in a frame, as a rule.
const frameGuess = 64

// frameKeep is how much memory is kept for frames to come.
const frameKeep = 1 << 20

// append writes a group to the log, and shows it.
func (s *Store) append(g *grouping) error {
	if len(g.commits) == 0 {
		return nil
	}
	if s.file == nil {
		file, err := createLog(logNames(s.path)[s.gen%2], logID{s.id, s.gen})
		if err != nil {
			return err
		}
		s.file = file
	}
	s.file.id.seal(g.frame, s.rev+1)
	if err := s.file.add(g.frame); err != nil {
		return err
	}
	if s.frame = g.frame; cap(s.frame) > frameKeep {
		s.frame = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case g.alone:
		if len(s.live) == 0 {
			s.live = make(layer, len(g.commits[0].recs))
		}
		for _, r := range g.commits[0].recs {
			s.live[r.Key] = r
		}
	case len(s.live) == 0:
		s.live = g.layer
	default:
		maps.Copy(s.live, g.layer)
	}
	s.rev = g.rev
	return nil
}

// A grouping is the commits of a group in the making.
type grouping struct {
	s       *Store
	rev     int64
	alone   bool  // it is one commit
	layer   layer // what its commits have changed, unless it is one
	frame   []byte
	commits []commit
	tx      *bbolt.Tx // to look into the file; nil until that is needed
	cursor  *bbolt.Cursor
	buf     []byte // for keys
}

func (g *grouping) end() {
	if g.tx != nil {
		g.tx.Rollback()
	}
}

// check refuses changes to records that are not at the revision that their
// writer saw.
func (g *grouping) check(changes []nodedb.Change) error {
	for _, c := range changes {
		at, err := g.revision(c.Key)
		if err != nil {
			return err
		}
		if at != c.If {
			return fmt.Errorf("%s %s: %w", c.Kind, c.Name, nodedb.ErrConflict)
		}
	}
	return nil
}

// revision is that of a record, 0 if there is none.
func (g *grouping) revision(k nodedb.Key) (int64, error) {
	for _, l := range [...]layer{g.layer, g.s.live, g.s.frozen} {
		if r, ok := l[k]; ok {
			if r.Attrs == nil {
				return 0, nil
			}
			return r.Rev, nil
		}
	}
	if g.tx == nil {
		tx, err := g.s.db.Begin(false)
		if err != nil {
			return 0, err
		}
		g.tx, g.cursor = tx, tx.Bucket(bucketRecords).Cursor()
	}
	g.buf = appendKey(g.buf[:0], k)
	// Changes to many records are in the order of the file as a rule.
	if at, v := g.cursor.Next(); bytes.Equal(at, g.buf) {
		return revisionOf(v), nil
	}
	at, v := g.cursor.Seek(g.buf)
	if !bytes.Equal(at, g.buf) {
		return 0, nil
	}
	return revisionOf(v), nil
}

// add takes a commit into the group and returns its revision.
func (g *grouping) add(changes []nodedb.Change) int64 {
	g.rev++
	g.frame = appendCommit(g.frame, changes)
	recs := make([]nodedb.Record, len(changes))
	for i, c := range changes {
		recs[i] = nodedb.Record{Key: c.Key, Attrs: c.Attrs, Rev: g.rev}
		if !g.alone {
			g.layer[c.Key] = recs[i]
		}
	}
	g.commits = append(g.commits, commit{recs, g.rev})
	return g.rev
}
