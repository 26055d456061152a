package nodedb_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"margay/nodedb"
	"margay/nodedb/bolt"
	"margay/nodedb/nodedbtest"
)

// fleet is n hosts in 300 racks, as real ones are described.
func fleet(n int) []nodedb.Record {
	recs := []nodedb.Record{
		nodedbtest.Group("all", "noderes.netboot=xnba", "nodetype.arch=x86_64"),
		nodedbtest.Group("esx", "nodehm.mgt=ipmi", "nodetype.os=esxi8.0.2", "nodetype.profile=base", "ipmi.username=admin", `ipmi.bmc=/\z/-bmc/`, "hypervisor.type=esx", "hypervisor.mgr=vcenter1"),
		nodedbtest.Network("prov", "10.0.0.0", "255.0.0.0"),
	}
	for i := range 300 {
		recs = append(recs, nodedbtest.Group(fmt.Sprintf("rack%03d", i), fmt.Sprintf("nodepos.room=r%d", i/20)))
	}
	for i := range n {
		recs = append(recs, nodedbtest.Node(fmt.Sprintf("n%d", i+1), fmt.Sprintf("esx,rack%03d,all", i%300),
			"nodelist.status=booted", fmt.Sprintf("nodelist.statustime=11-21-2026 08:%02d:%02d", i/60%60, i%60), "nodetype.provmethod=esxi8.0.2-x86_64-install-base", "chain.currstate=boot",
			"mac.mac="+fleetMAC(i).String(), "hosts.ip="+fleetAddr(i).String(), fmt.Sprintf("nodepos.rack=%d", i%300), fmt.Sprintf("nodepos.u=%d", i/300),
			fmt.Sprintf("vpd.serial=SN%08d", i), "vpd.mtm=7X06CTO1WW", fmt.Sprintf("vpd.uuid=%08x-0000-4000-8000-000000000000", i)))
	}
	return recs
}

func fleetMAC(i int) net.HardwareAddr {
	return net.HardwareAddr{0x00, 0x50, 0x56, byte(i >> 16), byte(i >> 8), byte(i)}
}

func fleetAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// fleetDB is a table of n hosts. It is closed when the benchmark ends.
func fleetDB(b *testing.B, n int) *nodedb.DB {
	db := nodedbtest.New(b, fleet(n)...)
	db.Snapshot().Nodes()
	b.ResetTimer()
	return db
}

// sizes runs a benchmark at the sizes that count.
func sizes(b *testing.B, run func(b *testing.B, n int)) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if n > 10_000 && testing.Short() {
				b.Skip("short")
			}
			run(b, n)
		})
	}
}

func BenchmarkNodeByMAC(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		db := fleetDB(b, n)
		for i := 0; b.Loop(); i++ {
			if db.Snapshot().NodeByMAC(fleetMAC(i*7919%n)) == nil {
				b.Fatal("not found")
			}
		}
	})
}

func BenchmarkNode(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		db := fleetDB(b, n)
		names := db.Snapshot().NodeNames()
		for i := 0; b.Loop(); i++ {
			if _, err := db.Snapshot().Node(names[i*7919%n]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkExpand(b *testing.B) {
	for _, r := range []string{"n[1-10000]", "esx", "rack007", "/n1.*", "nodetype.os=~^esxi8", "vpd.serial==SN00000007", "all,-rack001-rack100"} {
		b.Run(r, func(b *testing.B) {
			sizes(b, func(b *testing.B, n int) {
				db := fleetDB(b, n)
				for b.Loop() {
					if list, err := db.Snapshot().Expand(r); err != nil || len(list) == 0 {
						b.Fatal(len(list), err)
					}
				}
			})
		})
	}
}

func BenchmarkSetOne(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		db := fleetDB(b, n)
		for i := 0; b.Loop(); i++ {
			setStatus(b, db, fmt.Sprintf("n%d", i*7919%n+1), fmt.Sprint(i))
		}
	})
}

func BenchmarkSetOne16Writers(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		db := fleetDB(b, n)
		b.SetParallelism(16 / runtime.GOMAXPROCS(0))
		var next atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := int(next.Add(1))
				setStatus(b, db, fmt.Sprintf("n%d", i*7919%n+1), fmt.Sprint(i))
			}
		})
	})
}

func setStatus(b *testing.B, db *nodedb.DB, name, status string) {
	err := db.Update(context.Background(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: name}, "nodelist.status", status)
		return nil
	})
	if err != nil {
		b.Error(err)
	}
}

func BenchmarkSetAll(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		db := fleetDB(b, n)
		names := db.Snapshot().NodeNames()
		for i := 0; b.Loop(); i++ {
			err := db.Update(context.Background(), func(tx *nodedb.Tx) error {
				for _, name := range names {
					tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: name}, "nodelist.status", fmt.Sprint(i))
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSetGroup(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		db := fleetDB(b, n)
		for i := 0; b.Loop(); i++ {
			err := db.Update(context.Background(), func(tx *nodedb.Tx) error {
				tx.Set(nodedb.Key{Kind: nodedb.KindGroup, Name: "esx"}, "nodetype.os", fmt.Sprint(i))
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpen is what a start costs, and how much memory the table takes,
// with all nodes looked at.
func BenchmarkOpen(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		path := filepath.Join(b.TempDir(), "table.db")
		db := openDB(b, path)
		nodedbtest.Put(b, db, fleet(n)...)
		db.Close()
		before := heap()
		b.ResetTimer()
		for b.Loop() {
			db = openDB(b, path)
			b.StopTimer()
			db.Snapshot().Nodes()
			b.ReportMetric(float64(heap()-before)/float64(n), "B/node")
			db.Close()
			b.StartTimer()
		}
	})
}

func openDB(b *testing.B, path string) *nodedb.DB {
	s, err := bolt.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	db, err := nodedb.New(context.Background(), s)
	if err != nil {
		b.Fatal(err)
	}
	return db
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
