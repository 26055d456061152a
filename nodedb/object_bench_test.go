package nodedb_test

import (
	"fmt"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// many is a table of n guests as operators define them.
func many(b *testing.B, n int) *nodedb.DB {
	db := nodedbtest.New(b)
	edit(b, db, func(e *nodedb.Editor) error {
		node := nodedb.TypeByName("node")
		e.Define(nodedb.TypeByName("group"), "vm", assigns("mgt=esx", "netboot=xnba", "arch=x86_64", "vmcpus=2", "vmmemory=4096", "vmnicnicmodel=vmxnet3", "vmstorage=vmfs://datastore1", "ip=|\\D+(\\d+)|10.0.($1/250).($1%250+1)|"))
		for i := range n {
			err := e.Define(node, fmt.Sprintf("vm%05d", i), assigns("groups=vm,all", "os=esxi8.0", "profile=base",
				fmt.Sprintf("mac=00:50:56:00:%02x:%02x", i/256, i%256), fmt.Sprintf("vmhost=esx%02d", i%64), "status=booted", "statustime=11-21-2026 08:36:10"))
			if err != nil {
				return err
			}
		}
		return nil
	})
	return db
}

func BenchmarkList10000(b *testing.B) {
	db := many(b, 10000)
	node := nodedb.TypeByName("node")
	for b.Loop() {
		view := nodedb.NewView(db.Snapshot())
		for _, name := range view.Names(node) {
			if _, ok := view.Object(node, name); !ok {
				b.Fatal(name)
			}
		}
	}
}

func BenchmarkChange10000(b *testing.B) {
	db := many(b, 10000)
	node := nodedb.TypeByName("node")
	names := nodedb.NewView(db.Snapshot()).Names(node)
	i := 0
	for b.Loop() {
		i++
		edit(b, db, func(e *nodedb.Editor) error {
			for _, name := range names {
				if _, err := e.Change(node, name, assigns(fmt.Sprint("os=esxi", i), "groups+=rack1")); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
