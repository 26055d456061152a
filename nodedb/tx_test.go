package nodedb_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// TestTxAgreesWithModel makes random changes in random order and compares what
// the transaction has of each record, and what is stored, with a map.
func TestTxAgreesWithModel(t *testing.T) {
	var recs []nodedb.Record
	for i := range 40 {
		recs = append(recs, nodedbtest.Node(fmt.Sprintf("n%02d", i), "all", "nodelist.status=a", "nodehm.mgt=ipmi"))
	}
	recs = append(recs, nodedbtest.Group("all", "nodehm.cons=x"))
	db := nodedbtest.New(t, recs...)
	model := make(map[nodedb.Key]map[string]string)
	for _, r := range recs {
		model[r.Key] = r.Attrs
	}
	columns, values := []string{"nodelist.status", "nodehm.mgt", "vm.host", "mac."}, []string{"", "a", "b"}
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		refused := errors.New("refused")
		want := maps.Clone(model)
		err := db.Update(context.Background(), func(tx *nodedb.Tx) error {
			next := 0
			for range rnd.IntN(60) {
				k := nodedb.Key{Kind: nodedb.KindNode, Name: fmt.Sprintf("n%02d", rnd.IntN(50))}
				if seed%2 == 0 { // in order, as most changes are
					next += rnd.IntN(3)
					k.Name = fmt.Sprintf("n%02d", next%50)
				}
				if rnd.IntN(8) == 0 {
					k = nodedb.Key{Kind: nodedb.KindGroup, Name: []string{"all", "some"}[rnd.IntN(2)]}
				}
				column, value := columns[rnd.IntN(len(columns))], values[rnd.IntN(len(values))]
				switch rnd.IntN(10) {
				case 0:
					tx.Delete(k)
					delete(want, k)
				case 1:
					tx.Put(k, map[string]string{column: value})
					want[k] = with(nil, column, value)
				case 2:
					got, there := tx.Get(k)
					if _, ok := want[k]; ok != there || !maps.Equal(got.Attrs, want[k]) {
						t.Fatalf("seed %d: %v is %v (%t), want %v", seed, k, got.Attrs, there, want[k])
					}
					// What was handed out stays as it is.
					before := maps.Clone(got.Attrs)
					tx.Set(k, column, value)
					want[k] = with(want[k], column, value)
					if !maps.Equal(got.Attrs, before) {
						t.Fatalf("seed %d: %v was %v and has become %v", seed, k, before, got.Attrs)
					}
				default:
					tx.Set(k, column, value)
					want[k] = with(want[k], column, value)
				}
			}
			if rnd.IntN(3) == 0 {
				agree(t, seed, want, tx.Records(nodedb.KindNode), tx.Records(nodedb.KindGroup))
			}
			if rnd.IntN(3) == 0 {
				diffs, err := tx.Diffs()
				if err != nil {
					return err
				}
				for _, d := range diffs {
					if d.Made && model[d.Key] != nil || d.Gone && want[d.Key] != nil {
						t.Errorf("seed %d: %v", seed, d)
					}
				}
			}
			if rnd.IntN(10) == 0 {
				return refused
			}
			return nil
		})
		switch {
		case err == nil:
			model = want
		case !errors.Is(err, refused):
			t.Fatal(err)
		}
		s := db.Snapshot()
		agree(t, seed, model, s.Records(nodedb.KindNode), s.Records(nodedb.KindGroup))
	}
}

func with(attrs map[string]string, column, value string) map[string]string {
	own := make(map[string]string)
	maps.Copy(own, attrs)
	if value == "" && column != "mac." {
		delete(own, column)
		return own
	}
	own[column] = value
	return own
}

func agree(t *testing.T, seed uint64, want map[nodedb.Key]map[string]string, lists ...[]nodedb.Record) {
	t.Helper()
	n := 0
	for _, list := range lists {
		n += len(list)
		if !slices.IsSortedFunc(list, func(a, b nodedb.Record) int { return slices.Compare([]string{a.Name}, []string{b.Name}) }) {
			t.Errorf("seed %d: records are out of order", seed)
		}
		for _, r := range list {
			if w, ok := want[r.Key]; !ok || !maps.Equal(w, r.Attrs) {
				t.Fatalf("seed %d: %v is %v, want %v", seed, r.Key, r.Attrs, w)
			}
		}
	}
	if n != len(want) {
		t.Fatalf("seed %d: %d records, want %d", seed, n, len(want))
	}
}
