package nodedb_test

import (
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

func TestWith(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Node("n1", "a", "vm.cpus=1"), nodedbtest.Node("n2", "a"), nodedbtest.Site("domain", "d"))
	s := db.Snapshot()
	key := func(n string) nodedb.Key { return nodedb.Key{Kind: nodedb.KindNode, Name: n} }
	w := s.With(nodedb.Record{Key: key("n1"), Attrs: map[string]string{"nodelist.groups": "b", "vm.cpus": "2"}},
		nodedb.Record{Key: key("n3"), Attrs: map[string]string{"nodelist.groups": "a"}})
	n, err := w.Node("n1")
	if err != nil || n.VMCPUs != "2" || len(w.Members("a")) != 2 || len(w.Members("b")) != 1 || w.Site("domain") != "d" {
		t.Errorf("n1 %+v, %v, a %d, b %d", n, err, len(w.Members("a")), len(w.Members("b")))
	}
	if n, _ := s.Node("n1"); n.VMCPUs != "1" || s.HasNode("n3") {
		t.Error("the snapshot itself was changed")
	}
}
