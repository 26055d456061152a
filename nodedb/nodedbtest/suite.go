package nodedbtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"margay/nodedb"
)

// An Opener opens the store of one test. Called again in the same test it
// opens the same store anew; the one before has been closed.
type Opener func(t testing.TB) nodedb.Store

// TestStore is what every store owes. open is called with each subtest, and
// gives each an empty store.
func TestStore(t *testing.T, open Opener) {
	for _, tt := range []struct {
		name string
		run  func(*suite)
	}{
		{"commits are seen by Load", (*suite).commit},
		{"a conflict changes nothing", (*suite).conflict},
		{"odd names and values survive", (*suite).odd},
		{"Watch replays and follows", (*suite).watch},
		{"Watch after what is not kept", (*suite).compact},
		{"Watch ends with its context", (*suite).watchEnds},
		{"a big commit is all or nothing", (*suite).big},
		{"what was committed is there after Close", (*suite).reopen},
		{"no update is lost", (*suite).counters},
		{"random commits agree with a map", (*suite).random},
		{"a DB shows its own updates", (*suite).ownUpdates},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			s := &suite{T: t, ctx: ctx, open: open}
			s.store = open(t)
			defer func() { s.store.Close() }()
			tt.run(s)
		})
	}
}

type suite struct {
	*testing.T
	ctx   context.Context
	open  Opener
	store nodedb.Store
}

// key is a key of a kind of its own, so that stores need no schema.
func testKey(name string) nodedb.Key { return nodedb.Key{Kind: "margay.test", Name: name} }

func put(name, value string, at int64) nodedb.Change {
	return nodedb.Change{Key: testKey(name), Attrs: map[string]string{"t.v": value}, If: at}
}

func remove(name string, at int64) nodedb.Change {
	return nodedb.Change{Key: testKey(name), If: at}
}

func (s *suite) must(changes ...nodedb.Change) int64 {
	s.Helper()
	rev, err := s.store.Commit(s.ctx, changes)
	if err != nil {
		s.Fatal(err)
	}
	return rev
}

func (s *suite) load() (map[string]nodedb.Record, int64) {
	s.Helper()
	recs, rev, err := s.store.Load(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	m := make(map[string]nodedb.Record)
	for _, r := range recs {
		m[r.Name] = r
	}
	return m, rev
}

func (s *suite) commit() {
	if m, _ := s.load(); len(m) != 0 {
		s.Fatalf("a new store has %d records", len(m))
	}
	r1 := s.must(put("a", "1", 0), put("b", "2", 0))
	r2 := s.must(put("a", "3", r1), remove("b", r1), put("c", "4", 0))
	m, rev := s.load()
	if r1 >= r2 || rev != r2 {
		s.Errorf("revisions %d, %d, then %d", r1, r2, rev)
	}
	if len(m) != 2 || m["a"].Attrs["t.v"] != "3" || m["a"].Rev != r2 || m["c"].Rev != r2 || m["a"].Kind != "margay.test" {
		s.Errorf("records %v", m)
	}
}

func (s *suite) conflict() {
	r1 := s.must(put("a", "1", 0))
	r2 := s.must(put("b", "1", 0))
	for _, changes := range [][]nodedb.Change{
		{put("x", "new", 0), put("a", "2", 0)},      // there already
		{put("x", "new", 0), put("a", "2", r2)},     // of another revision
		{put("x", "new", 0), put("none", "2", r2)},  // not there
		{put("x", "new", 0), remove("none", r1)},    // not there
		{remove("b", r2), put("a", "2", r1+100000)}, // of the future
	} {
		if _, err := s.store.Commit(s.ctx, changes); !errors.Is(err, nodedb.ErrConflict) {
			s.Errorf("%v: %v, want ErrConflict", changes, err)
		}
	}
	if m, rev := s.load(); len(m) != 2 || rev != r2 {
		s.Errorf("after conflicts there are %v at %d, want what was there at %d", m, rev, r2)
	}
	s.must(remove("a", r1))
	s.must(put("a", "again", 0))
}

func (s *suite) odd() {
	want := map[string]map[string]string{
		"a/b/../c":                   {"t.": ""},
		"10.0.0.0\x1f255.0.0.0":      {"t.v": "line\nline\x00 \xff end"},
		"ünïcödé \"quoted\" %s $x\t": {"t.v": "|n(\\d+)|10.0.0.($1+0)|", "t.empty": ""},
		"\x1f":                       {},
	}
	var changes []nodedb.Change
	for name, attrs := range want {
		changes = append(changes, nodedb.Change{Key: testKey(name), Attrs: attrs})
	}
	s.must(changes...)
	m, _ := s.load()
	for name, attrs := range want {
		if got, ok := m[name]; !ok || got.Attrs == nil || !maps.Equal(got.Attrs, attrs) {
			s.Errorf("%q is %#v, want %q", name, got, attrs)
		}
	}
}

// A heard is one call of a watch's function.
type heard struct {
	recs []nodedb.Record
	rev  int64
}

// follow watches in a goroutine. stop ends it and returns its error.
func (s *suite) follow(after int64) (calls <-chan heard, stop func() error) {
	ctx, cancel := context.WithCancel(s.ctx)
	c := make(chan heard, 10000)
	done := make(chan error, 1)
	go func() {
		done <- s.store.Watch(ctx, after, func(recs []nodedb.Record, rev int64) {
			if len(recs) > 0 {
				c <- heard{recs, rev}
			}
		})
	}()
	return c, func() error { cancel(); return <-done }
}

func (s *suite) next(calls <-chan heard) heard {
	s.Helper()
	select {
	case h := <-calls:
		return h
	case <-s.ctx.Done():
		s.Fatal("nothing came from Watch")
		return heard{}
	}
}

func (s *suite) watch() {
	_, r0 := s.load()
	r1 := s.must(put("a", "1", 0), put("b", "1", 0))
	r2 := s.must(remove("a", r1))
	calls, stop := s.follow(r0)
	h := s.next(calls)
	if h.rev != r1 || len(h.recs) != 2 || h.recs[0].Rev != r1 || h.recs[0].Attrs["t.v"] != "1" {
		s.Errorf("first call %+v, want both records of revision %d", h, r1)
	}
	h = s.next(calls)
	if h.rev != r2 || len(h.recs) != 1 || h.recs[0].Key != testKey("a") || h.recs[0].Attrs != nil {
		s.Errorf("second call %+v, want a removed at %d", h, r2)
	}
	for i := range 20 {
		r := s.must(put(fmt.Sprint("live", i), "x", 0))
		if h = s.next(calls); h.rev != r || h.recs[0].Name != fmt.Sprint("live", i) {
			s.Fatalf("live call %+v, want revision %d", h, r)
		}
	}
	if err := stop(); err != nil {
		s.Errorf("Watch ended with %v", err)
	}
	s.must(put("b", "2", r1))
	calls, stop = s.follow(r2)
	defer stop()
	if h = s.next(calls); h.recs[0].Name != "live0" {
		s.Errorf("a second watch begins with %+v, want live0", h)
	}
}

func (s *suite) compact() {
	r := s.must(put("a", "1", 0))
	for _, after := range []int64{r + 1000000} {
		ctx, cancel := context.WithTimeout(s.ctx, 500*time.Millisecond)
		err := s.store.Watch(ctx, after, func(recs []nodedb.Record, rev int64) {
			if len(recs) > 0 {
				s.Errorf("told of %v at %d", recs, rev)
			}
		})
		late := ctx.Err() != nil
		cancel()
		if err != nil && !errors.Is(err, nodedb.ErrCompact) || err == nil && !late {
			s.Errorf("Watch after %d, with the store at %d: %v, want ErrCompact or silence", after, r, err)
		}
		if late {
			return // a store may wait for that revision to come
		}
	}
}

func (s *suite) watchEnds() {
	_, r0 := s.load()
	_, stop := s.follow(r0)
	if err := stop(); err != nil {
		s.Errorf("Watch ended with %v, want nil", err)
	}
}

func (s *suite) big() {
	_, r0 := s.load()
	const n = 3000
	var changes []nodedb.Change
	for i := range n {
		changes = append(changes, put(fmt.Sprintf("n%05d", i), "1", 0))
	}
	calls, stop := s.follow(r0)
	defer stop()
	rev := s.must(changes...)
	before, at := s.load()
	if len(before) != n || at != rev {
		s.Fatalf("%d records at %d, want %d at %d", len(before), at, n, rev)
	}
	if h := s.next(calls); len(h.recs) != n || h.rev != rev {
		s.Errorf("Watch told of %d records at %d, want %d at %d at once", len(h.recs), h.rev, n, rev)
	}
	for i := range changes {
		name := fmt.Sprintf("n%05d", i)
		changes[i] = put(name, "2", before[name].Rev)
	}
	changes[n-1].If = r0
	if _, err := s.store.Commit(s.ctx, changes); !errors.Is(err, nodedb.ErrConflict) {
		s.Fatalf("%v, want ErrConflict", err)
	}
	m, _ := s.load()
	for name, r := range m {
		if r.Attrs["t.v"] != "1" || r.Rev != before[name].Rev || r.Rev > rev || r.Rev <= r0 {
			s.Fatalf("%s is %v after a refused commit, was %v", name, r, before[name])
		}
	}
	changes[n-1].If = before[changes[n-1].Name].Rev
	s.must(changes...)
	if m, _ := s.load(); len(m) != n || m["n00000"].Attrs["t.v"] != "2" || m["n02999"].Attrs["t.v"] != "2" {
		s.Errorf("%d records, the first %v, the last %v", len(m), m["n00000"], m["n02999"])
	}
}

func (s *suite) reopen() {
	r1 := s.must(put("a", "1", 0))
	if err := s.store.Close(); err != nil {
		s.Fatal(err)
	}
	s.store = s.open(s.T)
	m, rev := s.load()
	if m["a"].Attrs["t.v"] != "1" || m["a"].Rev != r1 || rev < r1 {
		s.Errorf("%v at %d after reopening, want a of %d", m, rev, r1)
	}
	if r2 := s.must(put("a", "2", r1)); r2 <= rev {
		s.Errorf("revision %d after %d", r2, rev)
	}
}

// counters has several goroutines add to the same records.
func (s *suite) counters() {
	db := s.db()
	const workers, rounds = 8, 10
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				err := db.Update(s.ctx, func(tx *nodedb.Tx) error {
					r, _ := tx.Get(testKey("counter"))
					tx.Set(testKey("counter"), "t.v", r.Attrs["t.v"]+"x")
					tx.Set(testKey(fmt.Sprint("own", w)), "t.v", fmt.Sprint(i+1))
					return nil
				})
				if err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r, _ := db.Snapshot().Record(testKey("counter"))
	if n := len(r.Attrs["t.v"]); n != workers*rounds {
		s.Errorf("the counter is %d after %d updates", n, workers*rounds)
	}
}

// db opens a DB on the store; the suite's store is closed with it.
func (s *suite) db() *nodedb.DB {
	db, err := nodedb.New(s.ctx, s.store)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { db.Close() })
	return db
}

func (s *suite) random() {
	rng := rand.New(rand.NewPCG(1, 2))
	model := map[string]nodedb.Record{}
	_, r0 := s.load()
	calls, stop := s.follow(r0)
	defer stop()
	replay := map[string]nodedb.Record{}
	for range 150 {
		next := maps.Clone(model)
		var changes []nodedb.Change
		for range 1 + rng.IntN(5) {
			name := fmt.Sprint("k", rng.IntN(12))
			if next[name].Rev != model[name].Rev {
				continue
			}
			c := put(name, fmt.Sprint(rng.Int()), model[name].Rev)
			if _, ok := model[name]; ok && rng.IntN(3) == 0 {
				c.Attrs = nil
			}
			changes = append(changes, c)
			next[name] = nodedb.Record{Key: c.Key, Attrs: c.Attrs, Rev: -1}
		}
		if len(changes) == 0 {
			continue
		}
		rev := s.must(changes...)
		for name, r := range next {
			if r.Rev == -1 {
				r.Rev = rev
				next[name] = r
			}
		}
		maps.DeleteFunc(next, func(_ string, r nodedb.Record) bool { return r.Attrs == nil })
		model = next
		for _, r := range s.next(calls).recs {
			replay[r.Name] = r
		}
		maps.DeleteFunc(replay, func(_ string, r nodedb.Record) bool { return r.Attrs == nil })
	}
	got, _ := s.load()
	s.same("Load", got, model)
	s.same("Watch", replay, model)
}

func (s *suite) same(what string, got, want map[string]nodedb.Record) {
	s.Helper()
	if len(got) != len(want) {
		s.Errorf("%s has %d records, want %d", what, len(got), len(want))
	}
	for name, w := range want {
		if g := got[name]; g.Rev != w.Rev || !maps.Equal(g.Attrs, w.Attrs) {
			s.Errorf("%s: %s is %v, want %v", what, name, g, w)
		}
	}
}

func (s *suite) ownUpdates() {
	db := s.db()
	for i := range 20 {
		want := fmt.Sprint(i)
		err := db.Update(s.ctx, func(tx *nodedb.Tx) error {
			tx.Set(testKey("a"), "t.v", want)
			return nil
		})
		if err != nil {
			s.Fatal(err)
		}
		if r, _ := db.Snapshot().Record(testKey("a")); r.Attrs["t.v"] != want {
			s.Fatalf("Snapshot has %q after Update put %q", r.Attrs["t.v"], want)
		}
	}
}
