package vsphere_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
)

// prodkey is a row for a host or a group.
func prodkey(node, key string) nodedb.Record {
	return nodedb.Record{Key: nodedb.Key{Kind: "prodkey", Name: node + nodedb.KeySep + "esx"}, Attrs: map[string]string{"prodkey.key": key}}
}

const wrongKey = "ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ"

// A host that runs gets the licence that prodkey has for it: a host by itself,
// one of a vCenter by that, which forgets a key that it cannot give. Keys are
// in nothing that is said.
func TestLicence(t *testing.T) {
	licences := func(w *vmtest.World) string { return strings.Join(w.Licences(), ",") }
	for _, vc := range []bool{false, true} {
		var w *vmtest.World
		var c *vmtest.Cluster
		if vc {
			w, c = vcenter(t, vmtest.Options{})
		} else {
			w = vmtest.New(t, vmtest.Options{})
			c = cluster(t, w)
		}
		run := func(dry bool) string {
			t.Helper()
			out := c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
				c.M.License(ctx, snap, c.Nodes(t, "esx1"), dry, emit)
			})
			for _, key := range []string{vmtest.LicenceKey, wrongKey} {
				if strings.Contains(strings.ToUpper(out), key) {
					t.Errorf("the key is in what is said: %s", out)
				}
			}
			return out
		}
		want(t, "without a key", run(false), "esx1: Error: prodkey has no licence key for it; chdef esx1 productkey=KEY")
		nodedbtest.Put(t, c.DB, prodkey("hosts", "no key"))
		want(t, "with what is no key", run(false), "esx1: Error: its key in prodkey is not a licence key, which has five groups of five letters or digits; chdef esx1 productkey=KEY")
		nodedbtest.Put(t, c.DB, prodkey("hosts", wrongKey))
		why := "A specified parameter was not correct: licenseKey"
		if vc {
			why = "License ****** is not valid"
		}
		want(t, "with a key of something else", run(false), "esx1: Error: it does not take the licence key of prodkey: "+why+"; if that is of another product or version: chdef esx1 productkey=KEY")
		want(t, "licences", licences(w), "Evaluation Mode")
		nodedbtest.Put(t, c.DB, prodkey("hosts", strings.ToLower(vmtest.LicenceKey)))
		want(t, "dry run", run(true), "esx1: would get the licence of its key in prodkey, in place of Evaluation Mode")
		if vc {
			w.Refuse("UpdateAssignedLicense", &types.InvalidState{}, 1)
			contains(t, "where it cannot be given", run(false), "esx1: Error: it does not take the licence key of prodkey: ")
		}
		want(t, "licences", licences(w), "Evaluation Mode")
		want(t, "with a key", run(false), "esx1: licence: "+vmtest.LicenceName)
		contains(t, "licences", licences(w), vmtest.LicenceName)
		w.ResetCalls()
		want(t, "once more", run(false), "esx1: licence: "+vmtest.LicenceName)
		if n := w.Count("UpdateLicense") + w.Count("AddLicense") + w.Count("UpdateAssignedLicense"); n != 0 {
			t.Errorf("a host that has it was given it again: %v", w.Calls())
		}
		show := c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Show(ctx, snap, c.Nodes(t, "esx1"), emit)
		})
		if !vc {
			contains(t, "lshypervisor", show, "esx1: licence: "+vmtest.LicenceName)
		}
	}
}

// Hosts of 9.0 take no key.
func TestLicenceOfNine(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{Version: "9.0.0"})
	c := cluster(t, w, prodkey("esx1", vmtest.LicenceKey))
	want(t, "chhypervisor --license", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.License(ctx, snap, c.Nodes(t, "esx1"), false, emit)
	}), "esx1: Error: ESXi 9.0.0 takes no licence key: from 9.0 on its vCenter gives it what it may be used for")
	out := c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Adopt(ctx, snap, c.Nodes(t, "esx1"), false, emit)
	})
	contains(t, "mkhypervisor", out, "esx1: licence: Evaluation Mode")
	if strings.Contains(out, "Warning") {
		t.Errorf("mkhypervisor: %s", out)
	}
}

// mkhypervisor gives a host its licence, and takes on one that does not take
// it all the same.
func TestAdoptLicence(t *testing.T) {
	w := vmtest.New(t, vmtest.Options{})
	c := cluster(t, w, prodkey("esx1", wrongKey))
	adopt := func(dry bool) []string {
		return strings.Split(c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Adopt(ctx, snap, c.Nodes(t, "esx1"), dry, emit)
		}), "\n")
	}
	has := func(what string, got []string, line string) {
		t.Helper()
		if !slices.Contains(got, line) {
			t.Errorf("%s: %q is not in %q", what, line, got)
		}
	}
	out := adopt(false)
	has("with a wrong key", out, "esx1: licence: Evaluation Mode")
	has("with a wrong key", out, "esx1: Warning: it does not take the licence key of prodkey: A specified parameter was not correct: licenseKey; if that is of another product or version: chdef esx1 productkey=KEY")
	nodedbtest.Put(t, c.DB, prodkey("esx1", vmtest.LicenceKey))
	out = adopt(true)
	has("dry run", out, "esx1: licence: Evaluation Mode")
	has("dry run", out, "esx1: would get the licence of its key in prodkey, in place of Evaluation Mode")
	out = adopt(false)
	has("mkhypervisor", out, "esx1: licence: "+vmtest.LicenceName)
	if slices.ContainsFunc(out, func(l string) bool { return strings.Contains(l, "Warning") || strings.Contains(l, "would") }) {
		t.Errorf("mkhypervisor: %q", out)
	}
}

// A host that joins its vCenter gets its licence from that.
func TestAdoptLicenceByVCenter(t *testing.T) {
	const name = "127.0.4.45"
	mayListen(t, name)
	host := vmtest.New(t, vmtest.Options{Listen: name + ":443"})
	w, c := vcenter(t, vmtest.Options{Known: []*vmtest.World{host}})
	nodedbtest.Put(t, c.DB, nodedbtest.Node(name, "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+c.Nodes(t, "esx1")[0].HostManager, "hypervisor.interface=vmotion:vmk1"),
		nodedbtest.Password("vmware", host.User, host.Password), prodkey(name, vmtest.LicenceKey))
	adopt := func(dry bool) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Adopt(ctx, snap, c.Nodes(t, name), dry, emit)
		})
	}
	contains(t, "dry run", adopt(true), "\n"+name+": would join vCenter 127.0.0.1\n"+name+": would get the licence of its key in prodkey, in place of Evaluation Mode\n")
	contains(t, "mkhypervisor", adopt(false), "\n"+name+": vCenter 127.0.0.1: licence: "+vmtest.LicenceName+"\n")
	if w.Count("UpdateAssignedLicense") != 1 || host.Count("UpdateLicense") != 0 {
		t.Errorf("calls %v, to the host %v", w.Calls(), host.Calls())
	}
	w.ResetCalls()
	if out := adopt(false); strings.Contains(out, ": vCenter 127.0.0.1: licence") || w.Count("UpdateAssignedLicense") != 0 {
		t.Errorf("once more: %s", out)
	}
}
