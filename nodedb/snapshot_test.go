package nodedb_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

func mac(s string) net.HardwareAddr {
	a, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return a
}

func node(t *testing.T, s *nodedb.Snapshot, name string) *nodedb.Node {
	t.Helper()
	n, err := s.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func update(t testing.TB, db *nodedb.DB, fn func(*nodedb.Tx)) {
	t.Helper()
	err := db.Update(context.Background(), func(tx *nodedb.Tx) error { fn(tx); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

func TestInheritance(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Node("n1", "compute,rack1,all", "nodetype.os=own", "ipmi.username=own+=NEXTRECORD", "postscripts.postscripts=a,b", "nodehm.power=ipmi", "nodehm.disable=1", "vm.host=|^.*$||"),
		nodedbtest.Node("n2", "all,compute"),
		nodedbtest.Group("compute", "nodetype.os=compute", "nodetype.arch=x86_64", "ipmi.username=-compute+=NEXTRECORD", "postscripts.postscripts=b,c", "nodelist.status=never", "vm.host=host"),
		nodedbtest.Group("rack1", "nodetype.arch=rack1", "nodetype.profile=rack1", "ipmi.username=-rack1", "nodehm.power=group", "nodehm.disable=yes"),
		nodedbtest.Group("all", "nodetype.profile=all", "ipmi.username=-all", "postscripts.postscripts=c,d", "nodehm.power=all", "nodehm.disable=no", "ipmi.bmc=|\\D+(\\d+)|10.1.0.($1)|"),
	)
	tests := []struct{ node, column, want, from string }{
		{"n1", "nodetype.os", "own", ""},
		{"n1", "nodetype.arch", "x86_64", "compute"},     // the first group that has one
		{"n1", "nodetype.profile", "rack1", "rack1"},     // column by column, not row by row
		{"n2", "nodetype.profile", "all", "all"},         // n2 has the groups in another order
		{"n1", "ipmi.username", "own-compute-rack1", ""}, // goes on until one that does not say so
		{"n1", "nodelist.status", "", ""},                // nodelist is never inherited
		{"n1", "nodehm.power", "all", "all"},             // rows that are off are not looked at
		{"n1", "vm.host", "", ""},                        // a value that hides the group's
		{"n2", "vm.host", "host", "compute"},             //
		{"n1", "postscripts.postscripts", "a,b", ""},     //
		{"n2", "ipmi.bmc", "10.1.0.2", "all"},            // worked out for the node
		{"n2", "nodelist.groups", "all,compute", ""},     //
		{"n2", "no.such", "", ""},                        //
	}
	for _, tt := range tests {
		n := node(t, db.Snapshot(), tt.node)
		if got := n.Attr(tt.column); got != tt.want {
			t.Errorf("%s of %s is %q, want %q", tt.column, tt.node, got, tt.want)
		}
		if got := n.Source(tt.column); got != tt.from {
			t.Errorf("%s of %s comes from %q, want %q", tt.column, tt.node, got, tt.from)
		}
	}
	nodedbtest.Put(t, db, nodedbtest.Site("hierarchicalattrs", "postscripts,bmc"))
	if got := node(t, db.Snapshot(), "n1").Attr("postscripts.postscripts"); got != "a,b,c,d" {
		t.Errorf("hierarchical postscripts are %q, want a,b,c,d", got)
	}
	update(t, db, func(tx *nodedb.Tx) { tx.Delete(nodedb.Key{Kind: nodedb.KindSite, Name: "hierarchicalattrs"}) })
	if got := node(t, db.Snapshot(), "n1").Attr("postscripts.postscripts"); got != "a,b" {
		t.Errorf("postscripts are %q when no longer hierarchical, want a,b", got)
	}
}

func TestNICValues(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Node("n7", "g", "nics.nicaliases=eth0!alias7"),
		nodedbtest.Group("g", `nics.nicips=eth0!10.0.0.1|10.0.0.2,eth1!|n(\d)|(ipadd(10,1,0,0,$1,0,0))|,eth2!|x|y|`, `nics.nichostnamesuffixes=eth0!-ib,eth1!/\z/-e1/`, "nics.nictypes=eth0!|(|x|"))
	n := node(t, db.Snapshot(), "n7")
	for column, want := range map[string]string{
		"nics.nicips":              "eth0!10.0.0.1|10.0.0.2,eth1!10.1.0.7",
		"nics.nichostnamesuffixes": "eth0!-ib,eth1!n7-e1",
		"nics.nicaliases":          "eth0!alias7",
		"nics.nictypes":            "",
	} {
		if got := n.Attr(column); got != want {
			t.Errorf("%s is %q, want %q", column, got, want)
		}
	}
	if got, err := db.Snapshot().Expand("nicips.eth1==10.1.0.7"); names(got) != "n7" || err != nil {
		t.Errorf("selected by an interface's address: %s (%v)", names(got), err)
	}
}

func TestNodeFields(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Node("esx1", "esx,all", "nodelist.status=installing", "chain.currstate=install esxi8.0-x86_64-base", "nodetype.os=esxi8.0",
			"mac.mac=00:50:56:00:00:01|005056000002!esx1-san|00:50:56:00:00:03!*NOIP*", "hosts.ip=10.1.0.1", "hosts.hostnames=a,b c"),
		nodedbtest.Node("bad", "all", "mac.mac=nonsense", "hosts.ip=10.1.0.300"),
		nodedbtest.Group("esx", "nodehm.mgt=ipmi", "ipmi.bmc=/\\z/-bmc/", "hypervisor.mgr=vc1", "noderes.netboot=xnba"),
	)
	n := node(t, db.Snapshot(), "esx1")
	got := fmt.Sprintln(n.Groups, n.Status, n.CurrState, n.Mode, n.OS, n.Mgt, n.BMC, n.HostManager, n.Netboot, n.Addr, n.Aliases)
	want := "[esx all] installing install esxi8.0-x86_64-base install esxi8.0 ipmi esx1-bmc vc1 xnba 10.1.0.1 [a b c]\n"
	if got != want {
		t.Errorf("fields %s\nwant %s", got, want)
	}
	if got := fmt.Sprint(n.MACs); got != "[{00:50:56:00:00:01  false} {00:50:56:00:00:02 esx1-san false} {00:50:56:00:00:03  true}]" {
		t.Errorf("MACs %s", got)
	}
	if err := n.Check(); err != nil {
		t.Error(err)
	}
	if node(t, db.Snapshot(), "esx1") != n {
		t.Error("the same node is another pointer when asked for again")
	}
	err := node(t, db.Snapshot(), "bad").Check()
	if !errors.Is(err, nodedb.ErrInvalid) || !strings.Contains(err.Error(), `node bad: mac.mac: "nonsense" is not a MAC address`) {
		t.Errorf("Check: %v", err)
	}
	if _, err := db.Snapshot().Node("none"); !errors.Is(err, nodedb.ErrNotFound) {
		t.Errorf("Node of no node: %v", err)
	}
}

// Indexes follow what nodes and their groups say, and old snapshots do not.
func TestIndexesFollow(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Node("n1", "g"), nodedbtest.Node("n2", "g"), nodedbtest.Node("x", "h"),
		nodedbtest.Group("g", `hosts.ip=|n(\d)|10.0.0.($1)|`, `mac.mac=|n(\d)|00:50:56:00:00:0($1)|`),
	)
	name := func(n *nodedb.Node) string {
		if n == nil {
			return ""
		}
		return n.Name
	}
	ask := func(s *nodedb.Snapshot) string {
		return fmt.Sprintf("%s %s %s | %s %s %s",
			name(s.NodeByAddr(netip.MustParseAddr("10.0.0.1"))), name(s.NodeByAddr(netip.MustParseAddr("::ffff:10.0.0.2"))), name(s.NodeByAddr(netip.MustParseAddr("10.0.0.9"))),
			name(s.NodeByMAC(mac("00:50:56:00:00:01"))), name(s.NodeByMAC(mac("00:50:56:00:00:02"))), name(s.NodeByMAC(mac("00:50:56:00:00:09"))))
	}
	steps := []struct {
		do   func(tx *nodedb.Tx)
		want string
	}{
		{func(tx *nodedb.Tx) {}, "n1 n2  | n1 n2 "},
		{func(tx *nodedb.Tx) { tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "n1"}, "hosts.ip", "10.0.0.9") }, " n2 n1 | n1 n2 "},
		{func(tx *nodedb.Tx) { tx.Set(nodedb.Key{Kind: nodedb.KindGroup, Name: "g"}, "mac.mac", "") }, " n2 n1 |   "},
		{func(tx *nodedb.Tx) {
			tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "x"}, "mac.mac", "00:50:56:00:00:09")
		}, " n2 n1 |   x"},
		{func(tx *nodedb.Tx) { tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "n2"}, "mac.mac", "005056000009") }, " n2 n1 |   n2"}, // both: the first by name
		{func(tx *nodedb.Tx) { tx.Delete(nodedb.Key{Kind: nodedb.KindNode, Name: "n2"}) }, "  n1 |   x"},
		{func(tx *nodedb.Tx) { tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "n1"}, "nodelist.groups", "h") }, "  n1 |   x"},
		{func(tx *nodedb.Tx) { tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "n1"}, "hosts.ip", "") }, "   |   x"},
		{func(tx *nodedb.Tx) { tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "x"}, "nodelist.disable", "1") }, "   |   "},
		{func(tx *nodedb.Tx) { tx.Delete(nodedb.Key{Kind: nodedb.KindGroup, Name: "g"}) }, "   |   "},
	}
	var snaps []*nodedb.Snapshot
	for i, st := range steps {
		update(t, db, st.do)
		snaps = append(snaps, db.Snapshot())
		if got := ask(db.Snapshot()); got != st.want {
			t.Errorf("after step %d: %q, want %q", i, got, st.want)
		}
	}
	for i, s := range snaps {
		if got := ask(s); got != steps[i].want {
			t.Errorf("the snapshot of step %d says %q later, want %q", i, got, steps[i].want)
		}
	}
}

func TestOwnersOfOneMAC(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Node("b", "all", "mac.mac=00:50:56:00:00:01", "hosts.ip=10.0.0.1"),
		nodedbtest.Node("a", "all", "mac.mac=00:50:56:00:00:01", "hosts.ip=10.0.0.1"))
	s := db.Snapshot()
	if got := fmt.Sprint(s.NamesByMAC(mac("00:50:56:00:00:01")), s.NamesByAddr(netip.MustParseAddr("10.0.0.1"))); got != "[a b] [a b]" {
		t.Errorf("owners %s, want both nodes", got)
	}
}

func TestGroups(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Node("n1", "all, rack1,,all", "nodehm.mgt=esx"), nodedbtest.Node("n2", "all", "nodehm.mgt=ipmi"),
		nodedbtest.Group("empty"), nodedbtest.Record(nodedb.KindGroup, "leftover", "nodehm.mgt=x"),
		nodedbtest.Group("dyn", "nodegroup.grouptype=dynamic", "nodegroup.wherevals=mgt==esx::groups=~all"),
		nodedbtest.Group("dynbad", "nodegroup.grouptype=dynamic", "nodegroup.wherevals=nosuch==esx"))
	s := db.Snapshot()
	if got := fmt.Sprint(s.Groups()); got != "[all dyn dynbad empty rack1]" {
		t.Errorf("groups %s", got)
	}
	for group, want := range map[string]string{"all": "n1 n2", "rack1": "n1", "dyn": "n1", "empty": "", "none": "", "dynbad": "", "leftover": ""} {
		var names []string
		for _, n := range s.Members(group) {
			names = append(names, n.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("members of %s are %q, want %q", group, got, want)
		}
	}
	update(t, db, func(tx *nodedb.Tx) {
		tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: "n1"}, "nodelist.groups", "all,rack2")
	})
	if got := fmt.Sprint(db.Snapshot().Groups()); got != "[all dyn dynbad empty rack2]" {
		t.Errorf("groups after a move %s", got)
	}
	if got := fmt.Sprint(s.Groups(), s.Rev()); got != "[all dyn dynbad empty rack1] 1" {
		t.Errorf("the old snapshot has groups %s", got)
	}
}

func TestNetworks(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Network("prov", "10.1.0.0", "255.255.0.0", "networks.dynamicrange=10.1.9.1-10.1.9.99;10.1.8.0/24", "networks.gateway=<xcatmaster>", "networks.mtu=9000", "networks.nameservers=10.1.0.1,<xcatmaster>"),
		nodedbtest.Network("small", "10.1.2.0", "/24"),
		nodedbtest.Network("six", "fd00::", "64", "networks.dynamicrange=fd00::1-fd00::ff"),
		nodedbtest.Network("", "192.168.0.0", "255.255.255.0"),
		nodedbtest.Network("off", "172.16.0.0", "255.255.0.0", "networks.disable=1"),
		nodedbtest.Network("bad1", "10.9.0.0", "255.0.255.0"),
		nodedbtest.Network("bad2", "10.8.0.0", "255.255.0.0", "networks.dynamicrange=10.7.0.1-10.7.0.9"),
		nodedbtest.Network("bad3", "10.6.0.0", "255.255.0.0", "networks.dynamicrange=10.6.0.9-10.6.0.1"),
		nodedbtest.Network("bad4", "10.5.0.0", "255.255.0.0", "networks.mtu=many"),
	)
	s := db.Snapshot()
	var names []string
	for _, n := range s.Networks() {
		names = append(names, n.Name)
		if bad := strings.HasPrefix(n.Name, "bad"); bad != errors.Is(n.Check(), nodedb.ErrInvalid) {
			t.Errorf("network %s: %v", n.Name, n.Check())
		}
	}
	if got := strings.Join(names, " "); got != "192_168_0_0-255_255_255_0 bad1 bad2 bad3 bad4 prov six small" {
		t.Errorf("networks %s", got)
	}
	for addr, want := range map[string]string{"10.1.2.3": "small", "10.1.3.3": "prov", "fd00::7": "six", "172.16.0.1": "", "::ffff:10.1.2.3": "small"} {
		n, got := s.NetworkOf(netip.MustParseAddr(addr)), ""
		if n != nil {
			got = n.Name
		}
		if got != want {
			t.Errorf("%s is in %q, want %q", addr, got, want)
		}
	}
	n := s.NetworkOf(netip.MustParseAddr("10.1.3.3"))
	if got := fmt.Sprintln(n.Prefix, n.DynamicRanges, n.Gateway, n.MTU, n.Nameservers, n.Attr("mask"), n.Attr("networks.mtu")); got != "10.1.0.0/16 [10.1.9.1-10.1.9.99 10.1.8.1-10.1.8.254] <xcatmaster> 9000 [10.1.0.1 <xcatmaster>] 255.255.0.0 9000\n" {
		t.Errorf("network %s", got)
	}
	if !n.InDynamicRange(netip.MustParseAddr("10.1.8.7")) || n.InDynamicRange(netip.MustParseAddr("10.1.9.100")) {
		t.Error("InDynamicRange is wrong at the ranges' ends")
	}
	before := s.Networks()
	update(t, db, func(tx *nodedb.Tx) { tx.Set(nodedb.Key{Kind: nodedb.KindSite, Name: "domain"}, "site.value", "x") })
	if now := db.Snapshot().Networks(); &now[0] != &before[0] {
		t.Error("networks are built anew though none changed")
	}
}

func TestSiteImagePassword(t *testing.T) {
	db := nodedbtest.New(t,
		nodedbtest.Site("domain", "cluster.local"), nodedbtest.Record(nodedb.KindSite, "off", "site.value=x", "site.disable=1"),
		nodedbtest.Image("img", "osimage.osvers=esxi8.0", "linuximage.template=/t", "osimage.provmethod=install"),
		nodedbtest.Password("vmware", "root", "s3cret"), nodedbtest.Password("vmware", "admin", "other"), nodedbtest.Password("vmware2", "a", "x"))
	s := db.Snapshot()
	if s.Site("domain") != "cluster.local" || s.Site("off") != "" || s.Site("none") != "" {
		t.Errorf("site %q %q %q", s.Site("domain"), s.Site("off"), s.Site("none"))
	}
	img, err := s.Image("img")
	if err != nil || img.OS != "esxi8.0" || img.Template != "/t" || img.Attr("osimage.provmethod") != "install" || len(s.Images()) != 1 {
		t.Errorf("image %+v (%v)", img, err)
	}
	if _, err := s.Image("none"); !errors.Is(err, nodedb.ErrNotFound) {
		t.Errorf("no image: %v", err)
	}
	for _, tt := range []struct{ key, user, want string }{{"vmware", "root", "s3cret"}, {"vmware", "", "other"}, {"vmware2", "", "x"}} {
		p, err := s.Password(tt.key, tt.user)
		if err != nil || p.Secret != tt.want {
			t.Errorf("password of %s/%s: %v (%v)", tt.key, tt.user, p, err)
			continue
		}
		if text := fmt.Sprintf("%v %+v %#v %s", p, p, p, p); strings.Contains(text, tt.want+" ") || strings.Contains(text, "s3cret") {
			t.Errorf("printed as %s", text)
		}
	}
	for _, tt := range []struct{ key, user string }{{"none", ""}, {"vmware", "nobody"}, {"vmwar", ""}} {
		if _, err := s.Password(tt.key, tt.user); !errors.Is(err, nodedb.ErrNotFound) {
			t.Errorf("password of %v: %v", tt, err)
		}
	}
}

func TestMACs(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      "",
		"00:11:22:33:44:55":                     "00:11:22:33:44:55",
		"00-11-22-33-44-55!x":                   "00:11:22:33:44:55!x",
		"001122334455|00:11:22:33:44:56!*NOIP*": "00:11:22:33:44:55|00:11:22:33:44:56!*NOIP*",
		"00:11:22:33:44:55| 00:11:22:33:44:56":  "00:11:22:33:44:55|00:11:22:33:44:56",
		"0011.2233.4455":                        "00:11:22:33:44:55",
		"80:00:00:48:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:0f:91": "80:00:00:48:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:0f:91",
	} {
		macs, err := nodedb.ParseMACs(in)
		if got := nodedb.FormatMACs(macs); got != want || err != nil {
			t.Errorf("%q is %q (%v), want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"x", "00:11:22", "!host", "00:11:22:33:44:55|zz"} {
		if _, err := nodedb.ParseMACs(in); !errors.Is(err, nodedb.ErrInvalid) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// TestWhenWhatChanged: status is not what a node is.
func TestWhenWhatChanged(t *testing.T) {
	db := nodedbtest.New(t, nodedbtest.Node("n1", "all"), nodedbtest.Site("domain", "a"))
	isSite := func(k nodedb.Kind) bool { return k == nodedb.KindSite }
	at := func() (node, site int64) { s := db.Snapshot(); return s.NodeChanged("n1"), s.Changed(isSite) }
	n1 := nodedb.Key{Kind: nodedb.KindNode, Name: "n1"}
	steps := []struct {
		name       string
		change     func(*nodedb.Tx)
		node, site bool
	}{
		{"status", func(tx *nodedb.Tx) { tx.Set(n1, "nodelist.status", "booted") }, false, false},
		{"another status", func(tx *nodedb.Tx) { tx.Set(n1, "nodelist.status", "failed") }, false, false},
		{"a column more", func(tx *nodedb.Tx) { tx.Set(n1, "nodetype.os", "esxi8") }, true, false},
		{"another value", func(tx *nodedb.Tx) { tx.Set(n1, "nodetype.os", "esxi7") }, true, false},
		{"one for another", func(tx *nodedb.Tx) { tx.Set(n1, "nodetype.os", ""); tx.Set(n1, "nodetype.arch", "esxi7") }, true, false},
		{"a column less", func(tx *nodedb.Tx) { tx.Set(n1, "nodetype.arch", "") }, true, false},
		{"no status", func(tx *nodedb.Tx) { tx.Set(n1, "nodelist.status", "") }, false, false},
		{"group", func(tx *nodedb.Tx) { tx.Set(nodedb.Key{Kind: nodedb.KindGroup, Name: "all"}, "nodetype.os", "x") }, false, false},
		{"site", func(tx *nodedb.Tx) { tx.Set(nodedb.Key{Kind: nodedb.KindSite, Name: "domain"}, "site.value", "b") }, false, true},
		{"none", func(tx *nodedb.Tx) { tx.Delete(nodedb.Key{Kind: nodedb.KindSite, Name: "domain"}) }, false, true},
		{"gone", func(tx *nodedb.Tx) { tx.Delete(n1) }, true, false},
		{"back", func(tx *nodedb.Tx) { tx.Put(n1, map[string]string{"nodelist.": "", "nodelist.groups": "all"}) }, true, false},
	}
	for _, step := range steps {
		node, site := at()
		update(t, db, step.change)
		node2, site2 := at()
		if (node2 != node) != step.node || (site2 != site) != step.site {
			t.Errorf("%s: node %d, then %d; site %d, then %d", step.name, node, node2, site, site2)
		}
	}
}
