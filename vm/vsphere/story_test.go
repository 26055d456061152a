package vsphere_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
	"margay/vm/vsphere"
)

// cluster is a table with a World in it, worked on over the API.
func cluster(t testing.TB, w *vmtest.World, more ...nodedb.Record) *vmtest.Cluster {
	t.Helper()
	db := nodedbtest.New(t, append(w.Definitions(), more...)...)
	d := vsphere.Dialer{Trust: trust(db), Breath: 20 * time.Millisecond}
	m := &vm.Manager{API: d.Dial}
	t.Cleanup(func() { m.Close() })
	return &vmtest.Cluster{DB: db, M: m}
}

func trust(db *nodedb.DB) func(context.Context, vm.Endpoint, string) error {
	return func(ctx context.Context, e vm.Endpoint, fp string) error {
		return db.Update(ctx, func(tx *nodedb.Tx) error {
			tx.Set(nodedb.Key{Kind: vm.KindTrust, Name: e.Addr()}, vm.TrustCert, fp)
			return nil
		})
	}
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s printed\n%s\nwant\n%s", what, got, want)
	}
}

func contains(t *testing.T, what, got, part string) {
	t.Helper()
	if !strings.Contains(got, part) {
		t.Errorf("%s printed\n%s\nwant %q in it", what, got, part)
	}
}

func TestStory(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w)
	want(t, "rpower stat of what is not there", c.Power(t, vm.WordStat, false, "vm1"), "vm1: off")
	contains(t, "rpower on of what is not there", c.Power(t, vm.WordOn, false, "vm1"), "mkvm must be called before use of this function")
	want(t, "mkvm", c.Make(t, vm.MakeRequest{Sizes: "4G"}, "vm1"), "")
	want(t, "mkvm again", c.Make(t, vm.MakeRequest{Sizes: "4G"}, "vm1"), "vm1: Error: Virtual Machine already exists")
	want(t, "lsvm", c.List(t, "esx1"), "esx1: vm1")
	n := c.Nodes(t, "vm1")[0]
	inv := c.Inventory(t, false, "vm1")
	contains(t, "rinv", inv, "vm1: CPUs: 1\nvm1: Memory: 512 MB\nvm1: Hard disk 1 (d200:0): 4096 MB @ [datastore1] vm1/vm1.vmdk\nvm1: Network adapter 1: "+n.MACs[0].Addr.String()+"\nvm1: Network adapter 2: "+n.MACs[1].Addr.String())
	contains(t, "rinv", inv, "vm1: UUID/GUID: "+n.Attr("vpd.uuid"))
	want(t, "chvm -a", c.Change(t, vm.ChangeRequest{Add: []string{"2"}}, "vm1"), "vm1: node successfully changed")
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "vm1: Hard disk 2 (d200:1): 2048 MB @ [datastore1] vm1/vm1_1.vmdk")
	want(t, "chvm --mem --cpus", c.Change(t, vm.ChangeRequest{Memory: "1024", CPUs: "2"}, "vm1"), "vm1: node successfully changed")
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "vm1: CPUs: 2\nvm1: Memory: 1024 MB")
	want(t, "rsetboot", c.SetBoot(t, "net,hd", "vm1"), "vm1: net,hd")
	want(t, "rsetboot stat", c.SetBoot(t, "stat", "vm1"), "vm1: net,hd")
	want(t, "rpower on", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	want(t, "rpower on again", c.Power(t, vm.WordOn, false, "vm1"), "vm1: on")
	want(t, "rpower stat", c.Power(t, vm.WordStat, false, "vm1"), "vm1: on")
	want(t, "rpower reset", c.Power(t, vm.WordReset, false, "vm1"), "vm1: reset")
	want(t, "rpower boot", c.Power(t, vm.WordBoot, false, "vm1"), "vm1: on reset")
	contains(t, "rpower softoff", c.Power(t, vm.WordSoftOff, false, "vm1"), "VMware Tools is not running")
	contains(t, "chvm -d of IDE while on", c.Change(t, vm.ChangeRequest{Detach: []string{"2"}}, "vm1"), "(Powered on)")
	contains(t, "rmvm while on", c.Remove(t, vm.RemoveRequest{}, "vm1"), "Cannot rmvm active guest (use -f argument to force)")
	want(t, "rpower suspend", c.Power(t, vm.WordSuspend, false, "vm1"), "vm1: suspend")
	want(t, "rpower stat", c.Power(t, vm.WordStat, false, "vm1"), "vm1: suspend")
	want(t, "rpower boot", c.Power(t, vm.WordBoot, false, "vm1"), "vm1: suspend on")
	want(t, "rpower off", c.Power(t, vm.WordOff, false, "vm1"), "vm1: off")
	want(t, "chvm -d", c.Change(t, vm.ChangeRequest{Detach: []string{"Hard disk 2"}}, "vm1"), "vm1: node successfully changed")
	want(t, "chvm -a after -d", c.Change(t, vm.ChangeRequest{Add: []string{"1"}}, "vm1"), "vm1: node successfully changed")
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "vm1_2.vmdk")
	want(t, "chvm -p", c.Change(t, vm.ChangeRequest{Purge: []string{"d200:1"}}, "vm1"), "vm1: node successfully changed")
	want(t, "rmvm", c.Remove(t, vm.RemoveRequest{}, "vm1"), "")
	want(t, "lsvm", c.List(t, "esx1"), "")
	want(t, "mkvm takes the old files", c.Make(t, vm.MakeRequest{Sizes: "8G"}, "vm1"), "")
	contains(t, "rinv", c.Inventory(t, false, "vm1"), "vm1: Hard disk 1 (d200:0): 4096 MB @ [datastore1] vm1/vm1.vmdk\nvm1: Network adapter 1: "+n.MACs[0].Addr.String())
	want(t, "rmvm -p", c.Remove(t, vm.RemoveRequest{Purge: true}, "vm1"), "vm1: purged")
	want(t, "rmvm of what is not there", c.Remove(t, vm.RemoveRequest{}, "vm1"), "vm1: Error: VM does not appear to exist")
}
