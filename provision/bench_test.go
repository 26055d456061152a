package provision

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// benchService knows 10,000 nodes in 100 groups.
func benchService(b *testing.B) *Service {
	b.Helper()
	records := []nodedb.Record{nodedbtest.Site("domain", "cluster.test"), nodedbtest.Network("net1", "10.0.0.0", "255.0.0.0")}
	for i := range 10_000 {
		records = append(records, nodedbtest.Node(fmt.Sprintf("n%05d", i), fmt.Sprintf("all,g%02d", i%100),
			fmt.Sprintf("mac.mac=52:54:00:00:%02x:%02x", i>>8, i&255), fmt.Sprintf("hosts.ip=10.1.%d.%d", i>>8, i&255),
			"nodetype.os=esxi8", "nodetype.arch=x86_64", "nodetype.profile=base", "chain.currstate=boot"))
	}
	db := nodedbtest.New(b, records...)
	return NewService(Config{DB: db, State: b.TempDir(), Families: []Family{fakeFamily{}}, HTTPPort: 80})
}

// BenchmarkPlan is what the table and the policy cost of a DHCP DISCOVER.
func BenchmarkPlan(b *testing.B) {
	s := benchService(b)
	m := netboot.Machine{MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 7, 7}, Local: netip.MustParseAddr("10.0.0.1"), PXE: true, Firmware: netboot.UEFI64, Ask: netboot.AskDiscover}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Plan(context.Background(), m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScript is a node's iPXE script, made and read.
func BenchmarkScript(b *testing.B) {
	s := benchService(b)
	m := netboot.Machine{Addr: netip.MustParseAddr("10.1.7.7"), Local: netip.MustParseAddr("10.0.0.1")}
	b.ReportAllocs()
	for b.Loop() {
		f, err := s.Open(context.Background(), m, "boot/n01799/script")
		if err != nil {
			b.Fatal(err)
		}
		f.Body.Close()
	}
}
