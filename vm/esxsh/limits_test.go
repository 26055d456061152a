package esxsh_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
)

// Over SSH, what only reads is run again where the host's agent breaks off, and
// a change only where the agent did not let it in.
func TestRetries(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c, sh := cluster(t, w, false)
	const broken = "the connection breaks"
	var mu sync.Mutex
	say := map[string][]string{} // by how a command starts: what it prints before it works
	ran := map[string]int{}
	sh.Gate = func(cmd string) (string, int, bool) {
		mu.Lock()
		defer mu.Unlock()
		for start, list := range say {
			if !strings.HasPrefix(cmd, start) {
				continue
			}
			if ran[start]++; len(list) > 0 {
				say[start] = list[1:]
				if list[0] == broken {
					sh.Drop()
				}
				return list[0], 1, true
			}
		}
		return "", 0, false
	}
	expect := func(start string, list ...string) {
		mu.Lock()
		defer mu.Unlock()
		say, ran = map[string][]string{start: list}, map[string]int{}
	}
	const reset, shut = "Connection reset by peer\n", "Failed to login: Connection refused\n"
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwareretries", "1"))
	expect("vim-cmd vmsvc/getallvms", reset)
	want(t, "lsvm, reset once", c.List(t, "esx1"), "")
	expect("vim-cmd vmsvc/getallvms", reset, reset)
	contains(t, "lsvm, reset twice", c.List(t, "esx1"), "Connection reset")
	expect("vim-cmd vmsvc/getallvms", broken)
	want(t, "lsvm, broken once", c.List(t, "esx1"), "")
	expect("vim-cmd solo/registervm", shut)
	if out := c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1"); out != "" || ran["vim-cmd solo/registervm"] < 2 {
		t.Errorf("mkvm, not let in once: %s, run %d times", out, ran["vim-cmd solo/registervm"])
	}
	expect("vmkfstools -c", reset)
	contains(t, "mkvm, reset once", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm2"), "Connection reset")
	if n := ran["vmkfstools -c"]; n != 1 {
		t.Errorf("a change was run %d times", n)
	}
	expect("echo ==margay==0; vim-cmd vmsvc/get.summary", broken)
	want(t, "rpower stat, broken once", c.Power(t, vm.WordStat, false, "vm1"), "vm1: off")
	expect("vmkfstools -c", broken)
	contains(t, "mkvm, broken once", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm3"), "vm3: Error: ")
	if n := ran["vmkfstools -c"]; n != 1 {
		t.Errorf("a change was run %d times", n)
	}
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwareretries", "0"))
	expect("vim-cmd vmsvc/getallvms", reset)
	contains(t, "lsvm without retries", c.List(t, "esx1"), "Connection reset")
}

// One worker makes one guest after another.
func TestWorkers(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c, sh := cluster(t, w, false)
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwareworkers", "1"))
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1G"}, "vm1", "vm2", "vm3"), "")
	var disks []string
	for _, cmd := range sh.Log() {
		switch {
		case strings.HasPrefix(cmd, "vmkfstools -c"):
			disks = append(disks, "disk")
		case strings.HasPrefix(cmd, "vim-cmd solo/registervm") && len(disks) > 0:
			disks = append(disks, "guest")
		}
	}
	if got := strings.Join(disks, " "); got != "disk guest disk guest disk guest" {
		t.Errorf("made as %s", got)
	}
}

func setHost(t *testing.T, c *vmtest.Cluster, words string) {
	t.Helper()
	if err := c.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "esx1"}, "hypervisor.interface", words)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// One host's networks are fixed or made, whatever the site says of all.
func TestFacesNetworkMode(t *testing.T) {
	faces(t, vmtest.Options{}, func(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string {
		out := ""
		for _, step := range []struct{ site, words, want string }{
			{"", "mgmt:vmk0|networks:fixed", `vm1: Error: esx1 has no network "vlan42", and its hostinterface (networks:fixed) lets none be made`},
			{"1", "", `vm1: Error: esx1 has no network "vlan42", and site.vmwarefixednetworks lets none be made`},
			{"1", "networks:some", "vm1: Error: hostinterface of esx1: networks:some: fixed, if guests' networks must be there, or made, if they are made"},
			{"1", "vmotion:vmk1|networks:made", ""},
			{"", "networks:fixed", ""}, // it is there by now
		} {
			nodedbtest.Put(t, c.DB, nodedbtest.Site("vmwarefixednetworks", step.site))
			setHost(t, c, step.words)
			dry := c.Make(t, vm.MakeRequest{Sizes: "none", DryRun: true}, "vm1")
			if refused := strings.HasPrefix(dry, "vm1: Error: "); refused != (step.want != "") || refused && dry != step.want {
				t.Errorf("%+v: mkvm --dry-run printed %s", step, dry)
			}
			got := c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1")
			want(t, "mkvm with "+step.words, got, step.want)
			out += got + "\n"
			if step.want == "" {
				want(t, "rmvm", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm1"), "vm1: purged")
			}
		}
		return out
	})
}

// Clones and packages that are taken in are counted like guests that are made;
// a master, which never runs, is not.
func TestFacesCapacityOfCopies(t *testing.T) {
	faces(t, vmtest.Options{}, func(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string {
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "1M"}, "vm1"), "")
		want(t, "clonevm -t", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.MakeMaster(ctx, snap, c.Nodes(t, "vm1")[0], vm.MasterRequest{Target: "vmm", Who: "root"}, emit)
		}), "vm1: Successfully copied to vmm")
		setHost(t, c, "cpus:2|memory:1G")
		c.Allocate(t, 2, "vm2", "vm3")
		clone := func(dry bool) string {
			return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
				c.M.Clone(ctx, snap, c.Nodes(t, "vm2", "vm3"), vm.CloneRequest{Base: "vmm", Full: true, DryRun: dry}, emit)
			})
		}
		refused := "Error: esx1 has 2 cpus for guests, of which 2 are given to some, and 1 more are wanted; raise cpus: in its hostinterface or choose another host"
		for _, dry := range []bool{true, false} { // one of the two fits
			if got := clone(dry); strings.Count(got, refused) != 1 || strings.Count(got, "Error: ") != 1 || strings.Count(got, "vmm") != 1 {
				t.Errorf("clonevm of two, dry run %v: %s", dry, got)
			}
		}
		bring := func(dry bool, cpus int, mb int64) string {
			return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
				req := vm.PackageRequest{Spec: &vm.Spec{CPUs: cpus, MemoryMB: mb}, DryRun: dry}
				c.M.ImportPackage(ctx, snap, c.Nodes(t, "vm4")[0], req, emit)
			})
		}
		nodedbtest.Put(t, c.DB, nodedbtest.Node("vm4", "vms", "nodehm.mgt=esx", "vm.host=esx1", "vm.storage=vmfs://datastore1"))
		setHost(t, c, "cpus:3|memory:1G")
		out := ""
		for _, dry := range []bool{true, false} {
			got := bring(dry, 2, 4)
			want(t, "ovf import of many processors", got, "vm4: Error: esx1 has 3 cpus for guests, of which 2 are given to some, and 2 more are wanted; raise cpus: in its hostinterface or choose another host")
			out += got + bring(dry, 1, 4)
			contains(t, "ovf import", bring(dry, 1, 4), "vm4: Error: esx1 has 1024 MB of memory for guests, of which 1024 MB are given to some, and 4 MB more are wanted")
		}
		setHost(t, c, "cpus:3|memory:2G")
		contains(t, "ovf import that fits", bring(true, 1, 4), "vm4: would make vm4: 1 cpus, 4 MB")
		return out
	})
}

// Guests are given what the operator says that their host has for them, and
// the host is asked what it has given already.
func TestFacesCapacity(t *testing.T) {
	faces(t, vmtest.Options{}, func(t *testing.T, w *vmtest.World, c *vmtest.Cluster) string {
		setHost(t, c, "cpus:3|memory:1G")
		want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm1"), "")
		out := c.Make(t, vm.MakeRequest{Sizes: "none", CPUs: "3"}, "vm2")
		want(t, "mkvm of many processors", out, "vm2: Error: esx1 has 3 cpus for guests, of which 1 are given to some, and 3 more are wanted; raise cpus: in its hostinterface or choose another host")
		out += c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm2", "vm3") // which is too much together
		contains(t, "mkvm of two", out, "Error: esx1 has 1024 MB of memory for guests, of which 1024 MB are given to some, and 512 MB more are wanted; raise memory: in its hostinterface or choose another host")
		dry := c.Make(t, vm.MakeRequest{Sizes: "none", DryRun: true}, "vm3")
		contains(t, "mkvm --dry-run", dry, "Error: esx1 has 1024 MB of memory for guests")
		grown := c.Change(t, vm.ChangeRequest{CPUs: "4"}, "vm1")
		want(t, "chvm", grown, "vm1: Error: esx1 has 3 cpus for guests, of which 2 are given to some, and 3 more are wanted; raise cpus: in its hostinterface or choose another host")
		want(t, "chvm that fits", c.Change(t, vm.ChangeRequest{CPUs: "2"}, "vm1"), "vm1: node successfully changed")
		want(t, "chvm to less where memory is full", c.Change(t, vm.ChangeRequest{CPUs: "1"}, "vm1"), "vm1: node successfully changed")
		show := func() string {
			return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
				c.M.Show(ctx, snap, c.Nodes(t, "esx1"), emit)
			})
		}
		contains(t, "lshypervisor", show(), "esx1: cpus for guests: 3\nesx1: memory for guests: 1024 MB\nesx1: state: online")
		setHost(t, c, "cpus:few")
		contains(t, "lshypervisor", show(), "esx1: Error: hostinterface of esx1: cpus:few: not a number above 0")
		setHost(t, c, "")
		want(t, "mkvm of what the host lets be used", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm3"), "")
		return out + dry
	})
}
