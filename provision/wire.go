package provision

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"margay/netboot"
	"margay/nodedb"
)

// networksAt are the networks of the wire that a machine asks from, the one
// first that it, its relay or our own address there names. Several share a wire
// where our interface has an address in each, where their mgtifname is that
// interface, or where they have a vlanid in common. None: we are not told where
// it is.
func (s *Service) networksAt(snap *nodedb.Snapshot, m netboot.Machine) []*nodedb.Network {
	from, routed := s.asksFrom(snap, m)
	if !from.IsValid() {
		return nil
	}
	var out []*nodedb.Network
	first := snap.NetworkOf(from)
	if first != nil {
		out = append(out, first)
	}
	direct := !routed && !m.Relay.IsValid() && !m.Link.IsValid() && m.Interface != ""
	var own []netip.Prefix
	if direct && s.LocalOn != nil {
		own = s.LocalOn(m.Interface)
	}
	for _, nw := range snap.Networks() {
		if nw == first || !nw.Prefix.IsValid() {
			continue
		}
		same := slices.ContainsFunc(own, func(p netip.Prefix) bool { return nw.Prefix.Contains(p.Addr()) }) ||
			direct && nw.Interface == m.Interface ||
			first != nil && nw.VLAN != "" && nw.VLAN == first.VLAN && nw.Interface == first.Interface
		if same {
			out = append(out, nw)
		}
	}
	return out
}

// asksFrom is an address of the wire that a machine asks from: RFC 3527 or 3011,
// its relay's, its own where it came through a router, else ours.
func (s *Service) asksFrom(snap *nodedb.Snapshot, m netboot.Machine) (from netip.Addr, routed bool) {
	switch {
	case m.Link.IsValid():
		return m.Link, false
	case m.Relay.IsValid():
		return m.Relay, false
	case s.routed(snap, m):
		return m.Addr, true
	}
	return m.Local, false
}

// routed says whether a machine asks by unicast from a network that is on another
// wire: one behind a relay renews so, past the relay (RFC 2131, 4.3.6). Where its
// broadcast comes to us it is on that wire, whatever its address: it has moved.
func (s *Service) routed(snap *nodedb.Snapshot, m netboot.Machine) bool {
	speaks := m.Ask == netboot.AskRequest || m.Ask == netboot.AskInform || m.Ask == netboot.AskRelease
	if !speaks || m.Broadcast || !m.Addr.IsValid() || !m.Local.IsValid() {
		return false
	}
	nw := snap.NetworkOf(m.Addr)
	return nw != nil && !nw.Prefix.Contains(m.Local) && (nw.Interface == "" || nw.Interface != m.Interface)
}

// asksIn is the network that a machine asks from; nil if it is none of ours.
func (s *Service) asksIn(snap *nodedb.Snapshot, m netboot.Machine) *nodedb.Network {
	from, _ := s.asksFrom(snap, m)
	return snap.NetworkOf(from)
}

// ownIn is our own address as a machine that gets an address of a network is to
// know it: ours in that network where the interface has several, else the one
// that it reached.
func (s *Service) ownIn(snap *nodedb.Snapshot, nw *nodedb.Network, m netboot.Machine) netip.Addr {
	if !m.Local.IsValid() {
		a, _ := netip.ParseAddr(snap.Site("master"))
		return a
	}
	if !nw.Prefix.Contains(m.Local) && !m.Relay.IsValid() && m.Interface != "" && s.LocalOn != nil {
		for _, p := range s.LocalOn(m.Interface) {
			if nw.Prefix.Contains(p.Addr()) {
				return p.Addr()
			}
		}
	}
	return m.Local
}

// meant says whether the server that a machine names is this one. It may name
// the address of before, if that of its network has come since the offer.
func (s *Service) meant(snap *nodedb.Snapshot, nw *nodedb.Network, m netboot.Machine) bool {
	return m.Server == m.Local || m.Server == s.ownIn(snap, nw, m)
}

// interfaceAddr is the address of the interface by which a node asks: its
// node's, or that of the host name that mac.mac has behind the MAC.
func interfaceAddr(snap *nodedb.Snapshot, n *nodedb.Node, m netboot.Machine) (netip.Addr, error) {
	if len(n.MACs) == 1 && n.MACs[0].Host == "" {
		return n.Addr, nil
	}
	text := m.MAC.String()
	for _, mac := range n.MACs {
		if mac.Host != "" && mac.Addr.String() == text {
			a := hostAddr(snap, n, mac.Host)
			if !a.IsValid() {
				return a, fmt.Errorf("node %s: %s is to have the address of %s, which is no name of the node's interfaces (otherinterfaces, nicips) and no node", n.Name, text, mac.Host)
			}
			return a, nil
		}
	}
	return n.Addr, nil
}

// hostAddr is what a host name behind a node's MAC stands for: the node itself,
// one of its further interfaces, or another node. Zero: nothing.
func hostAddr(snap *nodedb.Snapshot, n *nodedb.Node, host string) netip.Addr {
	short, _, _ := strings.Cut(strings.ToLower(host), ".")
	if short == strings.ToLower(n.Name) || slices.ContainsFunc(n.Aliases, func(a string) bool { return strings.EqualFold(a, host) }) {
		return n.Addr
	}
	for name, a := range furtherAddrs(n) {
		if name == short {
			return a
		}
	}
	if other, err := snap.Node(host); err == nil {
		return other.Addr
	}
	return netip.Addr{}
}

// furtherAddrs are the addresses of a node's further interfaces by name:
// hosts.otherinterfaces ("-ib0:10.2.0.1,storage1:10.3.0.1") and nics.nicips
// ("eth1!10.2.0.1") under nics.nichostnamesuffixes ("eth1!-eth1"; xCAT's own
// default is the interface's name).
func furtherAddrs(n *nodedb.Node) map[string]netip.Addr {
	out := map[string]netip.Addr{}
	add := func(name, ip string) {
		if strings.HasPrefix(name, "-") {
			name = n.Name + name
		}
		if a, err := netip.ParseAddr(ip); err == nil {
			out[strings.ToLower(name)] = a
		}
	}
	for _, item := range list(n.Attr("hosts.otherinterfaces")) {
		if name, ip, ok := strings.Cut(item, ":"); ok {
			add(name, ip)
		}
	}
	suffixes := nicColumn(n.Attr("nics.nichostnamesuffixes"))
	for nic, ips := range nicColumn(n.Attr("nics.nicips")) {
		for i, ip := range ips {
			suffix := "-" + nic
			if i < len(suffixes[nic]) {
				suffix = suffixes[nic][i]
			} else if i > 0 {
				continue // xCAT has no name of its own for a second one
			}
			add(n.Name+suffix, ip)
		}
	}
	return out
}

// nicColumn reads "eth1!a|b,eth2!c".
func nicColumn(text string) map[string][]string {
	out := map[string][]string{}
	for item := range strings.SplitSeq(text, ",") {
		if nic, values, ok := strings.Cut(strings.TrimSpace(item), "!"); ok {
			out[nic] = strings.Split(values, "|")
		}
	}
	return out
}

// dhcpAddrs are the addresses that a node's interfaces may be given.
func dhcpAddrs(snap *nodedb.Snapshot, n *nodedb.Node) []netip.Addr {
	out := []netip.Addr{n.Addr}
	for _, m := range n.MACs {
		if m.Host == "" || m.NoIP {
			continue
		}
		if a := hostAddr(snap, n, m.Host); a.IsValid() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
