package vm_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
)

func node(t *testing.T, db *nodedb.DB, name string) *nodedb.Node {
	t.Helper()
	n, err := db.Snapshot().Node(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNewGuest(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Node("esx1", "hosts", "hosts.ip=10.0.0.1", "hypervisor.defaultnet=vSwitch7"),
		nodedbtest.Node("esx2", "hosts", "hypervisor.mgr=vc1"),
		nodedbtest.Node("esx3", "hosts", "hypervisor.mgr=vc1", "hypervisor.preferdirect=1"),
		nodedbtest.Node("esx4", "hosts", "hypervisor.mgr=esx://admin@127.0.0.9:8443/?no_verify=1"),
		nodedbtest.Password("vmware", "root", "shared"), nodedbtest.Password("vmware:esx3", "op", "own"), nodedbtest.Password("vcenter", "Administrator", "vc"),
		nodedbtest.Record(vm.KindTrust, "10.0.0.1:443", vm.TrustCert+"=AA:BB"),
	)
	tests := []struct {
		host string
		want vm.Endpoint
	}{
		{"esx1", vm.Endpoint{Kind: vm.ESX, Name: "esx1", Host: "10.0.0.1", User: "root", Password: "shared", Pin: "AA:BB"}},
		{"esx2", vm.Endpoint{Kind: vm.VPX, Name: "vc1", Host: "vc1", User: "Administrator", Password: "vc"}},
		{"esx3", vm.Endpoint{Kind: vm.ESX, Name: "esx3", Host: "esx3", User: "op", Password: "own"}},
		{"esx4", vm.Endpoint{Kind: vm.ESX, Name: "esx4", Host: "127.0.0.9", Port: 8443, User: "admin", NoVerify: true}},
	}
	for _, tt := range tests {
		nodedbtest.Put(t, db, nodedbtest.Node("g", "vms", "nodehm.mgt=esx", "vm.host="+tt.host, "vm.memory=1G", "vm.storage=vmfs://a=sas,nfs://s/p", "vm.nics=x"))
		g, err := vm.NewGuest(db.Snapshot(), node(t, db, "g"))
		if err != nil {
			t.Errorf("%s: %v", tt.host, err)
			continue
		}
		e := g.Endpoint
		if e.Kind != tt.want.Kind || e.Name != tt.want.Name || e.Host != tt.want.Host || e.Port != tt.want.Port || e.User != tt.want.User || e.Password != tt.want.Password || e.Pin != tt.want.Pin || e.NoVerify != tt.want.NoVerify {
			t.Errorf("%s is reached by %s as %s, want %s as %s", tt.host, e.Addr(), e.User, tt.want.Addr(), tt.want.User)
		}
		if g.MemoryMB != 1024 || len(g.Storage) != 2 || g.Storage[0].Bus != vm.LSISAS {
			t.Errorf("%s: %+v", tt.host, g)
		}
	}
	if strings.Contains(vm.Endpoint{Name: "x", Password: "secret"}.String(), "secret") {
		t.Error("an endpoint prints its password")
	}
}

func TestNewGuestRefuses(t *testing.T) {
	for _, tt := range []struct{ attr, want string }{
		{"vm.memory=lots", "vmmemory: "}, {"vm.cpus=0", "vmcpus"}, {"vm.storagemodel=floppy", "vmstoragemodel: "}, {"vm.storage=here", "not supported storage specification"},
		{"vm.nics=vlan9999", "out of range"}, {"vm.othersettings==x", "Invalid format"}, {"vm.host=gsx://h", "VMware Server"}, {"vm.cfgstore=dir:///x", "vmcfgstore: "},
	} {
		attrs := []string{"nodehm.mgt=esx", tt.attr}
		if !strings.HasPrefix(tt.attr, "vm.host") {
			attrs = append(attrs, "vm.host=esx1")
		}
		db := nodedbtest.New(t, nodedbtest.Node("g", "vms", attrs...))
		if _, err := vm.NewGuest(db.Snapshot(), node(t, db, "g")); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.attr, err)
		}
	}
	db := nodedbtest.New(t, nodedbtest.Node("g", "vms", "nodehm.mgt=esx"), nodedbtest.Node("c", "vms", "nodehm.mgt=esx", "vm.migrationdest=prod@vc1"))
	if _, err := vm.NewGuest(db.Snapshot(), node(t, db, "g")); err == nil || !strings.Contains(err.Error(), "no host or cluster defined for guest") {
		t.Errorf("without host: %v", err)
	}
	g, err := vm.NewGuest(db.Snapshot(), node(t, db, "c"))
	if err != nil || g.Cluster != "prod" || g.Endpoint.Kind != vm.VPX {
		t.Errorf("in a cluster: %+v, %v", g, err)
	}
}

func TestAllocator(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Site("genmacprefix", "00:50:56"),
		nodedbtest.Node("a", "vms"), nodedbtest.Node("b", "vms", "mac.mac=42:00:00:00:00:01", "vpd.uuid=42198f65-d579-fb26-8de7-3ae49e1790a7"),
		nodedbtest.Node("c", "vms", "mac.mac=42:00:00:00:00:01"), nodedbtest.Node("d", "vms", "mac.mac=00:50:56:50:00:00"),
	)
	snap := db.Snapshot()
	a := vm.NewAllocator(snap, rand.NewChaCha8([32]byte{3}))
	facts, err := a.Guest(node(t, db, "a"), 3)
	macs := strings.Split(facts["mac.mac"], "|")
	if err != nil || len(macs) != 3 || strings.Contains(macs[0], "!") || !strings.HasSuffix(macs[1], "!*NOIP*") || vm.CheckUUID(facts["vpd.uuid"]) != nil {
		t.Errorf("a gets %v, %v", facts, err)
	}
	for i, m := range macs {
		if m, _, _ = strings.Cut(m, "!"); vm.CheckMAC(m) != nil || !strings.HasPrefix(m, "00:50:56:") {
			t.Errorf("address %d of a is %s", i, m)
		}
	}
	if _, err := a.Guest(node(t, db, "d"), 1); !errors.Is(err, vm.ErrInvalid) {
		t.Errorf("an address that VMware keeps: %v", err)
	}
	_, errB := a.Guest(node(t, db, "b"), 1)
	_, errC := a.Guest(node(t, db, "c"), 1)
	if (errB == nil) == (errC == nil) && !errors.Is(errC, vm.ErrExists) {
		t.Errorf("one address for two: %v, %v", errB, errC)
	}
}
