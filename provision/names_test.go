package provision

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"margay/netboot"
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
	n := NewNames(db.Snapshot(), time.Now())
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
	if _, _, ok := NewNames(db.Snapshot(), time.Now()).Lookup("esx1.cluster.test"); ok {
		t.Error("a withdrawn name is answered")
	}
}

// TestLeaseSerial: names of leases come, change and go with a new serial; that a
// lease is renewed moves nothing.
func TestLeaseSerial(t *testing.T) {
	s, c := newService(t)
	dynamicNet(t, s)
	nodedbtest.Put(t, s.DB, nodedbtest.Site("dhcplease", "120"))
	p, err := s.Plan(t.Context(), stranger(1, netboot.AskDiscover))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(as netboot.Ask, name string) func() {
		return func() {
			c.tick(time.Second)
			m := stranger(1, as)
			m.PXE, m.Requested, m.Hostname = false, p.Addr.Addr(), name
			if p, err := s.Plan(t.Context(), m); err != nil && !errors.Is(err, netboot.ErrIgnore) || p != nil && p.Nak {
				t.Fatal(p, err)
			}
		}
	}
	for _, tt := range []struct {
		what  string
		do    func()
		name  string // that is answered for then
		moves bool
	}{
		{"a new lease", ask(netboot.AskRequest, "laptop"), "laptop", true},
		{"renewed", ask(netboot.AskRequest, "laptop"), "laptop", false},
		{"under another name", ask(netboot.AskRequest, "desktop"), "desktop", true},
		{"under none", ask(netboot.AskRequest, ""), "", true},
		{"renewed under none", ask(netboot.AskRequest, ""), "", false},
		{"with a name", ask(netboot.AskRequest, "laptop"), "laptop", true},
		{"given back", ask(netboot.AskRelease, ""), "", true},
		{"taken again", ask(netboot.AskRequest, "laptop"), "laptop", true},
		{"forgotten", func() { s.Release(t.Context(), []netip.Addr{p.Addr.Addr()}) }, "", true},
		{"taken anew", ask(netboot.AskRequest, "laptop"), "laptop", true},
		{"halfway", func() { c.tick(time.Minute) }, "laptop", false},
		{"ended", func() { c.tick(2 * time.Minute) }, "", true},
		{"long ended", func() { c.tick(time.Hour) }, "", false},
	} {
		before := NamesChanged(s.DB.Snapshot())
		tt.do()
		if err := s.endNames(t.Context()); err != nil {
			t.Fatal(err)
		}
		if moved := NamesChanged(s.DB.Snapshot()) != before; moved != tt.moves {
			t.Errorf("%s: the serial moves: %v, want %v", tt.what, moved, tt.moves)
		}
		n := NewNames(s.DB.Snapshot(), c.now)
		for _, name := range []string{"laptop", "desktop"} {
			x, ok := n.Get(name + ".cluster.test")
			if ok != (name == tt.name) || ok && x.TTL != time.Minute {
				t.Errorf("%s: %s: answered %v, for %v", tt.what, name, ok, x.TTL)
			}
		}
	}
}

// TestDynamicDomain: dynamic clients' names are in the domain that their network
// has for them, which is ours to answer for.
func TestDynamicDomain(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	db := nodedbtest.New(t, nodedbtest.Site("domain", "cluster.test"),
		nodedbtest.Network("net1", "10.1.0.0", "255.255.0.0", "networks.domain=own.test", "networks.ddnsdomain=Guests.test"))
	if err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
		putLease(tx, netip.MustParseAddr("10.1.0.9"), Lease{MAC: "52:54:00:00:00:09", Name: "laptop", Expires: now.Add(time.Hour)}, now)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	n := NewNames(db.Snapshot(), now)
	if got := strings.Join(n.Domains(), " "); got != "cluster.test own.test guests.test" {
		t.Errorf("domains %s", got)
	}
	if a, _, ok := n.Lookup("laptop.guests.test"); !ok || a.String() != "10.1.0.9" {
		t.Errorf("it has %v %v", a, ok)
	}
	if _, _, ok := n.Lookup("laptop.own.test"); ok {
		t.Error("it is answered for in the nodes' domain")
	}
}

// TestLongNames: a name that DNS cannot hold is not cut, but left out, and makedns
// says so; the longest that it can is answered.
func TestLongNames(t *testing.T) {
	domain := strings.Repeat("d", 63) + "." + strings.Repeat("d", 63) + "." + strings.Repeat("d", 61) // 189
	db := nodedbtest.New(t, nodedbtest.Site("domain", domain), nodedbtest.Network("net1", "10.1.0.0", "255.255.0.0"),
		nodedbtest.Network("net2", "10.2.0.0", "255.255.0.0", "networks.domain=d"+domain[1:]+"e"))
	for _, tt := range []struct{ name, addr, why string }{
		{strings.Repeat("a", 63), "10.1.0.1", ""},
		{strings.Repeat("b", 64), "10.1.0.2", "its name has 64 characters, and DNS takes 63"},
		{strings.Repeat("c", 62), "10.2.0.1", ""},
		{strings.Repeat("d", 63), "10.2.0.2", "its name has 254 characters with its domain, and DNS takes 253"},
	} {
		nodedbtest.Put(t, db, nodedbtest.Node(tt.name, "all", "hosts.ip="+tt.addr))
		snap := db.Snapshot()
		node, err := snap.Node(tt.name)
		if err != nil {
			t.Fatal(err)
		}
		n, why := NewNames(snap, time.Now()), ""
		if err := DNSProblem(snap, node); err != nil {
			why = err.Error()
		}
		_, _, ok := n.Lookup(n.Of(node))
		if ok != (tt.why == "") || ok != (why == "") || !strings.Contains(why, tt.why) || !ok && !strings.Contains(why, tt.name) {
			t.Errorf("%s: answered %v, makedns says %q, want %q", n.Of(node), ok, why, tt.why)
		}
	}
}

// TestLongAliases: the same of further names, which makedns names one by one.
func TestLongAliases(t *testing.T) {
	x := strings.Repeat("x", 63)
	long := strings.Join([]string{x, x, x, x[:61]}, ".") // 253
	db := nodedbtest.New(t, nodedbtest.Site("domain", "cluster.test"), nodedbtest.Network("net1", "10.1.0.0", "255.255.0.0"))
	nodedbtest.Put(t, db, nodedbtest.Node("n1", "all", "hosts.ip=10.1.0.1",
		"hosts.hostnames="+strings.Join([]string{"good", "_sip", x, x + "y", long, long + "z", "a..b", "a b", "ends-"}, ","),
		"hosts.otherinterfaces=-ib0:10.1.0.2,under_score:10.1.0.3,"+x+"z:10.1.0.4"))
	snap := db.Snapshot()
	node, err := snap.Node("n1")
	if err != nil {
		t.Fatal(err)
	}
	n := NewNames(snap, time.Now())
	for name, want := range map[string]bool{
		"good.cluster.test": true, "_sip.cluster.test": true, x + ".cluster.test": true, x + "y.cluster.test": false, long: true, long + "z": false, "a..b": false,
		"ends-.cluster.test": false, "n1-ib0.cluster.test": true, "under_score.cluster.test": false, x + "z.cluster.test": false,
	} {
		if _, _, ok := n.Lookup(name); ok != want {
			t.Errorf("%.80s: answered %v, want %v", name, ok, want)
		}
	}
	var got []string
	for _, err := range AliasProblems(snap, node) {
		got = append(got, strings.ReplaceAll(strings.ReplaceAll(err.Error(), long, "LONG"), x, "X"))
	}
	want := []string{
		"Ignoring alias Xy of host n1, it has 64 characters without a dot, and DNS takes 63.",
		"Ignoring alias LONGz of host n1, it has 254 characters with its domain, and DNS takes 253.",
		"Ignoring alias a..b of host n1, it has characters that DNS has not.",
		"Ignoring alias ends- of host n1, it has characters that DNS has not.",
		"Ignoring alias under_score of host n1, it has characters that DNS has not.",
		"Ignoring alias Xz of host n1, it has 64 characters without a dot, and DNS takes 63.",
	}
	if !slices.Equal(got, want) {
		t.Errorf("makedns says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestNameUpdates(t *testing.T) {
	s, c := newService(t)
	dynamicNet(t, s)
	for _, tt := range []struct {
		name string
		c    NameChange
		ok   bool
	}{
		{"a new name", NameChange{Name: "www.cluster.test", Type: "A", Value: "10.1.0.50"}, true},
		{"an alias", NameChange{Name: "web.cluster.test", Type: "CNAME", Value: "www.cluster.test"}, true},
		{"a node's name", NameChange{Name: "esx1.cluster.test", Type: "A", Value: "10.1.0.50"}, false},
		{"a node's name, away", NameChange{Name: "esx1.cluster.test", Delete: true}, false},
		{"a node's address", NameChange{Name: "evil.cluster.test", Type: "A", Value: "10.1.0.11"}, false},
		{"another's domain", NameChange{Name: "www.example.com", Type: "A", Value: "10.1.0.50"}, false},
		{"a deeper name", NameChange{Name: "a.b.cluster.test", Type: "A", Value: "10.1.0.50"}, false},
		{"no address", NameChange{Name: "x.cluster.test", Type: "A", Value: "nonsense"}, false},
	} {
		err := s.UpdateNames(t.Context(), []NameChange{tt.c})
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	n := NewNames(s.DB.Snapshot(), c.now)
	if a, _, ok := n.Lookup("www.cluster.test"); !ok || a.String() != "10.1.0.50" {
		t.Errorf("www is %v %v", a, ok)
	}
	if _, alias, ok := n.Lookup("web.cluster.test"); !ok || alias != "www.cluster.test" {
		t.Errorf("web is %q %v", alias, ok)
	}
	// as nsupdate and DHCP servers put one address in place of another
	err := s.UpdateNames(t.Context(), []NameChange{{Name: "www.cluster.test", Delete: true}, {Name: "www.cluster.test", Type: "A", Value: "10.1.0.51"}})
	if a, _, _ := NewNames(s.DB.Snapshot(), c.now).Lookup("www.cluster.test"); err != nil || a.String() != "10.1.0.51" {
		t.Errorf("www is %v once it is given another address: %v", a, err)
	}
	err = s.UpdateNames(t.Context(), []NameChange{{Name: "esx1.cluster.test", Delete: true, Type: "TXT"}, {Name: "esx1.cluster.test", Type: "A", Value: "10.1.0.51"}})
	if err == nil {
		t.Error("a node's name is given another address")
	}
	if err := s.UpdateNames(t.Context(), []NameChange{{Name: "www.cluster.test", Delete: true}}); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := NewNames(s.DB.Snapshot(), c.now).Lookup("www.cluster.test"); ok {
		t.Error("www is still there")
	}
	// a dynamic client's own name
	p, _ := s.Plan(t.Context(), stranger(1, netboot.AskDiscover))
	m := stranger(1, netboot.AskRequest)
	m.Requested, m.Hostname = p.Addr.Addr(), "laptop"
	if _, err := s.Plan(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	m = stranger(2, netboot.AskDiscover)
	p, _ = s.Plan(t.Context(), m)
	m.Ask, m.Requested, m.Hostname = netboot.AskRequest, p.Addr.Addr(), "esx1"
	s.Plan(t.Context(), m)
	n = NewNames(s.DB.Snapshot(), c.now)
	if a, _, ok := n.Lookup("laptop.cluster.test"); !ok || a != netip.MustParseAddr("10.1.0.100") {
		t.Errorf("laptop is %v %v", a, ok)
	}
	if n.Stale(c.now) || !n.Stale(c.now.Add(13*time.Hour)) {
		t.Error("names are not stale when a lease ends, or are so before")
	}
	if _, _, ok := NewNames(s.DB.Snapshot(), c.now.Add(13*time.Hour)).Lookup("laptop.cluster.test"); ok {
		t.Error("a lease that has ended has a name")
	}
	if x, _ := n.Get("laptop.cluster.test"); x.TTL != 300*time.Second {
		t.Errorf("laptop may be remembered for %v", x.TTL)
	}
	if a, _, _ := n.Lookup("esx1.cluster.test"); a != netip.MustParseAddr("10.1.0.11") {
		t.Errorf("a machine that calls itself esx1 took its name: %v", a)
	}
}
