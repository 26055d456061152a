package nodedb_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// TestCSV: a snapshot's CSV of a table of nodes is that of its rows, before and
// after changes, whichever table was asked for last.
func TestCSV(t *testing.T) {
	db := nodedbtest.New(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c", "n1", "n10", "n2", "z"}
	tables := []string{"nodelist", "mac", "hosts", "nodehm", "vm"}
	columns := []string{"nodelist.groups", "nodelist.comments", "mac.mac", "hosts.ip", "nodehm.mgt", "nodehm.", "vm.cpus"}
	lines := 0
	for round := range 60 {
		err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
			for range 1 + rnd.IntN(6) {
				k := nodedb.Key{Kind: []nodedb.Kind{nodedb.KindNode, nodedb.KindGroup}[rnd.IntN(2)], Name: names[rnd.IntN(len(names))]}
				switch {
				case rnd.IntN(5) == 0:
					tx.Delete(k)
				default:
					tx.Set(k, columns[rnd.IntN(len(columns))], fmt.Sprintf("v%d, \"x\"", rnd.IntN(3)))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		snap := db.Snapshot()
		for _, name := range tables {
			table := nodedb.TableByName(name)
			var want strings.Builder
			if err := nodedb.WriteCSV(&want, table, snap.Rows(table)); err != nil {
				t.Fatal(err)
			}
			got, ok := csvOf(snap, table)
			if !ok || got != want.String() {
				t.Fatalf("round %d, %s:\n%s\nwant\n%s", round, name, got, want.String())
			}
			lines += strings.Count(got, "\n") - 1
		}
	}
	if lines < 100 {
		t.Errorf("only %d lines: the test shows nothing", lines)
	}
	if _, ok := csvOf(db.Snapshot(), nodedb.TableByName("site")); ok {
		t.Error("site is no table of nodes")
	}
}

func csvOf(snap *nodedb.Snapshot, table *nodedb.Table) (string, bool) {
	var b strings.Builder
	ok := snap.CSV(table, func(block string) { b.WriteString(block) })
	return b.String(), ok
}

// TestCSVBlocks: of a large table no line is lost between two blocks, or parted.
func TestCSVBlocks(t *testing.T) {
	db := nodedbtest.New(t)
	err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
		for i := range 3000 {
			tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: fmt.Sprint("n", i)}, "nodelist.comments", strings.Repeat("x", i%90))
		}
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "n77"}, "nodelist.comments", strings.Repeat("long", 20<<10))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	table := nodedb.TableByName("nodelist")
	var want, got strings.Builder
	if err := nodedb.WriteCSV(&want, table, db.Snapshot().Rows(table)); err != nil {
		t.Fatal(err)
	}
	blocks := 0
	db.Snapshot().CSV(table, func(block string) {
		if blocks++; !strings.HasSuffix(block, "\n") {
			t.Errorf("block %d ends within a line", blocks)
		}
		got.WriteString(block)
	})
	if got.String() != want.String() || blocks < 3 {
		t.Errorf("%d bytes in %d blocks, want %d", got.Len(), blocks, want.Len())
	}
}
