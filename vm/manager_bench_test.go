package vm_test

import (
	"context"
	"fmt"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
)

// A crowd is a vCenter with many guests, all off, that answers at once.
type crowd struct {
	vm.Hypervisor
	vms []vm.VM
}

func (c *crowd) About() vm.About                                          { return vm.About{Kind: vm.VPX} }
func (c *crowd) VMs(context.Context, vm.Query) ([]vm.VM, error)           { return c.vms, nil }
func (c *crowd) Hosts(context.Context) ([]string, error)                  { return []string{"esx0", "esx1"}, nil }
func (c *crowd) Close() error                                             { return nil }
func (c *crowd) dial(context.Context, vm.Endpoint) (vm.Hypervisor, error) { return c, nil }

// BenchmarkManager is what is left of lsvm and rpower stat of 5,000 guests
// where the hypervisor's own share takes no time.
func BenchmarkManager(b *testing.B) {
	c := &crowd{}
	records := []nodedb.Record{nodedbtest.Password("vcenter", "Administrator", "x")}
	for h := range 2 {
		records = append(records, nodedbtest.Node(fmt.Sprintf("esx%d", h), "hosts", "hypervisor.mgr=vpx://192.0.2.1/"))
	}
	for i := range 5000 {
		name, host := fmt.Sprintf("g%04d", i), fmt.Sprintf("esx%d", i%2)
		c.vms = append(c.vms, vm.VM{Name: name, Host: host, State: nodedb.PowerOff})
		records = append(records, nodedbtest.Node(name, "vms", "nodehm.mgt=esx", "vm.host="+host, "vm.storage=vmfs://datastore1", "vm.nics=vlan42=vmxnet3"))
	}
	db := nodedbtest.New(b, records...)
	m := &vm.Manager{API: c.dial}
	defer m.Close()
	nodes := func(group string) []*nodedb.Node {
		out, err := db.Snapshot().Expand(group)
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	guests, hosts := nodes("vms"), nodes("hosts")
	count := func(b *testing.B, run func(emit vm.Emit)) {
		b.ReportAllocs()
		for range b.N {
			n := 0
			run(func(r vm.Result) {
				if r.Err != nil {
					b.Fatal(r.Err)
				}
				n++
			})
			if n != 5000 {
				b.Fatalf("%d lines", n)
			}
		}
	}
	b.Run("stat", func(b *testing.B) {
		count(b, func(emit vm.Emit) {
			m.Power(b.Context(), db.Snapshot(), guests, vm.PowerRequest{Word: vm.WordStat}, emit)
		})
	})
	b.Run("list", func(b *testing.B) {
		count(b, func(emit vm.Emit) { m.List(b.Context(), db.Snapshot(), hosts, false, emit) })
	})
}
