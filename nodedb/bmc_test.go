package nodedb

import (
	"net/netip"
	"slices"
	"testing"
)

// The index of BMCs, which is there from the first question on, follows nodes
// of which nothing but the BMC changes, and groups.
func TestBMCsFollow(t *testing.T) {
	b := newBuilder()
	rev := int64(0)
	put := func(kind Kind, name string, attrs map[string]string) *Snapshot {
		rev++
		return b.apply([]Record{{Key: Key{kind, name}, Attrs: attrs, Rev: rev}}, rev)
	}
	node := func(name, column, value string) *Snapshot {
		return put(KindNode, name, map[string]string{"nodelist.groups": "g", "hosts.ip": "10.1.0.1", column: value})
	}
	expect := func(s *Snapshot, indexed bool, addr string, want ...string) {
		t.Helper()
		if got := s.namesByBMC(bmcKey{addr: netip.MustParseAddr(addr)}); !slices.Equal(got, want) || s.byBMC != indexed {
			t.Errorf("revision %d: %s is the BMC of %v (by the index: %t), want %v", s.rev, addr, got, s.byBMC, want)
		}
	}
	node("n1", "ipmi.bmc", "10.0.0.1")
	s := node("n2", "ipmi.bmc", "10.0.0.1")
	expect(s, false, "10.0.0.1", "n1", "n2")
	s = node("n3", "openbmc.bmc", "10.0.0.1")
	expect(s, true, "10.0.0.1", "n1", "n2", "n3")
	s = node("n1", "ipmi.bmc", "10.0.0.2")
	expect(s, true, "10.0.0.1", "n2", "n3")
	expect(s, true, "10.0.0.2", "n1")
	s = node("n3", "openbmc.bmc", "10.0.0.2")
	expect(s, true, "10.0.0.1", "n2")
	node("n2", "ipmi.bmc", "")
	s = put(KindGroup, "g", map[string]string{"ipmi.bmc": "|n(\\d+)|10.0.1.($1)|"})
	expect(s, true, "10.0.1.2", "n2")
	s = put(KindNode, "n2", nil)
	expect(s, true, "10.0.1.2")
}
