package vsphere_test

import (
	"context"
	"os"
	"testing"

	"margay/nodedb"
	"margay/vm"
	"margay/vm/vmtest"
)

// A guest whose folder's name is taken gets another folder, and all of its
// disks go there: new ones, linked ones, and those of later.
func TestFolderTaken(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1"), "")
	want(t, "clonevm -t", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, emit)
	}), "vm1: Successfully copied to vmm")
	for _, taken := range []string{"vm2", "vm3"} {
		if err := os.Mkdir(w.File("[datastore1] "+taken), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.Allocate(t, 2, "vm2")
	want(t, "clonevm -b", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Clone(ctx, snap, c.Nodes(t, "vm2"), vm.CloneRequest{Base: "vmm"}, emit)
	}), "vm2: Successfully cloned from vmm")
	contains(t, "rinv of the linked clone", c.Inventory(t, false, "vm2"), "@ [datastore1] vm2_1/vm2.vmdk")
	want(t, "chvm -a", c.Change(t, vm.ChangeRequest{Add: []string{"1", "1=pvscsi"}}, "vm2"), "vm2: node successfully changed")
	contains(t, "rinv", c.Inventory(t, false, "vm2"), "@ [datastore1] vm2_1/vm2_2.vmdk")
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G,2G"}, "vm3"), "")
	contains(t, "rinv", c.Inventory(t, false, "vm3"), "2048 MB @ [datastore1] vm3_1/vm3_1.vmdk")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm2", "vm3"), "vm2: on\nvm3: on")
	want(t, "rmvm -p", c.Remove(t, vm.RemoveRequest{Purge: true, Force: true}, "vm2", "vm3"), "vm2: purged\nvm3: purged")
	if left, err := os.ReadDir(w.File("[datastore1] vm2")); err != nil || len(left) != 0 {
		t.Errorf("the folder that was there has %v, %v", left, err)
	}
}
