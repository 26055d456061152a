package nodedb_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/nodedbtest"
)

// edit runs fn in one transaction.
func edit(t testing.TB, db *nodedb.DB, fn func(*nodedb.Editor) error) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *nodedb.Tx) error { return fn(nodedb.Edit(tx)) })
	if err != nil {
		t.Fatal(err)
	}
}

// assigns parses attr=value, attr+=value and attr-=value.
func assigns(pairs ...string) []nodedb.Assign {
	var list []nodedb.Assign
	for _, p := range pairs {
		attr, value, _ := strings.Cut(p, "=")
		a := nodedb.Assign{Attr: strings.TrimRight(attr, "+-"), Value: value}
		switch attr[len(attr)-1] {
		case '+':
			a.Op = nodedb.Plus
		case '-':
			a.Op = nodedb.Minus
		}
		list = append(list, a)
	}
	return list
}

func define(t testing.TB, db *nodedb.DB, typ, name string, pairs ...string) {
	t.Helper()
	edit(t, db, func(e *nodedb.Editor) error { return e.Define(nodedb.TypeByName(typ), name, assigns(pairs...)) })
}

func change(t testing.TB, db *nodedb.DB, typ, name string, pairs ...string) nodedb.Result {
	t.Helper()
	var r nodedb.Result
	edit(t, db, func(e *nodedb.Editor) (err error) {
		r, err = e.Change(nodedb.TypeByName(typ), name, assigns(pairs...))
		return err
	})
	return r
}

// show is an object as "a=1 b=2", or "none".
func show(db *nodedb.DB, typ, name string) string {
	o, ok := nodedb.NewView(db.Snapshot()).Object(nodedb.TypeByName(typ), name)
	if !ok {
		return "none"
	}
	var list []string
	for _, v := range o.Values {
		list = append(list, v.Name+"="+v.Text)
	}
	return strings.Join(list, " ")
}

func expect(t *testing.T, db *nodedb.DB, typ, name, want string) {
	t.Helper()
	if got := show(db, typ, name); got != want {
		t.Errorf("%s %s is\n%s, want\n%s", typ, name, got, want)
	}
}

func TestDefineNode(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "node", "vm1", "groups=vmware,vm,all", "mgt=esx", "vmhost=esx1", "vmothersetting=a=b;c=d", "nicips.eth1=10.0.0.1|10.0.0.2", "nicips.eth2=10.1.0.1")
	expect(t, db, "node", "vm1", "groups=vmware,vm,all mgt=esx nicips.eth1=10.0.0.1|10.0.0.2 nicips.eth2=10.1.0.1 vmhost=esx1 vmothersetting=a=b;c=d")
	n, err := db.Snapshot().Node("vm1")
	if err != nil || n.VMHost != "esx1" || n.Mgt != "esx" || n.Attr("nics.nicips") != "eth1!10.0.0.1|10.0.0.2,eth2!10.1.0.1" {
		t.Errorf("node is %+v, %v", n, err)
	}
}

// What is refused leaves nothing behind.
func TestDefineRefuses(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "node", "n1", "groups=all")
	define(t, db, "group", "g0", "mgt=esx")
	define(t, db, "network", "net1", "net=10.0.0.0", "mask=255.0.0.0")
	before := db.Snapshot().Rev()
	var (
		unknown *nodedb.UnknownError
		cond    *nodedb.ConditionError
		missing *nodedb.MissingError
		name    *nodedb.NameError
		same    *nodedb.SameNetError
	)
	tests := []struct {
		typ, name string
		pairs     []string
		as        any
	}{
		{"node", "n2", []string{"groups=all", "bogus=1"}, &unknown},
		{"node", "n2", []string{"groups=all", "bmc=1.2.3.4"}, &cond},
		{"node", "n2", []string{"groups=all", "mgt=esx", "bmc=1.2.3.4"}, &cond},
		{"node", "n2", []string{"os=esxi8.0"}, &missing},
		{"node", "n2", []string{"groups="}, &missing},
		{"node", "n2.cluster", []string{"groups=all"}, &name},
		{"node", "n2 n3", []string{"groups=all"}, &name},
		{"node", "", []string{"groups=all"}, &name},
		{"node", "-n2", []string{"groups=all"}, &name},
		{"group", "a,b", nil, &name},
		{"network", "net2", []string{"net=10.0.0.0"}, &missing},
		{"network", "net2", []string{"net=10.0.0.0", "mask=255.0.0.0"}, &same},
		{"osimage", "i1", []string{"imagetype=NIM", "template=/x"}, &cond},
		{"site", "othersite", []string{"master=1.2.3.4"}, &name},
		{"node", "n1", []string{"groups=all"}, nil},                     // exists
		{"node", "n2", []string{"groups=all", "os=a\nb"}, nil},          // line break
		{"node", "n2", []string{"groups=all", "usercomment=\xff"}, nil}, // not UTF-8
		{"group", "g1", []string{"members=n1,nosuch"}, nil},
	}
	for _, tt := range tests {
		err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
			e := nodedb.Edit(tx)
			err := e.Define(nodedb.TypeByName(tt.typ), tt.name, assigns(tt.pairs...))
			if err == nil {
				t.Errorf("%s %q %q is taken", tt.typ, tt.name, tt.pairs)
			} else if tt.as != nil && !errors.As(err, tt.as) {
				t.Errorf("%s %q %q: %v is a %T", tt.typ, tt.name, tt.pairs, err, err)
			}
			return nil // what was refused must not be in the transaction
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if rev := db.Snapshot().Rev(); rev != before {
		t.Errorf("revision went from %d to %d", before, rev)
	}
}

func TestConditionHolds(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "group", "bare", "mgt=ipmi")
	define(t, db, "node", "n1", "groups=bare", "bmc=10.9.0.1")            // from its group
	define(t, db, "node", "n2", "bmc=10.9.0.2", "groups=all", "mgt=ipmi") // given later
	define(t, db, "node", "n3", "groups=all", "mgt=openbmc", "bmc=10.9.0.3")
	expect(t, db, "node", "n1", "bmc=10.9.0.1 groups=bare mgt=ipmi")
	expect(t, db, "node", "n2", "bmc=10.9.0.2 groups=all mgt=ipmi")
	expect(t, db, "node", "n3", "bmc=10.9.0.3 groups=all mgt=openbmc")
	n, _ := db.Snapshot().Node("n3")
	if n.Attr("openbmc.bmc") != "10.9.0.3" || n.Attr("ipmi.bmc") != "" {
		t.Error("the BMC of n3 is not in openbmc")
	}
	// Another method hides the attribute and keeps it.
	change(t, db, "node", "n2", "mgt=esx")
	expect(t, db, "node", "n2", "groups=all mgt=esx")
	change(t, db, "node", "n2", "mgt=ipmi")
	expect(t, db, "node", "n2", "bmc=10.9.0.2 groups=all mgt=ipmi")
}

func TestChange(t *testing.T) {
	db := nodedbtest.New(t)
	if r := change(t, db, "node", "n1", "groups=all", "os=esxi8.0"); !r.Created {
		t.Error("n1 was not made")
	}
	steps := []struct {
		pairs []string
		want  string
	}{
		{[]string{"os=esxi7.0", "arch=x86_64"}, "arch=x86_64 groups=all os=esxi7.0"},
		{[]string{"arch="}, "groups=all os=esxi7.0"},
		{[]string{"groups+=rack1,all"}, "groups=all,rack1 os=esxi7.0"},
		{[]string{"groups-=all", "os="}, "groups=rack1"},
		{[]string{"groups+=a", "groups+=b"}, "groups=rack1,a,b"},
		{[]string{"groups=rack1", "mac=00:50:56:00:00:01"}, "groups=rack1 mac=00:50:56:00:00:01"},
		{[]string{"mac+=00:50:56:00:00:02!*NOIP*"}, "groups=rack1 mac=00:50:56:00:00:01|00:50:56:00:00:02!*NOIP*"},
		{[]string{"mac=", "vmothersetting=a=1;b=2", "vmothersetting+=c=3"}, "groups=rack1 vmothersetting=a=1;b=2;c=3"},
		{[]string{"vmothersetting=", "nicips=eth0!1.1.1.1,eth1!2.2.2.2"}, "groups=rack1 nicips.eth0=1.1.1.1 nicips.eth1=2.2.2.2"},
		{[]string{"nicips.eth0+=1.1.1.2", "nicips.eth1="}, "groups=rack1 nicips.eth0=1.1.1.1|1.1.1.2"},
		{[]string{"nicips.eth0-=1.1.1.1"}, "groups=rack1 nicips.eth0=1.1.1.2"},
		{[]string{"nicips="}, "groups=rack1"},
		{[]string{"switch=sw1", "switchport=3"}, "groups=rack1 switch=sw1 switchport=3"},
		{[]string{"switchport=4", "switchvlan=7"}, "groups=rack1 switch=sw1 switchport=4 switchvlan=7"},
		{[]string{"switch=", "switchport=", "switchvlan="}, "groups=rack1"},
		{[]string{"productkey=AAAA"}, "groups=rack1 productkey=AAAA"},
	}
	for _, st := range steps {
		change(t, db, "node", "n1", st.pairs...)
		if got := show(db, "node", "n1"); got != st.want {
			t.Fatalf("after %q: %s, want %s", st.pairs, got, st.want)
		}
	}
	if rows := db.Snapshot().Rows(nodedb.TableByName("switch")); len(rows) != 0 {
		t.Errorf("rows are left in switch: %v", rows)
	}
}

func TestMinusNotes(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "node", "n1", "groups=all,a", "postscripts=x,y")
	r := change(t, db, "node", "n1", "postscripts-=y,z", "postbootscripts-=q")
	var texts []string
	for _, n := range r.Notes {
		texts = append(texts, n.Error())
	}
	if want := []string{"n1: postscripts has no z", "n1: postbootscripts has no value"}; !slices.Equal(texts, want) || !r.Changed {
		t.Errorf("notes %q, want %q; changed %v", texts, want, r.Changed)
	}
	if r := change(t, db, "node", "n1", "groups-=nosuch"); r.Changed {
		t.Error("taking away what is not there changed something")
	}
}

// Adding to a list that comes from a group keeps what the group gives.
func TestPlusKeepsInherited(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "group", "g", "postscripts=a,b")
	define(t, db, "node", "n1", "groups=g")
	change(t, db, "node", "n1", "postscripts+=c")
	expect(t, db, "node", "n1", "groups=g postscripts=a,b,c")
	// And taking all of it away leaves nothing, not the group's again.
	change(t, db, "node", "n1", "postscripts-=a,b,c")
	expect(t, db, "node", "n1", "groups=g")
	change(t, db, "node", "n1", "postscripts+=d")
	expect(t, db, "node", "n1", "groups=g postscripts=d")
}

func TestReplace(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "node", "n1", "groups=all,aix", "os=aix", "switch=sw1")
	edit(t, db, func(e *nodedb.Editor) error {
		return e.Replace(nodedb.TypeByName("node"), "n1", assigns("groups=all", "nodetype=lpar,osi"))
	})
	expect(t, db, "node", "n1", "groups=all nodetype=lpar,osi")
	err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
		return nodedb.Edit(tx).Replace(nodedb.TypeByName("node"), "n1", assigns("os=x"))
	})
	if err == nil {
		t.Error("replaced by a node without groups")
	}
	expect(t, db, "node", "n1", "groups=all nodetype=lpar,osi")
}

func TestRemove(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "node", "n1", "groups=all", "os=x", "switch=sw1", "productkey=k")
	define(t, db, "node", "n2", "groups=all,g")
	define(t, db, "group", "g", "mgt=esx")
	define(t, db, "osimage", "i", "imagetype=linux", "template=/t")
	define(t, db, "network", "net", "net=10.0.0.0", "mask=255.0.0.0")
	for _, o := range []struct{ typ, name string }{{"node", "n1"}, {"group", "g"}, {"osimage", "i"}, {"network", "net"}} {
		edit(t, db, func(e *nodedb.Editor) error { return e.Remove(nodedb.TypeByName(o.typ), o.name) })
		expect(t, db, o.typ, o.name, "none")
		err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
			return nodedb.Edit(tx).Remove(nodedb.TypeByName(o.typ), o.name)
		})
		if !errors.Is(err, nodedb.ErrNotFound) {
			t.Errorf("removing %s %s twice: %v", o.typ, o.name, err)
		}
	}
	expect(t, db, "node", "n2", "groups=all")
	for _, table := range nodedb.Tables() {
		for _, row := range db.Snapshot().Rows(table) {
			if row.Key.Name != "n2" {
				t.Errorf("%s still has %v", table.Name, row.Values)
			}
		}
	}
}

func TestGroupObjects(t *testing.T) {
	db := nodedbtest.New(t)
	for i := 1; i <= 4; i++ {
		define(t, db, "node", fmt.Sprintf("n%d", i), "groups=all")
	}
	define(t, db, "group", "g", "members=n1,n3", "mgt=esx")
	expect(t, db, "group", "g", "grouptype=static members=n1,n3 mgt=esx")
	expect(t, db, "node", "n1", "groups=all,g mgt=esx")
	change(t, db, "group", "g", "members+=n2,n4")
	expect(t, db, "group", "g", "grouptype=static members=n1,n2,n3,n4 mgt=esx")
	if r := change(t, db, "group", "g", "members-=n1,n2"); len(r.Notes) != 0 {
		t.Error(r.Notes)
	}
	expect(t, db, "group", "g", "grouptype=static members=n3,n4 mgt=esx")
	change(t, db, "group", "g", "members=n1-n2")
	expect(t, db, "group", "g", "grouptype=static members=n1,n2 mgt=esx")
	expect(t, db, "node", "n3", "groups=all")
	define(t, db, "group", "dyn", "grouptype=dynamic", "wherevals=mgt==esx")
	expect(t, db, "group", "dyn", "grouptype=dynamic members=dynamic wherevals=mgt==esx")
	change(t, db, "group", "dyn", "wherevals+=groups=~all")
	expect(t, db, "group", "dyn", "grouptype=dynamic members=dynamic wherevals=mgt==esx::groups=~all")
	// A group that only members name.
	expect(t, db, "group", "all", "grouptype=static members=n1,n2,n3,n4")
	want := []string{"all", "dyn", "g"}
	if got := nodedb.NewView(db.Snapshot()).Names(nodedb.TypeByName("group")); !slices.Equal(got, want) {
		t.Errorf("groups are %q, want %q", got, want)
	}
}

func TestRename(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "node", "n1", "groups=all", "os=x", "switch=sw1", "switchport=3")
	define(t, db, "group", "g", "members=n1", "mgt=esx")
	define(t, db, "network", "net", "net=10.0.0.0", "mask=255.0.0.0")
	define(t, db, "osimage", "i", "imagetype=linux")
	define(t, db, "policy", "7", "rule=allow")
	for _, o := range []struct{ typ, from, to, want string }{
		{"node", "n1", "n2", "groups=all,g mgt=esx os=x switch=sw1 switchport=3"},
		{"group", "g", "h", "grouptype=static members=n2 mgt=esx"},
		{"network", "net", "net2", "mask=255.0.0.0 net=10.0.0.0"},
		{"osimage", "i", "j", "imagetype=linux"},
		{"policy", "7", "7.5", "rule=allow"},
	} {
		edit(t, db, func(e *nodedb.Editor) error { return e.Rename(nodedb.TypeByName(o.typ), o.from, o.to) })
		expect(t, db, o.typ, o.from, "none")
		expect(t, db, o.typ, o.to, o.want)
	}
	expect(t, db, "node", "n2", "groups=all,h mgt=esx os=x switch=sw1 switchport=3")
	define(t, db, "node", "n9", "groups=all")
	err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
		return nodedb.Edit(tx).Rename(nodedb.TypeByName("node"), "n2", "n9")
	})
	if !errors.Is(err, nodedb.ErrExists) {
		t.Errorf("renaming to a name that is taken: %v", err)
	}
}

func TestNetworkMoves(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "network", "net", "net=10.0.0.0", "mask=255.0.0.0", "gateway=10.0.0.1")
	change(t, db, "network", "net", "net=11.0.0.0", "dynamicrange+=11.0.0.10-11.0.0.20")
	expect(t, db, "network", "net", "dynamicrange=11.0.0.10-11.0.0.20 gateway=10.0.0.1 mask=255.0.0.0 net=11.0.0.0")
	if n := db.Snapshot().Networks(); len(n) != 1 || n[0].Prefix.String() != "11.0.0.0/8" {
		t.Errorf("networks are %v", n)
	}
}

func TestSite(t *testing.T) {
	db := nodedbtest.New(t)
	change(t, db, "site", nodedb.SiteObject, "domain=cluster", "master=10.0.0.1", "nameservers+=a", "nameservers+=b")
	expect(t, db, "site", nodedb.SiteObject, "domain=cluster master=10.0.0.1 nameservers=a,b")
	change(t, db, "site", nodedb.SiteObject, "domain=", "dhcplease=300")
	expect(t, db, "site", nodedb.SiteObject, "dhcplease=300 master=10.0.0.1 nameservers=a,b")
	if v := db.Snapshot().Site("dhcplease"); v != "300" {
		t.Errorf("dhcplease is %q", v)
	}
}

// Rows that a table has for a name before it is a node become the node's.
func TestRowsBeforeNode(t *testing.T) {
	db := nodedbtest.New(t)
	edit(t, db, func(e *nodedb.Editor) error {
		vm := nodedb.TableByName("vm")
		values := make([]string, len(vm.Columns))
		values[0], values[vm.Index("cpus")] = "n1", "4"
		return e.PutRow(vm, nil, values)
	})
	define(t, db, "node", "n1", "groups=all")
	expect(t, db, "node", "n1", "groups=all vmcpus=4")
	edit(t, db, func(e *nodedb.Editor) error {
		list := nodedb.TableByName("nodelist")
		e.DeleteRow(list, e.Find(list, map[string]string{"node": "n1"})[0])
		return nil
	})
	expect(t, db, "node", "n1", "none")
	if rows := db.Snapshot().Rows(nodedb.TableByName("vm")); len(rows) != 1 || rows[0].Values[0] != "n1" {
		t.Errorf("rows of vm are %v", rows)
	}
}

func TestOneTransaction(t *testing.T) {
	db := nodedbtest.New(t)
	edit(t, db, func(e *nodedb.Editor) error {
		node, group := nodedb.TypeByName("node"), nodedb.TypeByName("group")
		return errors.Join(
			e.Define(node, "n1", assigns("groups=all", "switch=sw1")),
			e.Define(group, "g", assigns("members=n1", "mgt=ipmi")),
			e.Define(node, "n2", assigns("groups=g", "bmc=1.2.3.4")),
			e.Rename(node, "n1", "n3"),
		)
	})
	expect(t, db, "node", "n3", "groups=all,g mgt=ipmi switch=sw1")
	expect(t, db, "node", "n2", "bmc=1.2.3.4 groups=g mgt=ipmi")
	expect(t, db, "group", "g", "grouptype=static members=n2,n3 mgt=ipmi")
}

func TestDoubts(t *testing.T) {
	db := nodedbtest.New(t)
	define(t, db, "network", "net", "net=10.0.0.0", "mask=255.0.0.0", "dynamicrange=10.0.1.1-10.0.1.9")
	define(t, db, "node", "n1", "groups=all", "mac=00:50:56:00:00:01", "ip=10.0.0.1")
	define(t, db, "node", "n2", "groups=all", "mac=00:50:56:00:00:01", "ip=10.0.0.1", "provmethod=nosuch", "vmhost=nohost")
	define(t, db, "node", "n3", "groups=all", "mac=00:50:56:00:00:03", "ip=10.0.1.5", "provmethod=install")
	want := []string{
		"n2: MAC address 00:50:56:00:00:01 is also that of n1",
		"n2: address 10.0.0.1 is also that of n1",
		"n2: vmhost nohost is not defined",
		"n2: osimage nosuch is not defined",
		"n3: address 10.0.1.5 lies in the dynamic range of network net",
	}
	var got []string
	for _, d := range db.Snapshot().Doubts([]string{"n2", "n3", "gone"}) {
		got = append(got, d.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("doubts are\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWhere(t *testing.T) {
	tests := []struct {
		where, value string
		want         bool
	}{
		{"a==b", "b", true}, {"a=b", "b", true}, {"a==b", "bb", false},
		{"a!=b", "b", false}, {"a!=b", "", true},
		{"a=~^b", "bc", true}, {"a=~/^b$/", "bc", false}, {"a!~b", "abc", false}, {"a!~b", "ac", true},
		{"os=~^sles[0-9]+$", "sles12", true},
	}
	for _, tt := range tests {
		w, err := nodedb.ParseWhere(tt.where)
		if err != nil || w.Match(tt.value) != tt.want {
			t.Errorf("%q on %q is %v, %v", tt.where, tt.value, !tt.want, err)
		}
	}
	for _, s := range []string{"", "a", "=b", "a!b", "a=~(", "!~b", "a!"} {
		if w, err := nodedb.ParseWhere(s); err == nil {
			t.Errorf("%q is taken as %v", s, w)
		}
	}
}

// A node's and a group's rows go along when they are renamed, of every table,
// with all that is in them.
func TestRenameEveryTable(t *testing.T) {
	for _, typ := range []string{"node", "group"} {
		db := nodedbtest.New(t)
		define(t, db, "node", "m", "groups=all,old")
		if typ == "node" {
			define(t, db, "node", "old", "groups=all")
		}
		edit(t, db, func(e *nodedb.Editor) error {
			for _, table := range nodedb.Tables() {
				if !table.ByNode() || table.Name == "nodelist" {
					continue
				}
				values := make([]string, len(table.Columns))
				for i, c := range table.Columns {
					values[i] = table.Name + "." + c.Name
				}
				values[table.Index(table.Keys[0])], values[table.Index("disable")] = "old", "no"
				if err := e.PutRow(table, nil, values); err != nil {
					return err
				}
			}
			return nil
		})
		edit(t, db, func(e *nodedb.Editor) error { return e.Rename(nodedb.TypeByName(typ), "old", "new") })
		for _, table := range nodedb.Tables() {
			if !table.ByNode() || table.Name == "nodelist" {
				continue
			}
			rows := db.Snapshot().Rows(table)
			if len(rows) != 1 || rows[0].Get(table, table.Keys[0]) != "new" || slices.Contains(rows[0].Values, "") {
				t.Errorf("%s: table %s has %v", typ, table.Name, rows)
			}
		}
	}
}
