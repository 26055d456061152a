package provision

import (
	"net"
	"net/netip"
	"slices"
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
	var h *netboot.Holding
	switch {
	case q.Addr.IsValid():
		h = s.holder(snap, q.Addr)
	case len(q.MAC) > 0:
		h = s.held(snap, q.MAC)
	case len(q.ClientID) > 0:
		h = s.latest(snap, idIndex(string(q.ClientID)))
		if id := q.ClientID; h == nil && len(id) == 7 && id[0] == 1 {
			h = s.held(snap, net.HardwareAddr(id[1:])) // RFC 2132, 9.14: the usual one
		}
	}
	if h != nil && h.MAC != nil {
		h.Told = s.toldAt(snap, h, q.Local)
	}
	return h
}

// holder is who has an address.
func (s *Service) holder(snap *nodedb.Snapshot, a netip.Addr) *netboot.Holding {
	nw := snap.NetworkOf(a)
	if nw == nil {
		return nil
	}
	s.reserved.mu.Lock()
	said, there := s.reservedAt(snap, a)
	s.reserved.mu.Unlock()
	n := snap.NodeByAddr(a)
	if of := reservedFor(snap, said); there && of != nil {
		n = of
	} else {
		said = Lease{} // it was another machine's
	}
	if n != nil {
		return s.reservation(snap, nw, n, a, said)
	}
	if !dynamicIn(nw, a) {
		return nil // not an address that we give
	}
	h := &netboot.Holding{Addr: a}
	if r, ok := snap.Record(leaseKey(a)); ok {
		if l := leaseOf(r); s.runs(l) {
			s.fill(h, l)
		}
	}
	return h
}

// reservedFor is the node that has an address by the MAC that last took it.
func reservedFor(snap *nodedb.Snapshot, l Lease) *nodedb.Node {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return nil
	}
	for _, name := range snap.NamesByMAC(mac) {
		n, err := snap.Node(name)
		m := netboot.Machine{MAC: mac}
		if err != nil || denied(n, m) {
			continue
		}
		if a, err := interfaceAddr(snap, n, m); err == nil && a == l.Addr {
			return n
		}
	}
	return nil
}

// reservation is a node's address: it is the node's whether it asked for it of
// late or not.
func (s *Service) reservation(snap *nodedb.Snapshot, nw *nodedb.Network, n *nodedb.Node, a netip.Addr, said Lease) *netboot.Holding {
	h := &netboot.Holding{Addr: a}
	if withdrawn(snap, n.Name, PublishDHCP) {
		return h
	}
	if s.runs(said) {
		s.fill(h, said)
		return h
	}
	if said.MAC != "" { // its lease is over, or was renewed since that was written
		s.fill(h, said)
	}
	for _, mac := range n.MACs {
		own, err := interfaceAddr(snap, n, netboot.Machine{MAC: mac.Addr})
		if h.MAC == nil && !mac.NoIP && err == nil && own == a {
			h.MAC, h.Silent = mac.Addr, -1
		}
	}
	h.Ends, h.Length = s.netPlan(snap, nw, netip.Addr{}).Lease, 0
	return h
}

// runs says whether a lease is a machine's now.
func (s *Service) runs(l Lease) bool {
	return l.MAC != "" && !l.Bad && l.Expires.Sub(s.Now()) > time.Second
}

// fill notes what a machine said when it took an address.
func (s *Service) fill(h *netboot.Holding, l Lease) {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return
	}
	h.MAC, h.Ends, h.Silent = mac, l.Expires.Sub(s.Now()), -1
	h.ClientID, h.RelayInfo = []byte(l.ClientID), []byte(l.RelayInfo)
	if !l.At.IsZero() {
		h.Length, h.Silent = l.Expires.Sub(l.At), max(s.Now().Sub(l.At), 0)
	}
}

// held is what a machine has: its node's address, or its leases.
func (s *Service) held(snap *nodedb.Snapshot, mac net.HardwareAddr) *netboot.Holding {
	n := snap.NodeByMAC(mac)
	if n == nil {
		return s.latest(snap, macIndex(mac.String()))
	}
	m := netboot.Machine{MAC: mac}
	a, err := interfaceAddr(snap, n, m)
	if err != nil || !a.IsValid() || denied(n, m) || withdrawn(snap, n.Name, PublishDHCP) {
		return nil
	}
	return s.holder(snap, a)
}

// latest is the address, of those under an index's key, that its machine asked
// for last (RFC 4388, 6.4.1), with the others beside it.
func (s *Service) latest(snap *nodedb.Snapshot, key string) *netboot.Holding {
	var all []*netboot.Holding
	for _, a := range s.leases.index.find(snap, key) {
		h := s.holder(snap, a)
		if h == nil || h.MAC == nil || key != macIndex(h.MAC.String()) && key != idIndex(string(h.ClientID)) {
			continue // it is another's by now
		}
		all = append(all, h)
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b *netboot.Holding) int {
		switch {
		case a.Silent != b.Silent && (b.Silent < 0 || a.Silent >= 0 && a.Silent < b.Silent):
			return -1
		case a.Silent != b.Silent:
			return 1
		}
		return int(b.Ends - a.Ends)
	})
	for _, h := range all[1:] {
		all[0].Others = append(all[0].Others, h.Addr)
	}
	return all[0]
}

// toldAt is what the machine is told beside its address.
func (s *Service) toldAt(snap *nodedb.Snapshot, h *netboot.Holding, local netip.Addr) *netboot.Plan {
	nw := snap.NetworkOf(h.Addr)
	m := netboot.Machine{MAC: h.MAC, Local: local, ClientID: h.ClientID, RelayInfo: h.RelayInfo}
	p := s.netPlan(snap, nw, s.ownIn(snap, nw, m))
	p.Addr = netip.PrefixFrom(h.Addr, nw.Prefix.Bits())
	n := snap.NodeByMAC(h.MAC)
	if n != nil {
		p.Hostname = n.Name
	}
	if err := s.statements(snap, p, nw, n, m); err != nil {
		return nil
	}
	return p
}
