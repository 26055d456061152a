package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"margay/nodedb"
)

// A layer is what logs hold above the table's file: records as they are now,
// with Attrs nil where one was removed.
type layer map[nodedb.Key]nodedb.Record

// When the log is folded into the file: when it is that large, or nothing was
// written for a while. A log much larger than that has commits wait.
const (
	foldSize = 32 << 20
	foldMost = 128 << 20
	foldIdle = 10 * time.Second
	foldWait = time.Second // after a failure
)

// Folding beside commits rests after so many records: commands go before.
const (
	foldStep = 64
	foldRest = time.Millisecond
)

// fold writes a layer to the file, which is at revision rev then. It rests in
// between, unless somebody waits for it.
func (s *Store) fold(l layer, rev int64, rest func()) error {
	list := make([]nodedb.Record, 0, len(l))
	for _, r := range l {
		list = append(list, r)
	}
	slices.SortFunc(list, byKey)
	return s.guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			if err := apply(tx, list, rest); err != nil {
				return err
			}
			return setNumber(tx, keyRev, rev)
		})
	})
}

// apply puts records into the file.
func apply(tx *bbolt.Tx, list []nodedb.Record, rest func()) error {
	records := tx.Bucket(bucketRecords)
	count := number(tx, keyCount)
	for i, r := range list {
		if i%foldStep == foldStep-1 {
			rest()
		}
		k := key(r.Key)
		there := records.Get(k) != nil
		if r.Attrs == nil {
			if there {
				count--
				if err := records.Delete(k); err != nil {
					return err
				}
			}
			continue
		}
		if !there {
			count++
		}
		if err := records.Put(k, encode(k, r.Rev, r.Attrs)); err != nil {
			return err
		}
	}
	return setNumber(tx, keyCount, count)
}

// freeze takes the layer that commits go to as one to be folded, and has the
// other log take commits. The one that was folded before has to be done.
func (s *Store) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen, s.frozenRev, s.live = s.live, s.rev, make(layer)
	if s.file != nil {
		s.file.f.Close()
		s.file = nil
	}
	s.gen++
}

// thaw forgets the layer that is in the file now.
func (s *Store) thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = nil
}

// foldSome begins to fold if it is time to.
func (s *Store) foldSome(idle bool) {
	if s.folding != nil || time.Since(s.foldFailed) < foldWait {
		return
	}
	if s.frozen == nil {
		if len(s.live) == 0 || !idle && (s.file == nil || s.file.off < s.foldAt) {
			return
		}
		s.freeze()
	}
	done := make(chan error, 1)
	s.folding = done
	s.hurry.Store(false)
	rest := func() {
		if !s.hurry.Load() {
			time.Sleep(foldRest)
		}
	}
	go func(l layer, rev int64) { done <- s.fold(l, rev, rest) }(s.frozen, s.frozenRev)
}

// holdUp waits for what is being folded, if the log has become too large.
func (s *Store) holdUp() {
	if s.folding != nil && s.file != nil && s.file.off > foldMost {
		s.await()
	}
}

// await waits for what is being folded.
func (s *Store) await() {
	s.hurry.Store(true)
	s.folded(<-s.folding)
}

// folded notes how folding ended.
func (s *Store) folded(err error) {
	s.folding = nil
	if err != nil {
		s.foldFailed = time.Now()
		return
	}
	s.thaw()
}

// foldAll folds all that there is.
func (s *Store) foldAll() error {
	if s.folding != nil {
		s.await()
	}
	for {
		if s.frozen == nil {
			if len(s.live) == 0 {
				return nil
			}
			s.freeze()
		}
		err := s.fold(s.frozen, s.frozenRev, func() {})
		s.folded(err)
		if err != nil {
			return fmt.Errorf("table %s: the log is not folded into it: %w", s.path, err)
		}
	}
}

// recover folds what a process that was killed left in its logs.
func (s *Store) recover() error {
	logs, err := findLogs(s.path)
	if err != nil {
		return err
	}
	for _, l := range logs {
		if l.id.table != s.id {
			return fmt.Errorf("table %s: %s is another table's log; put it where its table is, or away: %w", s.path, l.name, nodedb.ErrInvalid)
		}
	}
	if err := s.checkMetas(logs); err != nil {
		return err
	}
	r := recovery{s: s, layer: make(layer), rev: s.rev, text: new(nodedb.AttrDecoder)}
	err = s.db.View(func(tx *bbolt.Tx) error {
		r.tx = tx
		for _, l := range logs {
			if err := l.frames(r.frame); err != nil {
				return s.damaged(err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.rev > s.rev {
		if err := s.fold(r.layer, r.rev, func() {}); err != nil {
			return err
		}
		s.rev = r.rev
	}
	return s.removeLogs()
}

// checkMetas refuses a file one of whose two heads makes no sense: bbolt takes
// the other then, which is what the file was one transaction earlier. It may be
// so where a process ended while the head was written, and then the logs have
// all that the transaction wrote.
func (s *Store) checkMetas(logs []foundLog) error {
	for _, l := range logs {
		if _, _, ok := l.id.frameAt(l.b[min(logStart, len(l.b)):]); ok {
			return nil // recover sees whether they go on where the file ends
		}
	}
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	size := int64(s.db.Info().PageSize)
	for page := range int64(2) {
		b := make([]byte, metaAt+metaSize+8)
		if _, err := f.ReadAt(b, page*size); err != nil {
			return err
		}
		sum := fnv.New64a()
		sum.Write(b[metaAt : metaAt+metaSize])
		if sum.Sum64() != binary.NativeEndian.Uint64(b[metaAt+metaSize:]) {
			return s.damaged(fmt.Sprintf("page %d makes no sense", page))
		}
	}
	return nil
}

// Where a page's head ends, and how long bbolt's own is without its checksum.
const (
	metaAt   = 16
	metaSize = 56
)

// removeLogs removes logs, of which the file has all.
func (s *Store) removeLogs() error {
	for _, name := range Logs(s.path) {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// A recovery works out what logs have above the file.
type recovery struct {
	s     *Store
	tx    *bbolt.Tx
	layer layer
	rev   int64
	text  *nodedb.AttrDecoder
}

// frame takes the commits of a frame that the file does not have yet.
func (r *recovery) frame(first int64, body []byte) error {
	in := &logReader{b: body, text: r.text}
	for rev := first; len(in.b) > 0 && !in.bad; rev++ {
		if rev > r.rev+1 {
			return fmt.Errorf("its log goes on at revision %d, and it is at %d: they are not of one time; without %s-log1 and -log2 it is what it was at %d", rev, r.rev, r.s.path, r.rev)
		}
		for range in.count() {
			k := nodedb.Key{Kind: nodedb.Kind(in.string())}
			k.Name = in.string()
			if rev <= r.rev {
				in.attrs(nil)
				continue
			}
			attrs := in.attrs(func() (map[string]string, int64) { return r.before(k) })
			r.layer[k] = nodedb.Record{Key: k, Attrs: attrs, Rev: rev}
		}
		if in.bad {
			return fmt.Errorf("revision %d in its log makes no sense", rev)
		}
		r.rev = max(r.rev, rev)
	}
	return nil
}

// before returns what a record has, and at which revision.
func (r *recovery) before(k nodedb.Key) (map[string]string, int64) {
	if rec, ok := r.layer[k]; ok {
		return rec.Attrs, rec.Rev
	}
	at := key(k)
	v := r.tx.Bucket(bucketRecords).Get(at)
	if v == nil {
		return nil, 0
	}
	rec, err := decode(r.text, at, v)
	if err != nil {
		return nil, 0
	}
	return rec.Attrs, rec.Rev
}
