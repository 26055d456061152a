package nodedb_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

func TestCopy(t *testing.T) {
	ctx := context.Background()
	from, to := openBolt(t, filepath.Join(t.TempDir(), "a")), openBolt(t, filepath.Join(t.TempDir(), "b"))
	defer from.Close()
	defer to.Close()
	if n, err := nodedb.Copy(ctx, from, to); n != 0 || err != nil {
		t.Errorf("nothing was copied as %d records (%v)", n, err)
	}
	var changes []nodedb.Change
	for _, r := range fleet(50) {
		changes = append(changes, nodedb.Change{Key: r.Key, Attrs: r.Attrs})
	}
	changes = append(changes, nodedb.Change{Key: nodedbtest.Password("a", "b", "").Key, Attrs: map[string]string{}})
	if _, err := from.Commit(ctx, changes); err != nil {
		t.Fatal(err)
	}
	if n, err := nodedb.Copy(ctx, from, to); n != len(changes) || err != nil {
		t.Fatalf("%d of %d records copied (%v)", n, len(changes), err)
	}
	want, _, _ := from.Load(ctx)
	got, _, _ := to.Load(ctx)
	for i, r := range want {
		if got[i].Key != r.Key || !maps.Equal(got[i].Attrs, r.Attrs) {
			t.Errorf("%v became %v", r, got[i])
		}
	}
	if _, err := nodedb.Copy(ctx, from, to); !errors.Is(err, nodedb.ErrConflict) {
		t.Errorf("copied over records: %v", err)
	}
}
