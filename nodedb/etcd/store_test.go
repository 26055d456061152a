package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"margay/nodedb"
	"margay/nodedb/etcd"
	"margay/nodedb/nodedbtest"
)

// suite runs what every store owes on a cluster, each part on a table of its
// own.
func suite(t *testing.T, c *cluster) {
	configs := map[testing.TB]etcd.Config{}
	nodedbtest.TestStore(t, func(t testing.TB) nodedb.Store {
		cfg, ok := configs[t]
		if !ok {
			cfg = c.config()
			configs[t] = cfg
		}
		s, err := etcd.Open(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestStoreOnOne(t *testing.T)   { suite(t, start(t, 1)) }
func TestStoreOnThree(t *testing.T) { suite(t, start(t, 3)) }

func record(name, value string, at int64) nodedb.Change {
	return nodedb.Change{Key: nodedb.Key{Kind: "margay.test", Name: name}, Attrs: map[string]string{"t.v": value}, If: at}
}

func db(t testing.TB, s nodedb.Store) *nodedb.DB {
	t.Helper()
	db, err := nodedb.New(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func value(db *nodedb.DB, name string) string {
	r, _ := db.Snapshot().Record(nodedb.Key{Kind: "margay.test", Name: name})
	return r.Attrs["t.v"]
}

func set(ctx context.Context, db *nodedb.DB, name, v string) error {
	return db.Update(ctx, func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: "margay.test", Name: name}, "t.v", v)
		return nil
	})
}

// until waits for a snapshot of which ok is true.
func until(t testing.TB, db *nodedb.DB, what string, ok func() bool) {
	t.Helper()
	done := make(chan struct{})
	var once sync.Once
	defer db.Subscribe(func(*nodedb.Snapshot) {
		if ok() {
			once.Do(func() { close(done) })
		}
	})()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("never seen: %s; the store says %v", what, db.Err())
	}
}

func TestTwoServersShareATable(t *testing.T) {
	c := start(t, 1)
	cfg := c.config()
	a, b := db(t, c.open(cfg)), db(t, c.open(cfg))
	ctx := context.Background()
	if err := set(ctx, a, "x", "from a"); err != nil {
		t.Fatal(err)
	}
	until(t, b, "what a wrote", func() bool { return value(b, "x") == "from a" })
	var wg sync.WaitGroup
	for i, d := range []*nodedb.DB{a, b, a, b} {
		wg.Go(func() {
			for j := range 15 {
				err := d.Update(ctx, func(tx *nodedb.Tx) error {
					k := nodedb.Key{Kind: "margay.test", Name: "list"}
					r, _ := tx.Get(k)
					tx.Set(k, "t.v", fmt.Sprintf("%s,%d.%d", r.Attrs["t.v"], i, j))
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	until(t, a, "60 items", func() bool { return strings.Count(value(a, "list"), ",") == 60 })
	until(t, b, "60 items", func() bool { return value(b, "list") == value(a, "list") })
}

// Big and small commits of two servers at once: each is seen whole.
func TestBigCommitsAmongSmall(t *testing.T) {
	c := start(t, 1)
	cfg := c.config()
	a, b := db(t, c.open(cfg)), db(t, c.open(cfg))
	ctx := context.Background()
	const n = 500
	big := func(d *nodedb.DB, v string) error {
		return d.Update(ctx, func(tx *nodedb.Tx) error {
			for i := range n {
				tx.Set(nodedb.Key{Kind: "margay.test", Name: fmt.Sprintf("big%03d", i)}, "t.v", v)
			}
			return nil
		})
	}
	whole := func(s *nodedb.Snapshot) {
		first, count := "", 0
		for _, r := range s.Records("margay.test") {
			if !strings.HasPrefix(r.Name, "big") {
				continue
			}
			if count++; first == "" {
				first = r.Attrs["t.v"]
			}
			if r.Attrs["t.v"] != first {
				t.Errorf("half a commit at revision %d: %s is %q, others %q", s.Rev(), r.Name, r.Attrs["t.v"], first)
				return
			}
		}
		if count != 0 && count != n {
			t.Errorf("%d of %d records at revision %d", count, n, s.Rev())
		}
	}
	defer a.Subscribe(whole)()
	defer b.Subscribe(whole)()
	var wg sync.WaitGroup
	for i, d := range []*nodedb.DB{a, b} {
		wg.Go(func() {
			for j := range 4 {
				if err := big(d, fmt.Sprint(i, j)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for j := range 30 {
				if err := set(ctx, d, fmt.Sprint("small", i), fmt.Sprint(j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	recs, _, err := c.open(cfg).Load(ctx)
	if err != nil || len(recs) != n+2 {
		t.Errorf("%d records (%v), want %d", len(recs), err, n+2)
	}
	left, err := c.client().Get(ctx, cfg.Prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range left.Kvs {
		if k := strings.TrimPrefix(string(kv.Key), cfg.Prefix); !strings.HasPrefix(k, "record/") && k != "format" {
			t.Errorf("left behind: %s", k)
		}
	}
}

// A big commit is refused before anything is written if a record has changed.
func TestBigConflict(t *testing.T) {
	c := start(t, 1)
	cfg := c.config()
	s := c.open(cfg)
	ctx := context.Background()
	rev, err := s.Commit(ctx, []nodedb.Change{record("r0499", "mine", 0)})
	if err != nil {
		t.Fatal(err)
	}
	var changes []nodedb.Change
	for i := range 500 {
		changes = append(changes, record(fmt.Sprintf("r%04d", i), "big", 0))
	}
	if _, err := s.Commit(ctx, changes); !errors.Is(err, nodedb.ErrConflict) || !strings.Contains(err.Error(), "r0499") {
		t.Errorf("%v, want a conflict about r0499", err)
	}
	recs, _, err := s.Load(ctx)
	if err != nil || len(recs) != 1 || recs[0].Rev != rev {
		t.Errorf("%v (%v)", recs, err)
	}
	changes[499].If = rev
	if _, err := s.Commit(ctx, changes); err != nil {
		t.Errorf("after the conflict: %v", err)
	}
	if _, err := s.Commit(ctx, []nodedb.Change{record("huge", strings.Repeat("x", 2<<20), 0)}); !errors.Is(err, nodedb.ErrInvalid) {
		t.Errorf("a record that etcd does not take: %v", err)
	}
	var fat []nodedb.Change // few records, but too many bytes for one transaction
	for i := range 5 {
		fat = append(fat, record(fmt.Sprint("fat", i), strings.Repeat("x", 600<<10), 0))
	}
	if _, err := s.Commit(ctx, fat); err != nil {
		t.Error(err)
	}
}

// Compaction while nobody watches, or while the watch is cut, means loading
// anew, and nothing is missed.
func TestCompaction(t *testing.T) {
	c := start(t, 1)
	cfg := c.config()
	s := c.open(cfg)
	ctx := context.Background()
	var rev int64
	for i := range 10 {
		var err error
		if rev, err = s.Commit(ctx, []nodedb.Change{record("x", fmt.Sprint(i), rev)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.client().Compact(ctx, rev); err != nil {
		t.Fatal(err)
	}
	err := s.Watch(ctx, rev-5, func(recs []nodedb.Record, _ int64) {
		if len(recs) > 0 {
			t.Error("told of what is compacted")
		}
	})
	if !errors.Is(err, nodedb.ErrCompact) {
		t.Errorf("Watch: %v, want ErrCompact", err)
	}
}

// With etcd gone reads go on and writes fail, saying why; when it is back all
// catch up, also over a compaction.
func TestEtcdGoneAndBack(t *testing.T) {
	c := start(t, 1)
	cfg := c.config()
	a := db(t, c.open(cfg))
	ctx := context.Background()
	if err := set(ctx, a, "x", "before"); err != nil {
		t.Fatal(err)
	}
	c.members[0].kill()
	var err error
	for end := time.Now().Add(time.Minute); err == nil || !strings.Contains(err.Error(), "connection refused") && time.Now().Before(end); {
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		err = set(short, a, "x", "while gone")
		cancel()
		if err == nil {
			t.Fatal("a write is acknowledged while etcd is gone")
		}
	}
	if err == nil || !strings.Contains(err.Error(), "etcd at "+c.members[0].client) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a write while etcd is gone: %v", err)
	}
	if got := value(a, "x"); got != "before" {
		t.Errorf("x is %q while etcd is gone", got)
	}
	for end := time.Now().Add(time.Minute); a.Err() == nil && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if err := a.Err(); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("while etcd is gone the table says %v", err)
	}
	if _, err := etcd.Open(ctx, cfg); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Open while etcd is gone: %v", err)
	}
	c.members[0].run(t)
	c.ready()
	b := db(t, c.open(cfg))
	for i := range 5 {
		if err := set(ctx, b, "x", fmt.Sprint("after", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.client().Compact(ctx, b.Snapshot().Rev()); err != nil {
		t.Fatal(err)
	}
	until(t, a, "what was written after", func() bool { return value(a, "x") == "after4" })
	if err := set(ctx, a, "x", "again"); err != nil {
		t.Error(err)
	}
	if err := a.Err(); err != nil {
		t.Errorf("with etcd back the table says %v", err)
	}
}

// The leader of three dies under load: no acknowledged write is lost, and
// writing goes on.
func TestLeaderDies(t *testing.T) {
	c := start(t, 3)
	cfg := c.config()
	d := db(t, c.open(cfg))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	const writers = 4
	acked := make([]int, writers)
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range acked {
			n += a
		}
		return n
	}
	killed := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			after := 0
			for i := 1; after < 20 && ctx.Err() == nil; i++ {
				var err error
				if w == 0 { // big ones too
					err = d.Update(ctx, func(tx *nodedb.Tx) error {
						for j := range 200 {
							tx.Set(nodedb.Key{Kind: "margay.test", Name: fmt.Sprintf("w0-%03d", j)}, "t.v", fmt.Sprint(i))
						}
						return nil
					})
				} else {
					err = set(ctx, d, fmt.Sprint("w", w), fmt.Sprint(i))
				}
				if err != nil {
					continue // not acknowledged: it may or may not have been made
				}
				mu.Lock()
				acked[w] = i
				mu.Unlock()
				select {
				case <-killed:
					after++
				default:
				}
			}
		})
	}
	for total() < 60 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	c.leader().kill()
	close(killed)
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatalf("writing did not go on; acknowledged %v, the store says %v", acked, d.Err())
	}
	recs, _, err := c.open(cfg).Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first := ""
	for _, r := range recs {
		var w, n int
		fmt.Sscanf(r.Name, "w%d", &w)
		fmt.Sscan(r.Attrs["t.v"], &n)
		if n < acked[w] {
			t.Errorf("%s is of round %d, acknowledged was %d", r.Name, n, acked[w])
		}
		if w == 0 {
			if first == "" {
				first = r.Attrs["t.v"]
			}
			if first != r.Attrs["t.v"] {
				t.Fatalf("half a commit: %s is %s, others %s", r.Name, r.Attrs["t.v"], first)
			}
		}
	}
}

func TestParseURL(t *testing.T) {
	tests := []struct{ in, want string }{
		{"etcd://h1:2379,h2/pre/fix", "[h1:2379 h2:2379] pre/fix/  "},
		{"etcd://h1", "[h1:2379] margay/  "},
		{"etcd://h1/", "[h1:2379] margay/  "},
		{"etcd://[fd00::1]:99,fd00::2/p", "[[fd00::1]:99 [fd00::2]:2379] p/  "},
		{"etcd://joe:secret@h1/p", "[h1:2379] p/ joe secret"},
		{"etcds://h1/p", "[h1:2379] p/  "},
	}
	for _, tt := range tests {
		c, err := etcd.ParseURL(tt.in)
		if got := fmt.Sprint(c.Endpoints) + " " + c.Prefix + " " + c.Username + " " + c.Password; got != tt.want || err != nil {
			t.Errorf("%s is %s (%v), want %s", tt.in, got, err, tt.want)
		}
		if secure := strings.HasPrefix(tt.in, "etcds"); secure != (c.TLS != nil) {
			t.Errorf("%s: TLS %v", tt.in, c.TLS)
		}
	}
	for _, bad := range []string{"", "bolt:x", "etcd:/", "etcd://", "etcd://h1,,h2/", "etcd://joe:hunter2@/p", "etcd://h/p?x=1", "etcd://h/p?ca=x", "etcds://h/p?ca=/none", "etcds://h/p?cert=/none", "etcd://h/p?passwordfile=/none", "etcd://h/p?%zz"} {
		_, err := etcd.ParseURL(bad)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
