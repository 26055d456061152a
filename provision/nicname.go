package provision

import (
	"net/netip"
	"strings"

	"margay/nodedb"
)

// A furtherName is a name that a node has beside its own.
type furtherName struct {
	name    string
	addr    netip.Addr
	aliases []string
}

// furtherNames are the names of a node's other interfaces: those of
// hosts.otherinterfaces and those that the nics table makes.
func furtherNames(n *nodedb.Node) (out []furtherName) {
	if text := n.Attr("hosts.otherinterfaces"); text != "" {
		out = otherInterfaces(n.Name, text)
	}
	if text := n.Attr("nics.nicips"); text != "" {
		out = append(out, nicNames(n, text)...)
	}
	return out
}

// otherInterfaces reads "-ib0:10.2.0.1,storage1:10.3.0.1", where a name that
// begins with a dash is the node's own with that suffix.
func otherInterfaces(node, text string) (out []furtherName) {
	for _, item := range list(text) {
		name, ip, ok := strings.Cut(item, ":")
		addr, err := netip.ParseAddr(ip)
		if !ok || err != nil {
			continue
		}
		if strings.HasPrefix(name, "-") {
			name = node + name
		}
		out = append(out, furtherName{name: name, addr: addr})
	}
	return out
}

// nicNames reads "eth1!10.0.0.1|10.1.0.1,ib0!10.2.0.1". An address's name is the
// node's with the prefix and suffix that stand at the same place, or with
// -eth1 behind it if there are none; an address that is the node's own has
// none.
func nicNames(n *nodedb.Node, text string) (out []furtherName) {
	prefixes, suffixes, aliases := nicList(n, "nichostnameprefixes"), nicList(n, "nichostnamesuffixes"), nicList(n, "nicaliases")
	for nic, ips := range splitNICs(text) {
		for i, ip := range strings.Split(ips, "|") {
			addr, err := netip.ParseAddr(strings.TrimSpace(ip))
			if err != nil || addr == n.Addr {
				continue
			}
			before, after := at(prefixes[nic], i), at(suffixes[nic], i)
			if before == "" && after == "" {
				if after = "-" + nic; addr.Is6() {
					after += "-ipv6"
				}
			}
			out = append(out, furtherName{before + n.Name + after, addr, strings.Fields(at(aliases[nic], i))})
		}
	}
	return out
}

func nicList(n *nodedb.Node, column string) map[string]string {
	m := make(map[string]string)
	for nic, value := range splitNICs(n.Attr("nics." + column)) {
		m[nic] = value
	}
	return m
}

// splitNICs reads "eth1!value,ib0!value".
func splitNICs(text string) func(yield func(nic, value string) bool) {
	return func(yield func(nic, value string) bool) {
		for item := range strings.SplitSeq(text, ",") {
			nic, value, ok := strings.Cut(item, "!")
			if ok && !yield(strings.TrimSpace(nic), value) {
				return
			}
		}
	}
}

// at is the ith of values separated by |, "" if there are not so many.
func at(text string, i int) string {
	if all := strings.Split(text, "|"); i < len(all) {
		return strings.TrimSpace(all[i])
	}
	return ""
}
