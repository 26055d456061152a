package nodedb_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"margay/nodedb"
	"margay/nodedb/bolt"
	"margay/nodedb/nodedbtest"
)

func site(key string) nodedb.Key { return nodedb.Key{Kind: nodedb.KindSite, Name: key} }

func TestTx(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Site("a", "1"), nodedbtest.Site("c", "3"))
	update(t, db, func(tx *nodedb.Tx) {
		before, _ := tx.Get(site("a"))
		tx.Set(site("a"), "site.value", "2")
		mid, _ := tx.Get(site("a"))
		tx.Set(site("a"), "site.comments", "x")
		tx.Put(site("b"), map[string]string{"site.value": "new", "site.comments": "", "site.": ""})
		tx.Delete(site("c"))
		if before.Attrs["site.value"] != "1" || mid.Attrs["site.value"] != "2" || len(mid.Attrs) != 1 {
			t.Errorf("records that Get gave have changed: %v, %v", before, mid)
		}
		if _, ok := tx.Get(site("c")); ok {
			t.Error("Get gives what was deleted")
		}
		if _, ok := tx.Snapshot().Record(site("b")); ok {
			t.Error("the transaction's snapshot has its changes")
		}
		var list []string
		for _, r := range tx.Records(nodedb.KindSite) {
			list = append(list, r.Name+"="+r.Attrs["site.value"])
		}
		if got := strings.Join(list, " "); got != "a=2 b=new" {
			t.Errorf("Records gives %s", got)
		}
	})
	s := db.Snapshot()
	b, _ := s.Record(site("b"))
	if s.Site("a") != "2" || len(b.Attrs) != 2 || s.Site("c") != "" || len(s.Records(nodedb.KindSite)) != 2 {
		t.Errorf("%v", s.Records(nodedb.KindSite))
	}

	rev := s.Rev()
	update(t, db, func(tx *nodedb.Tx) {
		tx.Set(site("a"), "site.value", "2")
		tx.Set(site("none"), "site.value", "x")
		tx.Delete(site("none"))
	})
	if db.Snapshot().Rev() != rev {
		t.Error("an update that changes nothing was stored")
	}
	fault := errors.New("no")
	err := db.Update(context.Background(), func(tx *nodedb.Tx) error { tx.Delete(site("a")); return fault })
	if err != fault || db.Snapshot().Site("a") != "2" {
		t.Errorf("after an error of fn (%v) a is %q", err, db.Snapshot().Site("a"))
	}
	for _, name := range []string{"", "a\x00b", "\xff", strings.Repeat("x", 2000)} {
		err := db.Update(context.Background(), func(tx *nodedb.Tx) error { tx.Put(site(name), nil); return nil })
		if !errors.Is(err, nodedb.ErrInvalid) {
			t.Errorf("record %.10q: %v", name, err)
		}
	}
}

func TestUpdateRunsAgainOnConflict(t *testing.T) {
	store, err := bolt.Open(filepath.Join(t.TempDir(), "table.db"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := nodedb.New(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	other, err := nodedb.New(t.Context(), store) // as another server has it
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	err = db.Update(context.Background(), func(tx *nodedb.Tx) error {
		if runs++; runs < 3 { // somebody else is quicker, twice
			nodedbtest.Put(t, other, nodedbtest.Site("n", fmt.Sprint(runs)))
		}
		r, _ := tx.Get(site("n"))
		tx.Set(site("n"), "site.value", r.Attrs["site.value"]+"+")
		return nil
	})
	if err != nil || runs != 3 || db.Snapshot().Site("n") != "2+" {
		t.Errorf("%d runs, value %q (%v)", runs, db.Snapshot().Site("n"), err)
	}
	err = db.Update(context.Background(), func(tx *nodedb.Tx) error {
		return fmt.Errorf("own trouble: %w", nodedb.ErrConflict)
	})
	if err == nil || errors.Is(err, nodedb.ErrConflict) {
		t.Errorf("fn's own conflict: %v", err)
	}
}

// Updates of one record by many at once all count, each with its entry in the
// history, and do not take a commit each.
func TestUpdatesOfOneRecord(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Site("n", ""), nodedbtest.Site("gone", "x"))
	const writers, each = 32, 20
	before := db.Snapshot().Rev()
	var wg sync.WaitGroup
	var failed atomic.Int64
	own := errors.New("own")
	for w := range writers {
		wg.Go(func() {
			for k := range each {
				ctx := nodedb.WithCause(t.Context(), nodedb.Cause{Run: fmt.Sprintf("w%dk%d", w, k)})
				err := db.Update(ctx, func(tx *nodedb.Tx) error {
					r, _ := tx.Get(site("n"))
					if k == 7 {
						return own
					}
					tx.Set(site("n"), "site.value", r.Attrs["site.value"]+"+")
					tx.Set(site(fmt.Sprintf("w%d", w)), "site.value", fmt.Sprint(k))
					if k%2 == 0 {
						tx.Delete(site("gone"))
					} else {
						tx.Set(site("gone"), "site.value", fmt.Sprint(w))
					}
					return nil
				})
				if err == own {
					failed.Add(1)
				} else if err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	s := db.Snapshot()
	if got, want := len(s.Site("n")), writers*(each-1); got != want || failed.Load() != writers {
		t.Errorf("%d updates are in the record, want %d; %d failed, want %d", got, want, failed.Load(), writers)
	}
	if n := len(s.History()); n != writers*(each-1) {
		t.Errorf("%d entries in the history, want %d", n, writers*(each-1))
	}
	for w := range writers {
		if v := s.Site(fmt.Sprintf("w%d", w)); v != fmt.Sprint(each-1) {
			t.Errorf("writer %d's own record has %q", w, v)
		}
	}
	if commits := s.Rev() - before; commits > writers*each/2 {
		t.Errorf("%d commits for %d updates", commits, writers*(each-1))
	}
}

// An update that panics, or whose caller has gone, is no other's harm.
func TestUpdateInLineEnds(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Site("n", ""))
	var wg sync.WaitGroup
	var good atomic.Int64
	for w := range 24 {
		wg.Go(func() {
			defer func() { recover() }()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for k := range 20 {
				err := db.Update(ctx, func(tx *nodedb.Tx) error {
					if k == 10 && w%3 == 0 {
						panic("no")
					}
					if k == 15 && w%3 == 1 {
						cancel()
					}
					r, _ := tx.Get(site("n"))
					tx.Set(site("n"), "site.value", r.Attrs["site.value"]+"+")
					return nil
				})
				if err == nil {
					good.Add(1)
				} else if ctx.Err() == nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	n := int64(len(db.Snapshot().Site("n")))
	if n < good.Load() || n > good.Load()+8 { // those whose caller left may have been stored
		t.Errorf("%d updates are in the record, %d were acknowledged", n, good.Load())
	}
}

func TestSubscribe(t *testing.T) {
	db := nodedbtest.New(t)
	var mu sync.Mutex
	last, calls := int64(-1), 0
	changed := sync.NewCond(&mu)
	cancel := db.Subscribe(func(s *nodedb.Snapshot) {
		mu.Lock()
		defer mu.Unlock()
		if s.Rev() < last {
			t.Errorf("revision %d after %d", s.Rev(), last)
		}
		last, calls = s.Rev(), calls+1
		changed.Broadcast()
	})
	mu.Lock()
	for calls == 0 {
		changed.Wait() // the first call comes without a change
	}
	mu.Unlock()
	for i := range 50 {
		nodedbtest.Put(t, db, nodedbtest.Site("n", fmt.Sprint(i)))
	}
	mu.Lock()
	for last < db.Snapshot().Rev() {
		changed.Wait()
	}
	mu.Unlock()
	cancel()
	cancel()
}

// A flaky store breaks its watches and forgets revisions when told to.
type flaky struct {
	nodedb.Store
	mu    sync.Mutex
	fails []error // what the next watches end with at once
	loads int
	asked chan struct{} // told of each watch that failed
}

func (f *flaky) Load(ctx context.Context) ([]nodedb.Record, int64, error) {
	f.mu.Lock()
	f.loads++
	f.mu.Unlock()
	return f.Store.Load(ctx)
}

func (f *flaky) Watch(ctx context.Context, after int64, fn func([]nodedb.Record, int64)) error {
	f.mu.Lock()
	if len(f.fails) > 0 {
		err := f.fails[0]
		f.fails = f.fails[1:]
		f.mu.Unlock()
		f.asked <- struct{}{}
		return err
	}
	f.mu.Unlock()
	return f.Store.Watch(ctx, after, fn)
}

func TestFollowsThroughTrouble(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store := &flaky{Store: openBolt(t, t.TempDir()+"/table.db"), asked: make(chan struct{}, 10)}
	store.fails = []error{errors.New("gone"), errors.New("still gone"), nodedb.ErrCompact}
	db, err := nodedb.New(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := store.Commit(ctx, []nodedb.Change{{Key: site("a"), Attrs: map[string]string{"site.value": "1"}}}); err != nil {
		t.Fatal(err)
	}
	<-store.asked
	seen := make(chan struct{}, 100)
	defer db.Subscribe(func(s *nodedb.Snapshot) {
		if s.Site("a") == "1" {
			seen <- struct{}{}
		}
	})()
	select {
	case <-seen:
	case <-ctx.Done():
		t.Fatal("the change never came")
	}
	if store.loads != 2 {
		t.Errorf("loaded %d times, want anew after ErrCompact", store.loads)
	}
	nodedbtest.Put(t, db, nodedbtest.Site("a", "2"))
	if db.Snapshot().Site("a") != "2" || db.Err() != nil {
		t.Errorf("a is %q, trouble %v", db.Snapshot().Site("a"), db.Err())
	}
}

func TestErrSaysWhy(t *testing.T) {
	store := &flaky{Store: openBolt(t, t.TempDir()+"/table.db"), asked: make(chan struct{}, 1000)}
	for range 1000 {
		store.fails = append(store.fails, errors.New("gone"))
	}
	db, err := nodedb.New(context.Background(), store)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	<-store.asked
	<-store.asked // the first failure has been noted by now
	if err := db.Err(); err == nil || err.Error() != "gone" {
		t.Errorf("Err is %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(time.Millisecond, cancel)
	err = db.Update(ctx, func(tx *nodedb.Tx) error { tx.Set(site("a"), "site.value", "1"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("an update whose change does not arrive: %v", err)
	}
}

func TestCloseEndsUpdates(t *testing.T) {
	db := nodedbtest.New(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	err := db.Update(context.Background(), func(tx *nodedb.Tx) error { tx.Set(site("a"), "site.value", "1"); return nil })
	if err == nil {
		t.Error("an update after Close says that all is well")
	}
}

// Readers see whole commits only, and never an older snapshot than before.
func TestReadersSeeWholeCommits(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Node("n1", "g"), nodedbtest.Node("n2", "g", "nodetype.profile=0"), nodedbtest.Group("g", "nodetype.os=0"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := int64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := db.Snapshot()
				if s.Rev() < last {
					t.Errorf("revision %d after %d", s.Rev(), last)
				}
				last = s.Rev()
				n1, _ := s.Node("n1")
				n2, _ := s.Node("n2")
				g, _ := s.Record(nodedb.Key{Kind: nodedb.KindGroup, Name: "g"})
				if n1.OS != n2.Profile || n1.OS != g.Attrs["nodetype.os"] {
					t.Errorf("os %q, profile %q, group %q", n1.OS, n2.Profile, g.Attrs["nodetype.os"])
				}
			}
		})
	}
	for i := range 200 {
		update(t, db, func(tx *nodedb.Tx) {
			tx.Set(nodedb.Key{Kind: nodedb.KindGroup, Name: "g"}, "nodetype.os", fmt.Sprint(i))
			tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "n2"}, "nodetype.profile", fmt.Sprint(i))
		})
	}
	close(stop)
	wg.Wait()
}
