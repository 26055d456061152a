package etcd_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"margay/nodedb"
)

// hosts fills a table with n records as nodes have them.
func hosts(b *testing.B, n int) *nodedb.DB {
	c := start(b, 1)
	d := db(b, c.open(c.config()))
	err := d.Update(context.Background(), func(tx *nodedb.Tx) error {
		for i := range n {
			tx.Put(nodedb.Key{Kind: nodedb.KindNode, Name: fmt.Sprint("n", i)}, map[string]string{
				"nodelist.": "", "nodelist.groups": "esx,all", "nodelist.status": "booted", "mac.mac": fmt.Sprintf("00:50:56:%02x:%02x:%02x", i>>16, i>>8&255, i&255),
				"hosts.ip": fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), "vpd.serial": fmt.Sprintf("SN%08d", i), "nodetype.os": "esxi8.0.2", "nodetype.arch": "x86_64",
			})
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	return d
}

func setStatus(b *testing.B, d *nodedb.DB, i int, status string) {
	err := d.Update(context.Background(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: fmt.Sprint("n", i)}, "nodelist.status", status)
		return nil
	})
	if err != nil {
		b.Error(err)
	}
}

func BenchmarkSetOne(b *testing.B) {
	d := hosts(b, 10_000)
	for i := 0; b.Loop(); i++ {
		setStatus(b, d, i*7919%10_000, fmt.Sprint(i))
	}
}

func BenchmarkSetOne16Writers(b *testing.B) {
	d := hosts(b, 10_000)
	var next atomic.Int64
	b.SetParallelism(16 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(next.Add(1))
			setStatus(b, d, i*7919%10_000, fmt.Sprint(i))
		}
	})
}

func BenchmarkSetAll(b *testing.B) {
	const n = 10_000
	d := hosts(b, n)
	for i := 0; b.Loop(); i++ {
		err := d.Update(context.Background(), func(tx *nodedb.Tx) error {
			for j := range n {
				tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: fmt.Sprint("n", j)}, "nodelist.status", fmt.Sprint(i))
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
