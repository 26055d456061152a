package nodedb_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// as runs fn in a transaction of a command.
func as(t testing.TB, db *nodedb.DB, run string, fn func(*nodedb.Tx) error) error {
	t.Helper()
	return db.Update(nodedb.WithCause(context.Background(), nodedb.Cause{Run: run, User: "root", Command: "do " + run}), fn)
}

// content is all that the table holds but its history.
func content(db *nodedb.DB) map[nodedb.Key]map[string]string {
	m := make(map[nodedb.Key]map[string]string)
	snap := db.Snapshot()
	for _, kind := range snap.Kinds() {
		if kind == nodedb.KindHistory || kind == nodedb.KindHistoryPart {
			continue
		}
		for _, r := range snap.Records(kind) {
			m[r.Key] = r.Attrs
		}
	}
	return m
}

func same(a, b map[nodedb.Key]map[string]string) bool {
	return maps.EqualFunc(a, b, func(x, y map[string]string) bool { return maps.Equal(x, y) })
}

// Any commands can be taken back one after another, which leads to every table
// that there was before.
func TestUndoAll(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Node("n0", "all", "ipmi.password=tiger"))
	rnd := rand.New(rand.NewPCG(1, 2))
	var before []map[nodedb.Key]map[string]string
	for i := range 60 {
		before = append(before, content(db))
		err := as(t, db, fmt.Sprint("run", i), func(tx *nodedb.Tx) error {
			e := nodedb.Edit(tx)
			for range 1 + rnd.IntN(4) {
				node, name := nodedb.TypeByName("node"), fmt.Sprint("n", rnd.IntN(6))
				switch rnd.IntN(4) {
				case 0:
					e.Remove(node, name)
				case 1:
					e.Rename(node, name, fmt.Sprint("n", rnd.IntN(6)))
				case 2:
					e.Change(node, name, assigns("groups=all", "mgt=ipmi", fmt.Sprint("bmcpassword=", i)))
				case 3:
					e.Change(node, name, assigns("groups=all,g", fmt.Sprint("os=esxi", rnd.IntN(3)), "mgt="))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range slices.Backward(before) {
		if same(content(db), before[i]) {
			continue // the run changed nothing, and so is not in the history
		}
		if got, want := db.Snapshot().Takeable(""), fmt.Sprint("run", i); got != want {
			t.Fatalf("the last change is %s, want %s", got, want)
		}
		cause := nodedb.Cause{Run: fmt.Sprint("undo", i), Undoes: fmt.Sprint("run", i)}
		err := db.Update(nodedb.WithCause(t.Context(), cause), func(tx *nodedb.Tx) error { return tx.Undo(cause.Undoes) })
		if err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
		if !same(content(db), before[i]) {
			t.Fatalf("after run %d was taken back the table is\n%v\nand was\n%v", i, content(db), before[i])
		}
	}
	if got := db.Snapshot().Takeable(""); got != "" {
		t.Errorf("%s is left to be taken back", got)
	}
}

func TestUndoRefused(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Node("n1", "all", "nodetype.os=a"), nodedbtest.Node("n2", "all"))
	k1, k2, k3 := nodedb.Key{Kind: "node", Name: "n1"}, nodedb.Key{Kind: "node", Name: "n2"}, nodedb.Key{Kind: "node", Name: "n3"}
	set := func(k nodedb.Key, column, value string) func(*nodedb.Tx) error {
		return func(tx *nodedb.Tx) error { tx.Set(k, column, value); return nil }
	}
	as(t, db, "change", func(tx *nodedb.Tx) error {
		tx.Set(k1, "nodetype.os", "b")
		tx.Delete(k2)
		tx.Set(k3, "nodelist.groups", "all")
		return nil
	})
	undo := func() error {
		return as(t, db, "undo", func(tx *nodedb.Tx) error { return tx.Undo("change") })
	}
	tests := []struct {
		name, want  string
		meddle, fix func(*nodedb.Tx) error
	}{
		{"another value", "nodetype.os was changed since", set(k1, "nodetype.os", "c"), set(k1, "nodetype.os", "b")},
		{"made again", "node n2 was changed since", set(k2, "nodelist.groups", "x"), func(tx *nodedb.Tx) error { tx.Delete(k2); return nil }},
		{"used meanwhile", "node n3: nodelist.status was changed since", set(k3, "nodelist.status", "booted"), set(k3, "nodelist.status", "")},
	}
	for _, tt := range tests {
		if err := db.Update(t.Context(), tt.meddle); err != nil {
			t.Fatal(err)
		}
		was := content(db)
		var changed *nodedb.ChangedError
		if err := undo(); !errors.As(err, &changed) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if !same(was, content(db)) {
			t.Errorf("%s: a refused undo changed something", tt.name)
		}
		db.Update(t.Context(), tt.fix)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if err := undo(); err == nil {
		t.Error("taken back twice")
	}
	if n, err := db.Snapshot().Node("n2"); err != nil || n.OS != "" {
		t.Errorf("n2: %v", err)
	}
}

// A change of many nodes is kept whole, in parts if need be, and secrets are
// in the column that is sealed.
func TestHistoryLarge(t *testing.T) {
	db := nodedbtest.New(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	as(t, db, "many", func(tx *nodedb.Tx) error {
		for i := range 20000 {
			tx.Put(nodedb.Key{Kind: "node", Name: fmt.Sprintf("n%05d", i)}, map[string]string{"nodelist.groups": "all", "mac.mac": fmt.Sprintf("%016x%016x", rnd.Uint64(), rnd.Uint64())})
		}
		return nil
	})
	as(t, db, "secret", func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: "node", Name: "n00000"}, "ipmi.password", "tiger")
		return nil
	})
	h := db.Snapshot().History()
	if len(h) != 2 || h[0].Count != 20000 || fmt.Sprint(h[0].Tables) != "[mac nodelist]" {
		t.Fatalf("%d entries", len(h))
	}
	diffs, err := h[0].Diffs()
	if err != nil || len(diffs) != 20000 || !diffs[0].Made {
		t.Fatalf("%d diffs: %v", len(diffs), err)
	}
	if !nodedb.IsSecret(nodedb.HistorySealed) || nodedb.IsSecret("history.delta") {
		t.Error("the wrong column of the history is sealed")
	}
	parts := db.Snapshot().Records(nodedb.KindHistoryPart)
	if len(parts) == 0 {
		t.Error("not kept in parts: the test shows nothing")
	}
	for _, r := range db.Snapshot().Records(nodedb.KindHistory) {
		if (r.Attrs[nodedb.HistorySealed] != "") != (r.Attrs["history.run"] == "secret") {
			t.Errorf("%s: sealed column is %d bytes", r.Name, len(r.Attrs[nodedb.HistorySealed]))
		}
	}
	db.Update(t.Context(), func(tx *nodedb.Tx) error { tx.PruneHistory(1, 1<<30); return nil })
	if h := db.Snapshot().History(); len(h) != 1 || h[0].Run != "secret" || len(db.Snapshot().Records(nodedb.KindHistoryPart)) != 0 {
		t.Errorf("%d entries are left, want the newest only", len(h))
	}
	if d, _ := db.Snapshot().History()[0].Diffs(); fmt.Sprint(d) != "[{{node n00000} false false [{ipmi.password  tiger}]}]" {
		t.Errorf("%v", d)
	}
}
