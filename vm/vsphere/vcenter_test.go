package vsphere_test

import (
	"context"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
	"margay/vm/vsphere"
)

// vcenter is a table with two hosts behind one vCenter, and a guest on each.
func vcenter(t *testing.T, opts vmtest.Options) (*vmtest.World, *vmtest.Cluster) {
	t.Helper()
	opts.VCenter, opts.User = true, "Administrator"
	w := vmtest.New(t, opts)
	mgr := "hypervisor.mgr=" + w.URI()
	db := nodedbtest.New(t,
		nodedbtest.Node("esx1", "hosts", "nodetype.os=esxi8.0", mgr), nodedbtest.Node("esx2", "hosts", "nodetype.os=esxi8.0", mgr),
		nodedbtest.Password("vcenter", "Administrator", w.Password),
		nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "nodetype.os=rhels8.6", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=vlan5"),
		nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx2", "vm.storage=vmfs://datastore1", "vm.nics=vlan5"),
		nodedbtest.Node("vm3", "vms", "nodehm.mgt=esx", "vm.host=esx2", "vm.storage=vmfs://datastore1"),
	)
	m := &vm.Manager{API: vsphere.Dialer{Trust: trust(db)}.Dial}
	t.Cleanup(func() { m.Close() })
	return w, &vmtest.Cluster{DB: db, M: m}
}

func migrate(t *testing.T, c *vmtest.Cluster, req vm.MigrateRequest, name string) string {
	t.Helper()
	return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Migrate(ctx, snap, c.Nodes(t, name), req, emit)
	})
}

func TestVCenter(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm2"), "")
	want(t, "lsvm", c.List(t, "esx1", "esx2"), "esx1: vm1\nesx2: vm2")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1", "vm2"), "vm1: on\nvm2: on")

	out := migrate(t, c, vm.MigrateRequest{Target: "esx2", DryRun: true}, "vm1")
	for _, part := range []string{"target esx2 is connected: ok", "datastore datastore1 is on the target: ok", "network vlan5 is on the target: ok"} {
		contains(t, "rmigrate --dry-run", out, part)
	}
	want(t, "rmigrate", migrate(t, c, vm.MigrateRequest{Target: "esx2"}, "vm1"), "vm1: migrated to esx2")
	if n := c.Nodes(t, "vm1")[0]; n.VMHost != "esx2" {
		t.Errorf("the table has vm1 on %s", n.VMHost)
	}
	want(t, "lsvm", c.List(t, "esx1", "esx2"), "esx2: vm1\nesx2: vm2")
	contains(t, "rmigrate to where it is", migrate(t, c, vm.MigrateRequest{Target: "esx2"}, "vm1"), "guest is not on it already: it is")
	contains(t, "rmigrate without target", migrate(t, c, vm.MigrateRequest{}, "vm1"), "No target hypervisor specified")
	contains(t, "rmigrate -s and a host", migrate(t, c, vm.MigrateRequest{Target: "esx1", Storage: "vmfs://x"}, "vm1"), "Unable to mix storage migration and processing of arguments esx1")

	// Someone moves the guest by hand: the table follows.
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1"))
	want(t, "rpower stat", c.Power(t, vm.WordStat, false, "vm1"), "vm1: on")
	if n := c.Nodes(t, "vm1")[0]; n.VMHost != "esx2" {
		t.Errorf("the table still has vm1 on %s", n.VMHost)
	}
	if w.Count("MigrateVM_Task") != 1 {
		t.Errorf("%d moves", w.Count("MigrateVM_Task"))
	}
}

func TestStorageMigration(t *testing.T) {
	_, c := vcenter(t, vmtest.Options{Datastores: []string{"datastore1", "fast"}})
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	want(t, "rmigrate -s", migrate(t, c, vm.MigrateRequest{Storage: "vmfs://fast"}, "vm1"), "vm1: relocated to vmfs://fast")
	if n := c.Nodes(t, "vm1")[0]; n.VMStorage != "vmfs://fast" {
		t.Errorf("the table has it on %s", n.VMStorage)
	}
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "Hard disk 1 (d200:0): 1024 MB @ [fast] vm1/vm1.vmdk")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
	contains(t, "rmigrate -s to nowhere", migrate(t, c, vm.MigrateRequest{Storage: "vmfs://nosuch"}, "vm1"), "Unable to find/mount target datastore vmfs://nosuch")
	contains(t, "rmigrate -s -f", migrate(t, c, vm.MigrateRequest{Storage: "vmfs://fast", Force: true}, "vm1"), "Storage migration impossible with dead hypervisor")
}

func TestVCenterClone(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	out := c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, emit)
	})
	want(t, "clonevm -t", out, "vm1: Successfully copied to vmm")
	if w.Count("CloneVM_Task") != 1 || w.Count("CreateSnapshot_Task") != 1 || w.Count("MarkAsTemplate") != 1 {
		t.Errorf("calls %v", w.Calls())
	}
	row, ok := c.DB.Snapshot().Record(nodedb.Key{Kind: vm.KindMaster, Name: "vmm"})
	if !ok || row.Attrs["vmmaster.os"] != "rhels8.6" || row.Attrs["vmmaster.originator"] != "root" || row.Attrs["vmmaster.storage"] != "vmfs://datastore1" {
		t.Errorf("row %v", row.Attrs)
	}
	c.Allocate(t, 1, "vm3")
	out = c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Clone(ctx, snap, c.Nodes(t, "vm3"), vm.CloneRequest{Base: "vmm"}, emit)
	})
	want(t, "clonevm -b", out, "vm3: Successfully cloned from vmm")
	n := c.Nodes(t, "vm3")[0]
	inv := c.Inventory(t, false, "vm3")
	contains(t, "rinv", inv, "vm3: Network adapter 1: "+n.MACs[0].Addr.String())
	contains(t, "rinv", inv, "vm3: UUID/GUID: "+n.Attr("vpd.uuid"))
	out = c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Clone(ctx, snap, c.Nodes(t, "vm2"), vm.CloneRequest{Base: "nosuch"}, emit)
	})
	want(t, "clonevm of no master", out, "vm2: Error: Cannot find master nosuch in vmmaster table")
}

// A host joins its vCenter when it is taken on, and the vCenter is let on only
// with the certificate that the host showed us.
func TestJoin(t *testing.T) {
	host := vmtest.New(t, vmtest.Options{})
	_, c := vcenter(t, vmtest.Options{Known: []*vmtest.World{host}})
	vc, err := c.DB.Snapshot().Node("esx1")
	if err != nil {
		t.Fatal(err)
	}
	nodedbtest.Put(t, c.DB, nodedbtest.Node("127.0.0.1", "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+vc.HostManager), nodedbtest.Password("vmware", host.User, host.Password))
	contains(t, "lsvm of a host that is nowhere", c.List(t, "127.0.0.1"), "Failed to communicate with 127.0.0.1 due to")
	hv, err := c.M.Open(t.Context(), vcEndpoint(t, c, vc.HostManager))
	if err != nil {
		t.Fatal(err)
	}
	j := vm.Join{Host: host.Host(), Port: port(t, host), User: host.User, Password: host.Password, Fingerprint: host.Fingerprint, Thumbprint: "AA:BB"}
	if err := hv.(vm.Joiner).Join(t.Context(), j); err == nil || !strings.Contains(err.Error(), "someone may be in between") && !strings.Contains(err.Error(), "vCenter sees certificate") {
		t.Errorf("join with another certificate: %v", err)
	}
	j.Thumbprint = host.Thumbprint
	if err := hv.(vm.Joiner).Join(t.Context(), j); err != nil {
		t.Fatalf("join: %v", err)
	}
	names, err := hv.Hosts(t.Context())
	if err != nil || len(names) != 3 {
		t.Errorf("hosts %v, %v", names, err)
	}
	out := c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.RemoveHosts(ctx, snap, c.Nodes(t, "esx2"), false, false, emit)
	})
	want(t, "rmhypervisor", out, "esx2: removed")
}

func vcEndpoint(t *testing.T, c *vmtest.Cluster, mgr string) vm.Endpoint {
	t.Helper()
	e, err := vm.VCenterEndpoint(c.DB.Snapshot(), mgr)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func port(t *testing.T, w *vmtest.World) int {
	t.Helper()
	e, err := vm.ParseURI(w.URI())
	if err != nil {
		t.Fatal(err)
	}
	return e.Port
}

// A host that is managed directly says by which vCenter its guests move.
func TestVCenterOfHost(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	host := vmtest.New(t, vmtest.Options{})
	nodedbtest.Put(t, c.DB, nodedbtest.Password("vmware", host.User, host.Password))
	direct := func(vc string) string {
		for _, name := range []string{"esx1", "esx2"} {
			nodedbtest.Put(t, c.DB, nodedbtest.Node(name, "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+host.URI()+vc))
		}
		return migrate(t, c, vm.MigrateRequest{Target: "esx2", DryRun: true}, "vm1")
	}
	contains(t, "rmigrate without vCenter", direct(""), "esx1 has no vCenter; set hostmanager")
	contains(t, "rmigrate with vcenter=*", direct("?vcenter=*"), "Unable to reach 127.0.0.1 vCenter server") // which is what the played host knows
	contains(t, "rmigrate with vcenter=", direct("?vcenter="+w.URI()), "datastore datastore1 is on the target: ok")
}
