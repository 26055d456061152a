package vsphere_test

import (
	"context"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/vm"
	"margay/vm/vmtest"
)

// A host that its vCenter has lost is taken up again, with another password
// and certificate if it has others by now; guests move over the card that the
// table names.
func TestReconnect(t *testing.T) {
	host := vmtest.New(t, vmtest.Options{})
	w, c := vcenter(t, vmtest.Options{Known: []*vmtest.World{host}})
	vc, err := c.DB.Snapshot().Node("esx1")
	if err != nil {
		t.Fatal(err)
	}
	name := host.Host()
	nodedbtest.Put(t, c.DB, nodedbtest.Node(name, "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+vc.HostManager, "hypervisor.interface=mgmt:vmk0|vmotion:vmk1"),
		nodedbtest.Password("vmware", host.User, host.Password))
	hv, err := c.M.Open(t.Context(), vcEndpoint(t, c, vc.HostManager))
	if err != nil {
		t.Fatal(err)
	}
	j := vm.Join{Host: name, Port: port(t, host), User: host.User, Password: host.Password, Fingerprint: host.Fingerprint, Thumbprint: host.Thumbprint}
	if err := hv.(vm.Joiner).Join(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	names, err := hv.Hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	joined := ""
	for _, n := range names {
		if !strings.HasPrefix(n, "esx") {
			joined = n
		}
	}
	again := func(j vm.Join) string {
		if err := hv.(vm.Joiner).Reconnect(t.Context(), joined, j); err != nil {
			return err.Error()
		}
		return ""
	}
	contains(t, "reconnecting a host that is connected", again(j), "not allowed in the current state")
	w.Lose(joined)
	contains(t, "lsvm by a vCenter that has lost it", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		nodedbtest.Put(t, c.DB, nodedbtest.Node("vm9", "vms", "nodehm.mgt=esx", "vm.host="+name, "vm.storage=vmfs://datastore1"))
		c.M.Make(ctx, c.DB.Snapshot(), c.Nodes(t, "vm9"), vm.MakeRequest{Sizes: "none"}, emit)
	}), "chhypervisor "+name+" --reconnect")
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vcenterautojoin", "no"))
	want(t, "mkvm by a vCenter that may not join it", c.Make(t, vm.MakeRequest{Sizes: "none"}, "vm9"),
		"vm9: Error: Failed to communicate with "+name+", vCenter reports it as in inventory but not connected and xCAT is set to not autojoin")
	if err := host.Renew("changed"); err != nil {
		t.Fatal(err)
	}
	contains(t, "with the old password", again(j), "someone may be in between")
	j.Thumbprint, j.Fingerprint = host.Thumbprint, host.Fingerprint
	contains(t, "with the old password", again(j), "incorrect user name or password")
	j.Password = "changed"
	want(t, "reconnecting", again(j), "")
	if h, err := hv.Host(t.Context(), joined); err != nil || !h.Connected {
		t.Errorf("the host is not connected: %+v, %v", h, err)
	}
	want(t, "chhypervisor --vmotion", c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
		c.M.Hosts(ctx, snap, c.Nodes(t, "esx1"), vm.SelectVMotion("vMotion"), emit)
	}), "esx1: vmotion: vmk1")
	if got := w.VMotion("esx1"); len(got) != 1 || got[0] != "vmk1" {
		t.Errorf("guests move over %v", got)
	}
}
