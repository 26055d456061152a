package provision

import (
	"fmt"
	"slices"

	"margay/nodedb"
)

// checkRanges looks whether each dynamic range has an address left, and whether
// what the networks' machines are told further is understood.
func (s *Service) checkRanges(snap *nodedb.Snapshot) []Check {
	var out []Check
	for _, nw := range snap.Networks() {
		if err := StatementProblem(snap, nw, nil); err != nil {
			out = append(out, bad("DHCP in network "+nw.Name, "correct it with chtab: until then no machine there is answered", "%v", err))
		}
		if len(nw.DynamicRanges) == 0 || !s.ourDynamic(nw) {
			continue
		}
		name, given := "dynamic range of "+nw.Name, fmt.Sprintf("%d addresses leased", s.givenIn(snap, nw))
		if s.spareIn(snap, nw) {
			out = append(out, good(name, "%s", given))
			continue
		}
		out = append(out, bad(name, fmt.Sprintf("chdef -t network %s dynamicrange=..., or margay release those that are not needed: margay leases", nw.Name), "used up: %s", given))
	}
	return out
}

// givenIn is how many addresses of a network's ranges may go to nobody else now.
func (s *Service) givenIn(snap *nodedb.Snapshot, nw *nodedb.Network) int {
	n := 0
	for _, r := range snap.Records(kindLease) {
		if l := leaseOf(r); nw.InDynamicRange(l.Addr) && !s.Now().After(l.Expires) {
			n++
		}
	}
	return n
}

// spareIn says whether a network's ranges have an address left, as the table
// tells; what is only offered comes back by itself.
func (s *Service) spareIn(snap *nodedb.Snapshot, nw *nodedb.Network) bool {
	return slices.ContainsFunc(nw.DynamicRanges, func(r nodedb.Range) bool {
		for a := r.First; r.Contains(a); a = a.Next() {
			rec, there := snap.Record(leaseKey(a))
			if dynamicIn(nw, a) && !s.leases.ours(a) && leasable(snap, rec, there, a, "nobody", s.Now()) {
				return true
			}
		}
		return false
	})
}
