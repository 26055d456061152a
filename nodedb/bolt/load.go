package bolt

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"margay/nodedb"
)

// Load returns every record, in order of kind and name.
func (s *Store) Load(ctx context.Context) (recs []nodedb.Record, rev int64, err error) {
	s.mu.Lock()
	tx, err := s.db.Begin(false) // with the layers, all at one revision
	above := make(layer, len(s.live)+len(s.frozen))
	maps.Copy(above, s.frozen)
	maps.Copy(above, s.live)
	rev = s.rev
	s.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	defer tx.Rollback()
	err = s.guard(func() error {
		pairs, err := s.pairs(tx)
		if err != nil {
			return err
		}
		recs, err = s.decodeAll(ctx, pairs)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return above.over(recs), rev, nil
}

// over returns records with the layer's in place of theirs.
func (l layer) over(recs []nodedb.Record) []nodedb.Record {
	if len(l) == 0 {
		return recs
	}
	out := recs[:0]
	for _, r := range recs {
		if _, ok := l[r.Key]; !ok {
			out = append(out, r)
		}
	}
	for _, r := range l {
		if r.Attrs != nil {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, byKey)
	return out
}

// byKey is the order of records in the file.
func byKey(a, b nodedb.Record) int {
	return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name))
}

// A pair is a record as the file has it; the memory is the file's.
type pair struct{ k, v []byte }

// pairs goes through all records of the file. Each has a checksum; that none is
// lost or comes twice, where a page was damaged, shows in their order and
// number.
func (s *Store) pairs(tx *bbolt.Tx) ([]pair, error) {
	want := number(tx, keyCount)
	list := make([]pair, 0, max(0, min(want, 1<<20)))
	err := tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
		if n := len(list); n > 0 && bytes.Compare(list[n-1].k, k) >= 0 {
			return s.damaged(fmt.Sprintf("record %q comes after %q", k, list[n-1].k))
		}
		list = append(list, pair{k, v})
		return nil
	})
	if n := int64(len(list)); err == nil && n != want {
		err = s.damaged(fmt.Sprintf("it has %d of %d records", n, want))
	}
	return list, err
}

// decodeStep is how many records a processor decodes before it takes more.
const decodeStep = 1024

// decodeAll decodes records, with all processors.
func (s *Store) decodeAll(ctx context.Context, pairs []pair) ([]nodedb.Record, error) {
	recs := make([]nodedb.Record, len(pairs))
	var next atomic.Int64
	work := func() error {
		decoder := new(nodedb.AttrDecoder)
		for ctx.Err() == nil {
			from := int(next.Add(decodeStep)) - decodeStep
			if from >= len(pairs) {
				return nil
			}
			for i := from; i < min(from+decodeStep, len(pairs)); i++ {
				r, err := decode(decoder, pairs[i].k, pairs[i].v)
				if err != nil {
					return s.damaged(err)
				}
				recs[i] = r
			}
		}
		return ctx.Err()
	}
	var wg sync.WaitGroup
	faults := make([]error, max(1, min(runtime.GOMAXPROCS(0), len(pairs)/decodeStep)))
	for i := range faults {
		wg.Go(func() { faults[i] = s.guard(work) })
	}
	wg.Wait()
	for _, err := range faults {
		if err != nil {
			return nil, err
		}
	}
	return recs, nil
}
