package vsphere_test

import (
	"fmt"
	"io"
	"log"
	"sync"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
	"margay/vm/vsphere"
)

// fleet is so many hosts with so many guests each, made.
func fleet(b *testing.B, hosts, guests int) (*vmtest.Cluster, []string) {
	b.Helper()
	log.SetOutput(io.Discard) // the simulator tells every file that it finds
	var mu sync.Mutex
	var wg sync.WaitGroup
	var records []nodedb.Record
	var names []string
	for h := range hosts {
		wg.Go(func() {
			w := vmtest.New(b, vmtest.Options{})
			mu.Lock()
			defer mu.Unlock()
			host := fmt.Sprintf("esx%03d", h)
			records = append(records, nodedbtest.Node(host, "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+w.URI()))
			for g := range guests {
				name := fmt.Sprintf("g%03d-%04d", h, g)
				names = append(names, name)
				records = append(records, nodedbtest.Node(name, "vms", "nodehm.mgt=esx", "vm.host="+host, "vm.storage=vmfs://datastore1"))
			}
		})
	}
	wg.Wait()
	db := nodedbtest.New(b, append(records, nodedbtest.Password("vmware", "root", "vmware"))...)
	m := &vm.Manager{API: vsphere.Dialer{Trust: trust(db)}.Dial}
	b.Cleanup(func() { m.Close() })
	c := &vmtest.Cluster{DB: db, M: m}
	if out := c.Make(b, vm.MakeRequest{Sizes: "none"}, names...); out != "" {
		b.Fatalf("mkvm: %.500s", out)
	}
	return c, names
}

// BenchmarkStat1000 asks a host how 1,000 guests are.
func BenchmarkStat1000(b *testing.B) {
	c, names := fleet(b, 1, 1000)
	b.ResetTimer()
	for range b.N {
		c.Power(b, vm.WordStat, false, names...)
	}
}

// BenchmarkList1000 lists a host's 1,000 guests.
func BenchmarkList1000(b *testing.B) {
	c, _ := fleet(b, 1, 1000)
	b.ResetTimer()
	for range b.N {
		c.List(b, "esx000")
	}
}

// BenchmarkPower500 turns 500 guests on 50 hosts on and off again.
func BenchmarkPower500(b *testing.B) {
	c, names := fleet(b, 50, 10)
	b.ResetTimer()
	for range b.N {
		c.Power(b, vm.WordOn, false, names...)
		c.Power(b, vm.WordOff, false, names...)
	}
}

// BenchmarkMake200 makes and removes 200 guests on 20 hosts.
func BenchmarkMake200(b *testing.B) {
	c, names := fleet(b, 20, 10)
	b.ResetTimer()
	for range b.N {
		c.Remove(b, vm.RemoveRequest{Purge: true}, names...)
		if out := c.Make(b, vm.MakeRequest{Sizes: "none"}, names...); out != "" {
			b.Fatalf("mkvm: %.500s", out)
		}
	}
}
