package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"margay/nodedb"
	"margay/nodedb/etcd"
)

// Whoever makes a big commit may die at any point of it.
func TestMakerDies(t *testing.T) {
	const n = 300
	c := start(t, 1)
	ctx := context.Background()
	for _, tt := range []struct {
		name    string
		made    bool
		applied int
	}{
		{"before it is made", false, 0},
		{"when it is made", true, 0},
		{"halfway", true, n / 2},
		{"at the end", true, n},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := c.config()
			maker := c.open(cfg)
			if _, err := maker.Commit(ctx, []nodedb.Change{record("old", "x", 0)}); err != nil {
				t.Fatal(err)
			}
			other := db(t, c.open(cfg))
			var changes []nodedb.Change
			for i := range n - 1 {
				changes = append(changes, record(fmt.Sprintf("r%03d", i), "big", 0))
			}
			changes = append(changes, nodedb.Change{Key: nodedb.Key{Kind: "margay.test", Name: "old"}, If: 1})
			d, err := etcd.Begin(ctx, maker, changes)
			if err != nil {
				t.Fatal(err)
			}
			if tt.made {
				if err := d.Make(ctx); err != nil {
					t.Fatal(err)
				}
				if err := d.Apply(ctx, tt.applied); err != nil {
					t.Fatal(err)
				}
			}
			if len(other.Snapshot().Records("margay.test")) != 1 {
				t.Errorf("others see %d records before it is done", len(other.Snapshot().Records("margay.test")))
			}
			d.Die()
			want := 1
			if tt.made { // others finish it, without being asked to
				want = n - 1
				until(t, other, "all of it", func() bool { return value(other, "r000") == "big" })
			}
			if got := len(other.Snapshot().Records("margay.test")); got != want {
				t.Errorf("others see %d records, want %d", got, want)
			}
			recs, _, err := c.open(cfg).Load(ctx)
			if err != nil || len(recs) != want {
				t.Errorf("%d records are loaded (%v), want %d", len(recs), err, want)
			}
			// The maker was not dead, only slow: it may not go on.
			if err := d.Apply(ctx, n); !errors.Is(err, etcd.ErrFenced) {
				t.Errorf("the maker goes on: %v", err)
			}
			if err := d.Make(ctx); !errors.Is(err, etcd.ErrFenced) {
				t.Errorf("the maker makes it again: %v", err)
			}
			if err := set(ctx, other, "next", "small"); err != nil {
				t.Error(err)
			}
			big := make([]nodedb.Change, 0, n)
			for i := range n {
				big = append(big, record(fmt.Sprintf("again%03d", i), "big", 0))
			}
			if _, err := maker.Commit(ctx, big); err != nil {
				t.Error(err)
			}
		})
	}
}

// A Load that meets a commit half made by one who is gone finishes it.
func TestLoadFinishes(t *testing.T) {
	c := start(t, 1)
	cfg := c.config()
	ctx := context.Background()
	maker := c.open(cfg)
	var changes []nodedb.Change
	for i := range 300 {
		changes = append(changes, record(fmt.Sprintf("r%03d", i), "big", 0))
	}
	d, err := etcd.Begin(ctx, maker, changes)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Make(ctx), d.Apply(ctx, 10)); err != nil {
		t.Fatal(err)
	}
	d.Die()
	recs, _, err := c.open(cfg).Load(ctx)
	if err != nil || len(recs) != 300 {
		t.Errorf("%d records (%v), want 300", len(recs), err)
	}
}

// What a small commit does to a record of a big one is not lost, nor is what
// the big one does.
func TestBigAndSmallOnOneRecord(t *testing.T) {
	c := start(t, 1)
	cfg := c.config()
	a, b := db(t, c.open(cfg)), db(t, c.open(cfg))
	ctx := context.Background()
	const n, rounds = 250, 6
	// An update may lose against the other again and again; then it says so,
	// and is not counted.
	add := func(d *nodedb.DB, records int) bool {
		err := d.Update(ctx, func(tx *nodedb.Tx) error {
			for i := range records {
				k := nodedb.Key{Kind: "margay.test", Name: fmt.Sprintf("r%03d", i)}
				r, _ := tx.Get(k)
				tx.Set(k, "t.v", r.Attrs["t.v"]+"+")
			}
			return nil
		})
		if err != nil && !errors.Is(err, nodedb.ErrConflict) {
			t.Error(err)
		}
		return err == nil
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range rounds {
			for !add(a, n) && !t.Failed() {
			}
		}
	})
	stop := make(chan struct{})
	small := 0
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if add(b, 1) {
					small++
				}
			}
		}
	})
	wg.Wait()
	close(stop)
	writer.Wait()
	if !add(b, 1) {
		t.Error("an update that nobody disturbs is in conflict")
	}
	if got, want := len(value(b, "r000")), rounds+small+1; got != want {
		t.Errorf("%d additions are there, %d were made", got, want)
	}
	if got := len(value(b, "r249")); got != rounds {
		t.Errorf("%d additions to the last record are there, %d were made", got, rounds)
	}
}
