package nodedb_test

import (
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// A licence key is found however it was written: by chdef, and by chtab with a
// product or without, of the node or of its group.
func TestProductKey(t *testing.T) {
	row := func(node, product, key string, more ...string) nodedb.Record {
		t := nodedb.TableByName("prodkey")
		r := nodedb.Record{Key: nodedb.Key{Kind: t.Kind, Name: t.KeyName(node, product)}, Attrs: map[string]string{"prodkey.key": key}}
		for _, column := range more {
			r.Attrs[column] = "1"
		}
		return r
	}
	db := nodedbtest.New(t,
		nodedbtest.Node("n1", "hosts,all"), nodedbtest.Node("n2", "hosts,all"), nodedbtest.Node("n3", "all"), nodedbtest.Node("n4", "others"), nodedbtest.Node("n5", "others"),
		row("hosts", "esx", "of hosts"), row("all", "", "of all"), row("hosts", "windows", "no"),
		row("n1", "esx", "of n1"), row("n1", "", "no"), row("n4", "esx", "off", "prodkey.disable"),
	)
	change(t, db, "node", "n5", "productkey=by chdef")
	snap := db.Snapshot()
	for name, want := range map[string]string{"n1": "of n1", "n2": "of hosts", "n3": "of all", "n4": "", "n5": "by chdef"} {
		n, err := snap.Node(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := snap.ProductKey(n, "esx"); got != want {
			t.Errorf("%s has key %q, want %q", name, got, want)
		}
	}
}
