package provision

import (
	"net"
	"net/netip"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// Holding is who has an address, or what a machine has, as the table says; for
// relays on networks of ours only, since it tells who is where.
func (s *Service) Holding(q netboot.LeaseQuery) *netboot.Holding {
	snap := s.DB.Snapshot()
	if snap.NetworkOf(q.Relay) == nil {
		return nil
	}
	if len(q.ClientID) == 7 && q.ClientID[0] == 1 {
		q.MAC = net.HardwareAddr(q.ClientID[1:]) // RFC 2132, 9.14: the usual one
	}
	switch {
	case q.Addr.IsValid():
		return s.holder(snap, q.Addr)
	case len(q.MAC) > 0:
		return s.held(snap, q.MAC)
	}
	return nil
}

// holder is who has an address.
func (s *Service) holder(snap *nodedb.Snapshot, a netip.Addr) *netboot.Holding {
	nw := snap.NetworkOf(a)
	if nw == nil {
		return nil
	}
	h := &netboot.Holding{Addr: a}
	if n := snap.NodeByAddr(a); n != nil {
		for _, mac := range n.MACs {
			if !mac.NoIP && !withdrawn(snap, n.Name, PublishDHCP) {
				h.MAC, h.Ends = mac.Addr, s.netPlan(snap, nw, netip.Addr{}).Lease
				break
			}
		}
		return h
	}
	if !dynamicIn(nw, a) {
		return nil // not an address that we give
	}
	if r, ok := snap.Record(leaseKey(a)); ok {
		s.heldBy(h, leaseOf(r))
	}
	return h
}

// heldBy notes a lease that runs.
func (s *Service) heldBy(h *netboot.Holding, l Lease) {
	left := l.Expires.Sub(s.Now())
	if mac, err := net.ParseMAC(l.MAC); err == nil && left > time.Second && !l.Bad {
		h.MAC, h.Ends = mac, left
	}
}

// held is what a machine has: its node's address, or its leases, the one that
// ends last first.
func (s *Service) held(snap *nodedb.Snapshot, mac net.HardwareAddr) *netboot.Holding {
	if n := snap.NodeByMAC(mac); n != nil {
		if !n.Addr.IsValid() || denied(n, netboot.Machine{MAC: mac}) || withdrawn(snap, n.Name, PublishDHCP) {
			return nil
		}
		return s.holder(snap, n.Addr)
	}
	var out *netboot.Holding
	for _, l := range Leases(snap) {
		h := &netboot.Holding{Addr: l.Addr}
		if s.heldBy(h, l); h.MAC == nil || l.MAC != mac.String() {
			continue
		}
		switch {
		case out == nil:
			out = h
		case h.Ends > out.Ends:
			h.Others = append(out.Others, out.Addr)
			out = h
		default:
			out.Others = append(out.Others, h.Addr)
		}
	}
	return out
}
