package vsphere_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
	"margay/vm/vsphere"
)

// admin is another client of the same endpoint, as its administrator has one.
func admin(t *testing.T, w *vmtest.World) *govmomi.Client {
	t.Helper()
	c, err := govmomi.NewClient(t.Context(), &url.URL{Scheme: "https", Host: w.Addr, Path: "/sdk", User: url.UserPassword(w.User, w.Password)}, true)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestClusters(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	on := func(do func(context.Context, vm.Clusterer) error) error {
		return c.M.OnVCenter(t.Context(), c.DB.Snapshot(), w.URI(), "", "", do)
	}
	add := func(dc, name string) error {
		return on(func(ctx context.Context, cl vm.Clusterer) error { return cl.AddCluster(ctx, dc, name) })
	}
	if err := add("", "c1"); err != nil {
		t.Fatal(err)
	}
	if err := add("", "c1"); err == nil || !strings.Contains(err.Error(), "cluster c1 is there already") {
		t.Errorf("a second of the name: %v", err)
	}
	if err := add("nowhere", "c2"); err == nil || !strings.Contains(err.Error(), "Unable to find requested datacenter") {
		t.Errorf("in no datacenter: %v", err)
	}
	var list []vm.Cluster
	err := on(func(ctx context.Context, cl vm.Clusterer) (err error) { list, err = cl.Clusters(ctx); return err })
	if err != nil || len(list) != 1 || list[0].Name != "c1" || list[0].Datacenter != "DC0" || len(list[0].Hosts) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	// A host joins it by hostcluster, and then the cluster stays.
	host := vmtest.New(t, vmtest.Options{})
	known, ck := vcenter(t, vmtest.Options{Known: []*vmtest.World{host}})
	hv := must[vm.Hypervisor](t)(ck.M.Open(t.Context(), vcEndpoint(t, ck, known.URI())))
	if err := hv.(vm.Clusterer).AddCluster(t.Context(), "DC0", "c1"); err != nil {
		t.Fatal(err)
	}
	j := vm.Join{Host: host.Host(), Port: port(t, host), User: host.User, Password: host.Password, Thumbprint: host.Thumbprint, Cluster: "c1"}
	if err := hv.(vm.Joiner).Join(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if err := hv.(vm.Clusterer).RemoveCluster(t.Context(), "", "c1"); err == nil || !strings.Contains(err.Error(), "cluster c1 has hosts: 127.0.0.1; take them out with rmhypervisor first") {
		t.Errorf("removing a cluster with a host: %v", err)
	}
	if err := on(func(ctx context.Context, cl vm.Clusterer) error { return cl.RemoveCluster(ctx, "DC0", "c1") }); err != nil {
		t.Error(err)
	}
	if err := on(func(ctx context.Context, cl vm.Clusterer) error { return cl.RemoveCluster(ctx, "", "c1") }); err == nil || !strings.Contains(err.Error(), "c1 is not a known cluster to the vCenter server.") {
		t.Errorf("removing what is not there: %v", err)
	}
	err = c.M.OnVCenter(t.Context(), c.DB.Snapshot(), w.URI(), "", "wrong", func(context.Context, vm.Clusterer) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "log in as Administrator") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong password: %v", err)
	}
}

// One command spans vCenters; guests move within one alone.
func TestSeveralVCenters(t *testing.T) {
	a := vmtest.New(t, vmtest.Options{VCenter: true, User: "Administrator", Hosts: []string{"esx1"}, Password: "one"})
	b := vmtest.New(t, vmtest.Options{VCenter: true, User: "Administrator", Hosts: []string{"esx2"}, Password: "two"})
	db := nodedbtest.New(t,
		nodedbtest.Node("esx1", "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+a.URI()), nodedbtest.Node("esx2", "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+b.URI()),
		nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1"),
		nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx2", "vm.storage=vmfs://datastore1"),
		// One credential an endpoint: the second has its own.
		nodedbtest.Password("vcenter", "Administrator", a.Password), nodedbtest.Password("vcenter:127.0.0.1", "nobody", "x"))
	m := &vm.Manager{API: vsphere.Dialer{Trust: trust(db)}.Dial}
	t.Cleanup(func() { m.Close() })
	c := &vmtest.Cluster{DB: db, M: m}
	out := c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1")
	contains(t, "mkvm with credentials of neither", out, "log in as")
	nodedbtest.Put(t, db, nodedbtest.Node("esx1", "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+strings.Replace(a.URI(), "://", "://Administrator@", 1)),
		nodedbtest.Password("vcenter:127.0.0.1", "Administrator", "two"))
	a.Password = "two" // both have one now
	want(t, "mkvm on two vCenters", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1", "vm2"), "")
	want(t, "rpower on on two vCenters", c.Power(t, vm.WordOn, false, "vm1", "vm2"), "vm1: on\nvm2: on")
	if a.Count("PowerOnVM_Task") != 1 || b.Count("PowerOnVM_Task") != 1 {
		t.Error("the guests are not one on each")
	}
	contains(t, "rmigrate from one to the other", migrate(t, c, vm.MigrateRequest{Target: "esx2"}, "vm1"), "guests move within one vCenter")
}

// A guest goes where the path of its manager's address says, whose names may
// hold slashes.
func TestResourcePath(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	ad := admin(t, w)
	f := find.NewFinder(ad.Client)
	pool := must[*object.ResourcePool](t)(f.ResourcePool(t.Context(), "/DC0/host/esx1/Resources"))
	inner := must[*object.ResourcePool](t)(pool.Create(t.Context(), "web%2ffront", types.DefaultResourceConfigSpec()))
	deep := must[*object.ResourcePool](t)(inner.Create(t.Context(), "blue", types.DefaultResourceConfigSpec()))
	mgr := w.URI() + "DC0/esx1/web%252ffront/blue" // vSphere keeps a slash in a name as %2f, which an address escapes again
	nodedbtest.Put(t, c.DB, nodedbtest.Node("esx1", "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+mgr))
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1"), "")
	v := must[*object.VirtualMachine](t)(f.VirtualMachine(t.Context(), "/DC0/vm/vm1"))
	var o mo.VirtualMachine
	if err := v.Properties(t.Context(), v.Reference(), []string{"resourcePool"}, &o); err != nil {
		t.Fatal(err)
	}
	if o.ResourcePool == nil || *o.ResourcePool != deep.Reference() {
		t.Errorf("the guest is in %v, not in %v", o.ResourcePool, deep.Reference())
	}
	nodedbtest.Put(t, c.DB, nodedbtest.Node("esx1", "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+w.URI()+"DC0/esx1/nosuch"))
	want(t, "rmvm -p", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm1"), "vm1: purged")
	contains(t, "mkvm at no such place", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1"), `inventory has no "nosuch" in [DC0 esx1]`)
}

// Distributed port groups are found by their names, never made.
func TestDistributedPortGroup(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	ad := admin(t, w)
	f := find.NewFinder(ad.Client)
	dc := must[*object.Datacenter](t)(f.Datacenter(t.Context(), "/DC0"))
	folders := must[*object.DatacenterFolders](t)(dc.Folders(t.Context()))
	task := must[*object.Task](t)(folders.NetworkFolder.CreateDVS(t.Context(), types.DVSCreateSpec{ConfigSpec: &types.DVSConfigSpec{Name: "dvs1"}}))
	info := must[*types.TaskInfo](t)(task.WaitForResult(t.Context()))
	dvs := object.NewDistributedVirtualSwitch(ad.Client, info.Result.(types.ManagedObjectReference))
	task = must[*object.Task](t)(dvs.AddPortgroup(t.Context(), []types.DVPortgroupConfigSpec{{Name: "prod", NumPorts: 8}}))
	if err := task.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	var hosts []types.DistributedVirtualSwitchHostMemberConfigSpec
	for _, h := range must[[]*object.HostSystem](t)(f.HostSystemList(t.Context(), "/DC0/host/*")) {
		hosts = append(hosts, types.DistributedVirtualSwitchHostMemberConfigSpec{Operation: "add", Host: h.Reference()})
	}
	task = must[*object.Task](t)(dvs.Reconfigure(t.Context(), &types.DVSConfigSpec{Host: hosts}))
	if err := task.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=prod=vmxnet3"))
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1"), "")
	if w.Count("AddPortGroup") != 0 {
		t.Error("a port group was made")
	}
	v := must[*object.VirtualMachine](t)(f.VirtualMachine(t.Context(), "/DC0/vm/vm1"))
	found := false
	for _, d := range must[object.VirtualDeviceList](t)(v.Device(t.Context())) {
		if b, ok := d.GetVirtualDevice().Backing.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo); ok {
			var pg mo.DistributedVirtualPortgroup
			ref := types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: b.Port.PortgroupKey}
			if err := property.DefaultCollector(ad.Client).RetrieveOne(t.Context(), ref, []string{"name"}, &pg); err != nil {
				t.Fatal(err)
			}
			found = found || pg.Name == "prod"
		}
	}
	if !found {
		t.Error("the guest's card is on no distributed port group")
	}
	contains(t, "rmigrate --dry-run", migrate(t, c, vm.MigrateRequest{Target: "esx2", DryRun: true}, "vm1"), "network prod is on the target: ok")
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwarefixednetworks", "1"),
		nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx2", "vm.storage=vmfs://datastore1", "vm.nics=Prod"))
	contains(t, "mkvm on a name that is nearly right", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm2"), `; it has "prod"`)
}

// A move that cannot be says all that stands in its way.
func TestPreflight(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{Version: "8.0.2"})
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "nodetype.os=rhels8.6", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=only here"))
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	out := migrate(t, c, vm.MigrateRequest{Target: "esx2", DryRun: true}, "vm1")
	for _, line := range []string{"vCenter 127.0.0.1 answers: ok", "target esx2 is connected: ok", "target esx2 is not in maintenance: ok", "guest is not on it already: ok",
		"no question is pending: ok", "host esx1 is connected: ok", "vMotion is on at esx1: ok", "vMotion is on at esx2: ok", "processors are of one make: ok",
		"target esx2 has memory: ok", "datastore datastore1 is on the target: ok", "network only here is on the target: would be made"} {
		contains(t, "rmigrate --dry-run", out, "vm1: "+line)
	}
	if w.Count("MigrateVM_Task") != 0 || w.Count("AddPortGroup") != 1 {
		t.Error("a dry run did something")
	}
	w.ChangeHost("esx2", func(h *vmtest.HostFacts) { h.VMotion, h.CPUModel, h.Maintenance = false, "AMD EPYC", true })
	out = migrate(t, c, vm.MigrateRequest{Target: "esx2"}, "vm1")
	for _, part := range []string{"no VMkernel card of it is for vMotion", "esx2 has AMD EPYC; turn the guest off to move it", "it is in maintenance mode; chhypervisor esx2 -o"} {
		contains(t, "rmigrate", out, part)
	}
	if w.Count("MigrateVM_Task") != 0 {
		t.Error("the guest was moved all the same")
	}
}

// A move counts what the operator says that the target has for guests, and a
// dry run of several what the earlier ones of them would take.
func TestMoveCapacity(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	node := func(name string, attrs ...string) {
		nodedbtest.Put(t, c.DB, nodedbtest.Node(name, "vms", append(attrs, "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1")...))
	}
	node("vm1")
	node("vm2", "vm.cpus=2")
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1", "vm2"), "")
	esx2 := c.Nodes(t, "esx2")[0]
	nodedbtest.Put(t, c.DB, nodedbtest.Node("esx2", "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+esx2.HostManager, "hypervisor.interface=cpus:2|memory:1G"))
	move := func(dry bool) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Migrate(ctx, snap, c.Nodes(t, "vm1", "vm2"), vm.MigrateRequest{Target: "esx2", DryRun: dry}, emit)
		})
	}
	full := "target esx2 has room by its hostinterface: esx2 has 2 cpus for guests, of which 1 are given to some, and 2 more are wanted; raise cpus: in its hostinterface or choose another host"
	for _, dry := range []bool{true, false} {
		out := move(dry)
		contains(t, "rmigrate of two", out, "vm2: Error: Migrating to esx2: "+full)
		if dry {
			contains(t, "rmigrate --dry-run of two", out, "vm1: target esx2 has room by its hostinterface: ok")
		} else {
			contains(t, "rmigrate of two", out, "vm1: migrated to esx2")
		}
	}
	want(t, "lsvm", c.List(t, "esx1", "esx2"), "esx1: vm2\nesx2: vm1")
	if w.Count("MigrateVM_Task") != 1 {
		t.Errorf("%d moves", w.Count("MigrateVM_Task"))
	}
}

// Specialized clones get their own names by vCenter.
func TestSpecialize(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	nodedbtest.Put(t, c.DB, nodedbtest.Site("domain", "cluster.test"))
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	want(t, "clonevm -t", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, emit)
	}), "vm1: Successfully copied to vmm")
	c.Allocate(t, 1, "vm3")
	clone := func() string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Clone(ctx, snap, c.Nodes(t, "vm3"), vm.CloneRequest{Base: "vmm", Specialize: true}, emit)
		})
	}
	want(t, "clonevm --specialize of a Linux", clone(), "vm3: Successfully cloned from vmm")
	if s := w.LastClone(); s == nil || s.Customization == nil {
		t.Fatal("no customization was asked for")
	} else if id, ok := s.Customization.Identity.(*types.CustomizationLinuxPrep); !ok || id.Domain != "cluster.test" || id.HostName.(*types.CustomizationFixedName).Name != "vm3" {
		t.Errorf("asked for %+v", s.Customization.Identity)
	}
	want(t, "rmvm -p", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm3"), "vm3: purged")
	// A Windows wants its Administrator's password.
	w.SetGuestID("vmm", "windows9Server64Guest")
	contains(t, "clonevm --specialize of a Windows", clone(), "chtab key=system,username=Administrator passwd.password=...")
	nodedbtest.Put(t, c.DB, nodedbtest.Password("system", "Administrator", "hush-hush"))
	row, _ := c.DB.Snapshot().Record(nodedb.Key{Kind: vm.KindMaster, Name: "vmm"})
	row.Attrs["vmmaster.specializeparameters"] = "autoLogonCount=2"
	nodedbtest.Put(t, c.DB, row)
	want(t, "clonevm --specialize of a Windows", clone(), "vm3: Successfully cloned from vmm")
	id, ok := w.LastClone().Customization.Identity.(*types.CustomizationSysprep)
	if !ok || id.UserData.ComputerName.(*types.CustomizationFixedName).Name != "vm3" || id.GuiUnattended.Password.Value != "hush-hush" || id.GuiUnattended.AutoLogonCount != 2 {
		t.Errorf("asked for %+v", id)
	}
}
