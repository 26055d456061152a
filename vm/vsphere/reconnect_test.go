package vsphere_test

import (
	"context"
	"errors"
	"net"
	"os"
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
		c.M.Hosts(ctx, snap, c.Nodes(t, "esx1"), vm.SelectVMotion("vMotion"), false, emit)
	}), "esx1: vmotion: vmk1")
	if got := w.VMotion("esx1"); len(got) != 1 || got[0] != "vmk1" {
		t.Errorf("guests move over %v", got)
	}
}

// mkhypervisor takes a host into its vCenter and has guests move over the card
// that the table names; a host that the vCenter has lost is taken up again,
// with what the table and its certificate are by then. A dry run says so.
func TestAdopt(t *testing.T) {
	const name = "127.0.4.43"
	mayListen(t, name)
	host := vmtest.New(t, vmtest.Options{Listen: name + ":443"})
	w, c := vcenter(t, vmtest.Options{Known: []*vmtest.World{host}})
	mgr := c.Nodes(t, "esx1")[0].HostManager
	table := func(words, password string) {
		nodedbtest.Put(t, c.DB, nodedbtest.Node(name, "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+mgr, "hypervisor.interface="+words),
			nodedbtest.Password("vmware", host.User, password))
	}
	adopt := func(dry bool) string {
		return c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
			c.M.Adopt(ctx, snap, c.Nodes(t, name), dry, emit)
		})
	}
	tail := func(what, got string, lines ...string) {
		t.Helper()
		wanted := ""
		for _, l := range lines {
			wanted += "\n" + name + ": " + l
		}
		if !strings.HasSuffix(got, wanted) || len(lines) > 0 && strings.Count(got, "vCenter ") != strings.Count(wanted, "vCenter ") {
			t.Errorf("%s:\n%s\nwhich is to end in%s", what, got, wanted)
		}
	}
	table("mgmt:vmk0|vmotion:vmk1", host.Password)
	tail("dry run", adopt(true), "would trust certificate "+host.Fingerprint+" from then on", "would join vCenter 127.0.0.1", "would have guests move over vmk1")
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vcenterautojoin", "no"))
	contains(t, "dry run where hosts may not join", adopt(true), "xCAT is set to not autojoin")
	nodedbtest.Put(t, c.DB, nodedbtest.Site("vcenterautojoin", "yes"))
	if n := w.Count("AddHost_Task") + w.Count("AddStandaloneHost_Task"); n != 0 || len(c.DB.Snapshot().Records(vm.KindTrust)) != 0 || c.Nodes(t, name)[0].HostType != "" {
		t.Errorf("a dry run did something: %d joins, trusted are %v", n, c.DB.Snapshot().Records(vm.KindTrust))
	}
	tail("mkhypervisor", adopt(false), "vCenter 127.0.0.1: "+name, "vmotion: vmk1")
	if got := w.VMotion(name); len(got) != 1 || got[0] != "vmk1" || c.Nodes(t, name)[0].HostType != "esx" {
		t.Errorf("guests move over %v, hosttype is %q", got, c.Nodes(t, name)[0].HostType)
	}
	tail("once more", adopt(false), "vCenter 127.0.0.1: "+name, "vmotion: vmk1")
	w.Lose(name)
	tail("dry run when it is lost", adopt(true), "vCenter 127.0.0.1: "+name, "vCenter 127.0.0.1: would be connected again", "vmotion: vmk1")
	tail("when it is lost", adopt(false), "vCenter 127.0.0.1: "+name, "vCenter 127.0.0.1: connected again", "vmotion: vmk1")

	// installed anew: another certificate and password
	w.Lose(name)
	if err := host.Renew("changed"); err != nil {
		t.Fatal(err)
	}
	e, err := vm.HostEndpoint(c.DB.Snapshot(), name)
	if err != nil {
		t.Fatal(err)
	}
	table("vmotion:vmk7", "changed")
	c.M.Forget(e)
	contains(t, "with another certificate", adopt(false), "mkhypervisor "+name+" --trust "+host.Fingerprint)
	if err := c.DB.Update(t.Context(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: vm.KindTrust, Name: e.Addr()}, vm.TrustCert, host.Fingerprint)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c.M.Forget(e)
	got := adopt(false)
	contains(t, "installed anew", got, "vCenter 127.0.0.1: connected again\n")
	contains(t, "a card that it has not", got, "no card of its kernel is vmk7 or on such a network; it has vmk0")
	if got := w.VMotion(name); len(got) != 1 || got[0] != "vmk1" {
		t.Errorf("guests move over %v", got)
	}
}

// A host that joins its vCenter has guests move over its only card that others
// reach; where there are two, mkhypervisor says that one is to be named.
func TestJoinVMotion(t *testing.T) {
	const name = "127.0.4.44"
	mayListen(t, name)
	for local, want := range map[string]string{"": "vmotion: off; chhypervisor " + name + " --vmotion vmk0 (Management Network) or vmk1 (vMotion)", "vmk1": "vmotion: vmk0", "vmk0": "vmotion: vmk1"} {
		t.Run(local, func(t *testing.T) {
			host := vmtest.New(t, vmtest.Options{Listen: name + ":443"})
			w, c := vcenter(t, vmtest.Options{Known: []*vmtest.World{host}, LinkLocal: local})
			nodedbtest.Put(t, c.DB, nodedbtest.Node(name, "hosts", "nodetype.os=esxi8.0", "hypervisor.mgr="+c.Nodes(t, "esx1")[0].HostManager),
				nodedbtest.Password("vmware", host.User, host.Password))
			if out := c.List(t, name); out != "" {
				t.Errorf("lsvm, which has it join: %s", out)
			}
			if got := len(w.VMotion(name)); (got == 1) != (local != "") {
				t.Errorf("guests move over %v", w.VMotion(name))
			}
			got := c.Collect(t, func(ctx context.Context, snap *nodedb.Snapshot, emit vm.Emit) {
				c.M.Adopt(ctx, snap, c.Nodes(t, name), false, emit)
			})
			if !strings.HasSuffix(got, name+": "+want) {
				t.Errorf("mkhypervisor:\n%s\nwant at its end %s", got, want)
			}
		})
	}
}

// mayListen skips a test where nobody may listen at port 443: hosts are asked
// there, as vCenters ask them.
func mayListen(t *testing.T, host string) {
	t.Helper()
	l, err := net.Listen("tcp", host+":443")
	if err == nil {
		l.Close()
	} else if errors.Is(err, os.ErrPermission) && os.Getenv("MARGAY_TEST_REAL") == "" {
		t.Skipf("may not listen at port 443: %v", err)
	}
}
