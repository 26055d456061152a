package nodedb_test

import (
	"fmt"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// What is kept of a node beside its definition goes with it and moves with
// its name; what is named otherwise stays.
func TestPrivateRecords(t *testing.T) {
	kinds := []nodedb.Kind{"margay.attempt", "margay.timeline", "margay.withdrawn"}
	setup := func(t *testing.T) *nodedb.DB {
		db := nodedbtest.New(t, nodedbtest.Node("n1", "all"), nodedbtest.Node("n2", "all"),
			nodedbtest.Record("margay.lease", "10.0.0.1", "lease.mac=x"), nodedbtest.Record("margay.lease", "n1", "lease.mac=x"))
		for _, k := range kinds {
			nodedbtest.Put(t, db, nodedbtest.Record(k, "n1", "x.of=n1"), nodedbtest.Record(k, "n2", "x.of=n2"), nodedbtest.Record(k, "left", "x.of=left"))
		}
		return db
	}
	tests := []struct {
		name string
		do   func(*nodedb.Editor) error
		want string
	}{
		{"removed", func(e *nodedb.Editor) error { return e.Remove(nodedb.TypeByName("node"), "n1") }, "[left n2]"},
		{"renamed", func(e *nodedb.Editor) error { return e.Rename(nodedb.TypeByName("node"), "n1", "n9") }, "[left n2 n9]"},
		{"renamed to a name that left something", func(e *nodedb.Editor) error { return e.Rename(nodedb.TypeByName("node"), "n1", "left") }, "[left n2]"},
		{"nodelist's row deleted", func(e *nodedb.Editor) error {
			t := nodedb.TableByName("nodelist")
			e.DeleteRow(t, e.Find(t, map[string]string{"node": "n1"})[0])
			return nil
		}, "[left n2]"},
		{"a group removed", func(e *nodedb.Editor) error { return e.Remove(nodedb.TypeByName("group"), "all") }, "[left n1 n2]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := setup(t)
			edit(t, db, tt.do)
			for _, k := range kinds {
				var names []string
				for _, r := range db.Snapshot().Records(k) {
					names = append(names, r.Name)
					if r.Name == "n9" && r.Attrs["x.of"] != "n1" || tt.name[:7] == "renamed" && r.Name == "left" && tt.want == "[left n2]" && r.Attrs["x.of"] != "n1" {
						t.Errorf("%s %s is %v, want what n1 had", k, r.Name, r.Attrs)
					}
				}
				if got := fmt.Sprint(names); got != tt.want {
					t.Errorf("%s: %s, want %s", k, got, tt.want)
				}
			}
			if n := len(db.Snapshot().Records("margay.lease")); n != 2 {
				t.Errorf("%d leases, want 2", n)
			}
		})
	}
}
