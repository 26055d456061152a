package vsphere_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
)

// agrees holds the table against the host: what it says of a guest is what the
// host has.
func agrees(t *testing.T, c *vmtest.Cluster, host string) {
	t.Helper()
	c.M.Scan(t.Context(), c.DB.Snapshot(), c.Nodes(t, host), func(s vm.Scanned) {
		if s.Err != nil || len(s.Differ) > 0 || s.Node == nil {
			t.Errorf("guest %s: the table differs in %v: %v", s.VM.Name, s.Differ, s.Err)
		}
	}, func(r vm.Result) { t.Error(r.Err) })
}

// A host restarts while a guest is being turned on, and the next command finds
// it again.
func TestHostRestarts(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1", "vm2"), "")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm2"), "vm2: on")
	q := vmtest.Moved()
	w.Ask("vm1", q)
	w.Refuse("AnswerVM", &types.InvalidState{}, 100) // the task waits on
	w.ResetCalls()
	down := make(chan struct{})
	go func() {
		defer close(down)
		for w.Count("AnswerVM") == 0 && t.Context().Err() == nil {
			runtime.Gosched()
		}
		w.Down()
	}()
	out := c.Power(t, vm.WordOn, false, "vm1")
	<-down
	contains(t, "rpower on while the host goes down", out, "vm1: Error: ")
	contains(t, "rpower stat of a host that is down", c.Power(t, vm.WordStat, false, "vm1"), "vm1: Error: ")
	if err := w.Up(); err != nil {
		t.Fatal(err)
	}
	w.Refuse("AnswerVM", nil, 0)
	want(t, "rpower stat when it is back", c.Power(t, vm.WordStat, false, "vm1", "vm2"), "vm1: off\nvm2: off")
	want(t, "rpower on when it is back", c.Power(t, vm.WordOn, false, "vm1", "vm2"), "vm1: on\nvm2: on")
	agrees(t, c, "esx1")
}

// The host's agent is away for a moment while a task runs: the task is
// followed to its end.
func TestConnectionBreaks(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	w.Ask("vm1", vmtest.Moved())
	w.ResetCalls()
	broke := make(chan struct{})
	go func() {
		defer close(broke)
		for w.Count("WaitForUpdatesEx") == 0 && t.Context().Err() == nil {
			runtime.Gosched()
		}
		w.Break()
	}()
	want(t, "rpower on -f", c.Power(t, vm.WordOn, true, "vm1"), "vm1: on")
	<-broke
	agrees(t, c, "esx1")
}

// An answer whose connection breaks is given again, unless the host has had it.
func TestAnswerBreaks(t *testing.T) {
	for name, after := range map[string]bool{"before the host has it": false, "before the host says so": true} {
		t.Run(name, func(t *testing.T) {
			w := vmtest.New(t, vmtest.Options{})
			c := cluster(t, w)
			want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
			w.Ask("vm1", vmtest.Moved())
			w.BreakAt("AnswerVM", after)
			want(t, "rpower on -f", c.Power(t, vm.WordOn, true, "vm1"), "vm1: on")
			agrees(t, c, "esx1")
		})
	}
}

// A session that ends before the question of its task was heard of hears of it
// in the next.
func TestSessionEndsBeforeQuestion(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	w.Ask("vm1", vmtest.Moved())
	w.Before("WaitForUpdatesEx", func() { w.EndSessions() })
	want(t, "rpower on -f", c.Power(t, vm.WordOn, true, "vm1"), "vm1: on")
	if w.Count("Login") < 2 {
		t.Error("no session ended")
	}
}

// A session that ends before any of a command's reads is not noticed.
func TestSessionEndsBeforeReads(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	for n := 1; ; n++ {
		left := n
		var count func()
		count = func() {
			if left--; left == 0 {
				w.EndSessions()
				return
			}
			w.Before("RetrievePropertiesEx", count)
		}
		w.Before("RetrievePropertiesEx", count)
		want(t, fmt.Sprintf("mkvm, session ended before read %d", n), c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
		want(t, fmt.Sprintf("rpower, session ended before read %d", n), c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
		if left > 0 {
			break
		}
		want(t, "rpower", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
		want(t, "rmvm", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm1"), "vm1: purged")
	}
	if n := w.Count("Login"); n < 4 {
		t.Errorf("%d logins: hardly a session ended", n)
	}
}

// Guests of one name are told apart by their host, then by their UUID; where
// neither does, nothing is done to any.
func TestDuplicateNames(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1"), "")
	ad := admin(t, w)
	f := find.NewFinder(ad.Client)
	folders := must[*object.DatacenterFolders](t)(must[*object.Datacenter](t)(f.Datacenter(t.Context(), "/DC0")).Folders(t.Context()))
	other := must[*object.Folder](t)(folders.VmFolder.CreateFolder(t.Context(), "other"))
	stranger := func(host, name string) {
		t.Helper()
		pool := must[*object.ResourcePool](t)(f.ResourcePool(t.Context(), "/DC0/host/"+host+"/Resources"))
		h := must[*object.HostSystem](t)(f.HostSystem(t.Context(), "/DC0/host/"+host+"/"+host))
		task := must[*object.Task](t)(other.CreateVM(t.Context(), types.VirtualMachineConfigSpec{Name: name, MemoryMB: 512, NumCPUs: 1, GuestId: "otherGuest",
			Files: &types.VirtualMachineFileInfo{VmPathName: "[datastore1] other/" + host + ".vmx"}}, pool, h))
		if err := task.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stranger("esx2", "vm1")
	want(t, "rpower on of the one on esx1", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	list := must[[]*object.VirtualMachine](t)(f.VirtualMachineList(t.Context(), "/DC0/vm/other/*"))
	if s, _ := list[0].PowerState(t.Context()); s != types.VirtualMachinePowerStatePoweredOff {
		t.Error("the other guest of the name was turned on")
	}
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
	uuid := c.Nodes(t, "vm1")[0].Attr("vpd.uuid")
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx9", "vm.storage=vmfs://datastore1", "vpd.uuid="+uuid),
		nodedbtest.Node("esx9", "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+w.URI()))
	want(t, "rpower stat by UUID", c.Power(t, vm.WordStat, false, "vm1"), "vm1: off")
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx9", "vm.storage=vmfs://datastore1"))
	for _, out := range []string{c.Power(t, vm.WordOn, false, "vm1"), c.Change(t, vm.ChangeRequest{CPUs: "2"}, "vm1"), c.Remove(t, vm.RemoveRequest{Purge: true}, "vm1")} {
		contains(t, "a command on either", out, "2 guests are called vm1; set vpd.uuid to the one that is meant")
	}
	if n := w.Count("ReconfigVM_Task") + w.Count("Destroy_Task"); n != 0 {
		t.Errorf("%d changes were made all the same", n)
	}
	told := 0
	c.M.Scan(t.Context(), c.DB.Snapshot(), c.Nodes(t, "esx1", "esx2"), func(s vm.Scanned) {
		if s.Err != nil && strings.Contains(s.Err.Error(), "are called vm1") {
			told++
		}
	}, func(r vm.Result) { t.Error(r.Err) })
	if told == 0 {
		t.Error("rscan does not tell of guests of one name")
	}
}

// A datastore fills up between our look at it and the host's.
func TestDatastoreFillsUp(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	full := &types.NoDiskSpace{Datastore: "datastore1"}
	w.Refuse("CreateVM_Task", full, 1)
	contains(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "Insufficient disk space on datastore 'datastore1'.")
	want(t, "lsvm", c.List(t, "esx1"), "")
	want(t, "mkvm again", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	w.Refuse("ReconfigVM_Task", full, 1)
	contains(t, "chvm -a", c.Change(t, vm.ChangeRequest{Add: []string{"1"}, CPUs: "4"}, "vm1"), "Insufficient disk space")
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "vm1: CPUs: 1\n")
	want(t, "clonevm -t", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, emit)
	}), "vm1: Successfully copied to vmm")
	c.Allocate(t, 2, "vm2")
	w.Refuse("CopyVirtualDisk_Task", full, 2)
	contains(t, "clonevm -b -d", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Clone(ctx, snap, c.Nodes(t, "vm2"), vm.CloneRequest{Base: "vmm", Full: true}, emit)
	}), "Insufficient disk space")
	if n := c.Nodes(t, "vm2")[0]; n.VMMaster != "" {
		t.Errorf("the table has a clone of %s that is not there", n.VMMaster)
	}
	want(t, "mkvm where the clone was to be", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm2"), "")
}

// The server of an NFS datastore is away.
func TestNFSServerAway(t *testing.T) {
	dir := t.TempDir()
	w := vmtest.New(t, vmtest.Options{Exports: map[string]string{"127.0.0.1:/vms": dir}})
	c := cluster(t, w)
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=nfs://127.0.0.1/vms", "vm.nics=VM Network"),
		nodedbtest.Node("vm2", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=nfs://127.0.0.1/vms", "vm.nics=VM Network"))
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	label := "nfs_127.0.0.1_vms"
	w.Inaccessible(label, true)
	contains(t, "mkvm beside it", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm2"), "datastore "+label+" (nfs://127.0.0.1/vms) is not accessible on esx1")
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "VM is in an invalid state")
	contains(t, "rscan", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Show(ctx, snap, c.Nodes(t, "esx1"), emit)
	}), "MB free, not accessible")
	w.Inaccessible(label, false)
	w.ResetCalls()
	want(t, "mkvm when it is back", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm2"), "")
	if n := w.Count("MakeDirectory"); n != 0 {
		t.Errorf("whether the datastore can be written was tried %d times again", n)
	}
	agrees(t, c, "esx1")
}

// What is cancelled on the host, or fails there, leaves the table as it was.
func TestFailuresLeaveTheTable(t *testing.T) {
	w, c := vcenter(t, vmtest.Options{})
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1", "vm2"), "")
	nodedbtest.Put(t, c.DB, nodedbtest.Node("vm1", "vms", "nodehm.mgt=esx", "nodetype.os=rhels8.6", "vm.host=esx1", "vm.storage=vmfs://datastore1", "vm.nics=vlan5", "vm.cpus=1", "vm.memory=512"))
	w.Refuse("MigrateVM_Task", &types.RequestCanceled{}, 1)
	contains(t, "rmigrate", migrate(t, c, vm.MigrateRequest{Target: "esx2"}, "vm1"), "Migrating to esx2 The task was canceled by a user.")
	w.Refuse("RelocateVM_Task", &types.NoDiskSpace{Datastore: "fast"}, 1)
	contains(t, "rmigrate -s", migrate(t, c, vm.MigrateRequest{Storage: "vmfs://datastore1"}, "vm1"), "Relocating to vmfs://datastore1 Insufficient disk space")
	w.Refuse("ReconfigVM_Task", &types.RequestCanceled{}, 1)
	contains(t, "chvm", c.Change(t, vm.ChangeRequest{CPUs: "4", Memory: "2G"}, "vm1"), "The task was canceled by a user.")
	n := c.Nodes(t, "vm1")[0]
	if n.VMHost != "esx1" || n.VMCPUs != "1" || n.VMMemory != "512" || n.VMStorage != "vmfs://datastore1" {
		t.Errorf("the table has %s cpus, %s memory, on %s and %s", n.VMCPUs, n.VMMemory, n.VMHost, n.VMStorage)
	}
	w.Refuse("Destroy_Task", &types.RequestCanceled{}, 1)
	contains(t, "rmvm -p", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm2"), "The task was canceled by a user.")
	want(t, "lsvm", c.List(t, "esx1", "esx2"), "esx1: vm1\nesx2: vm2")
	// A clone that cannot be given its own addresses is no clone.
	want(t, "clonevm -t", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, emit)
	}), "vm1: Successfully copied to vmm")
	c.Allocate(t, 1, "vm3")
	w.Refuse("ReconfigVM_Task", &types.RequestCanceled{}, 1)
	contains(t, "clonevm -b", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Clone(ctx, snap, c.Nodes(t, "vm3"), vm.CloneRequest{Base: "vmm"}, emit)
	}), "The task was canceled by a user.")
	if n := c.Nodes(t, "vm3")[0]; n.VMMaster != "" {
		t.Error("the table has a clone that is not there")
	}
	want(t, "lsvm", c.List(t, "esx2"), "esx2: vm2")
}

// Ctrl-C ends the command at once, and the task on the host with it.
func TestCancelled(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	w.Ask("vm1", vmtest.Moved())
	w.Refuse("AnswerVM", &types.InvalidState{}, 100)
	w.ResetCalls()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for w.Count("AnswerVM") == 0 && t.Context().Err() == nil {
			runtime.Gosched()
		}
		cancel()
	}()
	began := time.Now()
	var got error
	c.M.Power(ctx, c.DB.Snapshot(), c.Nodes(t, "vm1"), vm.PowerRequest{Word: vm.WordOn}, func(r vm.Result) { got = r.Err })
	if !errors.Is(got, context.Canceled) && got == nil {
		t.Errorf("the command says %v", got)
	}
	if w.Count("CancelTask") != 1 {
		t.Error("the task goes on")
	}
	if d := time.Since(began); d > time.Minute {
		t.Errorf("it took %s", d)
	}
}
