package provision

import (
	"net/netip"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

func TestNames(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Site("domain", "Cluster.test"), nodedbtest.Site("master", "10.1.0.1"),
		nodedbtest.Network("net1", "10.1.0.0", "255.255.0.0"),
		nodedbtest.Network("net2", "10.2.0.0", "255.255.0.0", "networks.domain=ib.test"),
		nodedbtest.Node("esx1", "all", "hosts.ip=10.1.0.11", "hosts.hostnames=first,esx1.other.test", "hosts.otherinterfaces=-ib0:10.2.0.11,stor1:10.1.0.99"),
		nodedbtest.Node("ESX2", "all", "hosts.ip=10.2.0.12"),
		nodedbtest.Node("stray", "all", "hosts.ip=192.0.2.1"),
		nodedbtest.Node("bare", "all"),
	)
	n := NewNames(db.Snapshot())
	for name, want := range map[string]string{
		"esx1.cluster.test":   "10.1.0.11",
		"first.cluster.test":  "-> esx1.cluster.test",
		"esx1.other.test":     "-> esx1.cluster.test",
		"esx1-ib0.ib.test":    "10.2.0.11",
		"stor1.cluster.test":  "10.1.0.99",
		"esx2.ib.test":        "10.2.0.12",
		"esx2.cluster.test":   "none",
		"stray.cluster.test":  "none",
		"bare.cluster.test":   "none",
		"esx1":                "none",
		"x.esx1.cluster.test": "none",
	} {
		addr, alias, ok := n.Lookup(name)
		got := "none"
		switch {
		case ok && alias != "":
			got = "-> " + alias
		case ok:
			got = addr.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for addr, want := range map[string]string{"10.1.0.11": "esx1.cluster.test", "10.2.0.12": "esx2.ib.test", "10.1.0.99": "stor1.cluster.test", "10.1.0.77": "", "192.0.2.1": ""} {
		if got := strings.Join(n.Reverse(netip.MustParseAddr(addr)), " "); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if got := strings.Join(n.Domains(), " "); got != "cluster.test ib.test" {
		t.Errorf("domains %q", got)
	}
	all := map[string]bool{}
	for x := range n.All() {
		all[x.Name] = true
	}
	if !all["esx1.cluster.test"] || !all["first.cluster.test"] || all["stray.cluster.test"] {
		t.Errorf("all names: %v", all)
	}
	if err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
		tx.Set(nodedb.Key{Kind: kindWithdrawn, Name: "esx1"}, "withdrawn.dns", "1")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := NewNames(db.Snapshot()).Lookup("esx1.cluster.test"); ok {
		t.Error("a withdrawn name is answered")
	}
}
