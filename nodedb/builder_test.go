package nodedb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawRecord makes a record that has much in common with others, or removes it.
func drawRecord(t *rapid.T) Record {
	value := func(column string, from ...string) (string, string) {
		return column, rapid.SampledFrom(append(from, "")).Draw(t, column)
	}
	pick := func(from ...string) string { return rapid.SampledFrom(from).Draw(t, "pick") }
	var r Record
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0, 1, 2:
		r.Key = Key{KindNode, pick("n1", "n2", "n3", "n4", "n5")}
	case 3, 4:
		r.Key = Key{KindGroup, pick("g1", "g2", "g3", "n1")}
	case 5:
		r.Key = Key{KindSite, pick("hierarchicalattrs", "domain")}
		r.Attrs = map[string]string{"site.value": pick("os", "mac.mac,ip", "")}
		return r
	}
	if rapid.IntRange(0, 4).Draw(t, "removed") == 0 {
		return r
	}
	r.Attrs = map[string]string{}
	set := func(column, v string) {
		if v != "" {
			r.Attrs[column] = v
		}
	}
	set(value("nodelist.groups", "g1", "g2,g1", "g1,g2,g3", "g3,g4"))
	set(value("nodetype.os", "a", "b", "c+=NEXTRECORD", "/n/x/", "|^.*$||"))
	set(value("mac.mac", "00:50:56:00:00:01", "00:50:56:00:00:02", "|n(\\d)|00:50:56:00:00:0($1)|", "bad", "00:50:56:00:00:03|00:50:56:00:00:01"))
	set(value("hosts.ip", "10.0.0.1", "10.0.0.2", "|10.0.0.($1)|", "bad"))
	set(value("ipmi.bmc", "10.0.0.1", "N1-bmc", "|10.0.0.($1)|", "/$/-bmc/", "bad"))
	set(value("openbmc.bmc", "10.0.0.2"))
	set(value("hosts.disable", "1", "no"))
	set(value("ipmi.disable", "1"))
	set(value("nodelist.disable", "1"))
	set(value("nodegroup.grouptype", "static"))
	return r
}

// describe says all that a snapshot shows of its nodes.
func describe(s *Snapshot) string {
	var b strings.Builder
	for _, n := range s.Nodes() {
		fmt.Fprintf(&b, "%s %v os=%q/%q mac=%q %v ip=%q %v fault=%v\n", n.Name, n.Groups, n.OS, n.Attr("nodetype.os"), n.Attr("mac.mac"), n.MACs, n.Attr("hosts.ip"), n.Addr, n.Check())
	}
	for _, g := range s.Groups() {
		fmt.Fprintf(&b, "group %s:", g)
		for _, n := range s.Members(g) {
			fmt.Fprintf(&b, " %s", n.Name)
		}
		b.WriteByte('\n')
	}
	for _, r := range []string{"nodetype.os==a", "os!=b", "nodetype.os=~^[cn]", "hosts.ip!~1$", "mac=", "groups=g1", "/n[1-3]"} {
		nodes, err := s.Expand(r)
		fmt.Fprintf(&b, "%s: %v", r, err)
		for _, n := range nodes {
			fmt.Fprintf(&b, " %s", n.Name)
		}
		b.WriteByte('\n')
	}
	for i := range 7 {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		fmt.Fprintf(&b, "%d %v %v %v\n", i, s.NamesByMAC([]byte{0, 0x50, 0x56, 0, 0, byte(i)}), s.NamesByAddr(addr), s.namesByBMC(bmcKey{addr: addr}))
	}
	fmt.Fprintf(&b, "bmc %v\n", s.namesByBMC(bmcKey{name: "n1-bmc"}))
	return b.String()
}

// A snapshot that came about by many commits is the one that is loaded whole,
// and every one on the way stays as it was.
func TestSnapshotsGrowAsTheyAreLoaded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBuilder()
		b.max = rapid.SampledFrom([]int{0, 2, setsMin}).Draw(t, "sets")
		now := map[Key]Record{}
		type past struct {
			s    *Snapshot
			text string
		}
		var snaps []past
		for rev := range rapid.IntRange(1, 12).Draw(t, "commits") {
			batch := map[Key]Record{}
			for range rapid.IntRange(1, 4).Draw(t, "records") {
				r := drawRecord(t)
				r.Rev = int64(rev)
				batch[r.Key] = r
			}
			for k, r := range batch {
				now[k] = r
				if r.Attrs == nil {
					delete(now, k)
				}
			}
			s := b.apply(slices.Collect(maps.Values(batch)), int64(rev))
			if rev > 0 && !s.byBMC {
				t.Fatal("there is no index of BMCs though somebody asked")
			}
			text := describe(s)
			if want := describe(newBuilder().load(slices.Collect(maps.Values(now)), int64(rev))); text != want {
				t.Fatalf("after commit %d:\n%s\nwant\n%s", rev, text, want)
			}
			snaps = append(snaps, past{s, text})
		}
		for i, p := range snaps {
			p.s.nodes, p.s.groups = new(lazy[[]*Node]), new(lazy[[]string]) // work them out anew
			if text := describe(p.s); text != p.text {
				t.Fatalf("the snapshot of commit %d has become\n%s\nand was\n%s", i, text, p.text)
			}
		}
	})
}

// Commits share what they did not touch.
func TestCommitSharesNodes(t *testing.T) {
	b := newBuilder()
	var recs []Record
	for i := range 2000 {
		recs = append(recs, Record{Key: Key{KindNode, fmt.Sprintf("n%04d", i)}, Attrs: map[string]string{"nodelist.groups": fmt.Sprintf("g%d,all", i%10)}, Rev: 1})
	}
	one := b.load(recs, 1)
	before := one.Nodes()
	two := b.apply([]Record{{Key: Key{KindNode, "n0007"}, Attrs: map[string]string{"nodelist.groups": "g7,all", "nodetype.os": "x"}, Rev: 2}}, 2)
	three := b.apply([]Record{{Key: Key{KindGroup, "g3"}, Attrs: map[string]string{"nodetype.os": "y"}, Rev: 3}}, 3)
	fresh := func(s *Snapshot, from []*Node) (n int) {
		for i, now := range s.Nodes() {
			if now != from[i] {
				n++
			}
		}
		return n
	}
	if n := fresh(two, before); n != 1 {
		t.Errorf("one node changed and %d were built anew", n)
	}
	if n := fresh(three, two.Nodes()); n != 200 {
		t.Errorf("a group of 200 changed and %d nodes were built anew", n)
	}
}
