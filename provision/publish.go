package provision

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"margay/nodedb"
)

// kindWithdrawn keeps what makedhcp -d and makedns -d took back: our own
// record, named by the node. What it does not say is published.
const kindWithdrawn nodedb.Kind = "margay.withdrawn"

// A Publisher is a service that serves nodes straight from the table.
type Publisher string

// The publishers whose nodes can be withdrawn.
const (
	PublishDHCP Publisher = "dhcp"
	PublishDNS  Publisher = "dns"
)

// withdrawn says whether a node was taken back from a service.
func withdrawn(snap *nodedb.Snapshot, node string, p Publisher) bool {
	r, ok := snap.Record(nodedb.Key{Kind: kindWithdrawn, Name: node})
	return ok && r.Attrs["withdrawn."+string(p)] != ""
}

// Publish puts nodes into a service, or takes them back. Nodes are published
// from the moment they are defined: only a withdrawal needs undoing.
func (s *Service) Publish(ctx context.Context, nodes []string, p Publisher, on bool) error {
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		for _, n := range nodes {
			k := nodedb.Key{Kind: kindWithdrawn, Name: n}
			if on && !withdrawn(tx.Snapshot(), n, p) {
				continue
			}
			value := ""
			if !on {
				value = "1"
			}
			tx.Set(k, "withdrawn."+string(p), value)
		}
		return nil
	})
}

// A Warning is a problem that xCAT warns of and goes on.
type Warning struct{ error }

func warning(format string, args ...any) error { return Warning{fmt.Errorf(format, args...)} }

// DHCPProblem is why a node will get no answer, or a wrong one, by DHCP; nil
// if it is served. The words are makedhcp's.
func DHCPProblem(snap *nodedb.Snapshot, n *nodedb.Node) error {
	if raw := n.Attr("mac.mac"); raw != "" && len(n.MACs) == 0 {
		return fmt.Errorf("Invalid mac address %s for %s", raw, n.Name)
	}
	if err := n.Check(); err != nil {
		return err
	}
	if len(n.MACs) == 0 {
		return warning("Unable to find mac address for %s", n.Name)
	}
	if !n.Addr.IsValid() {
		return warning("The hostname %s of node %s could not be resolved.", n.Name, n.Name)
	}
	for _, mac := range n.MACs {
		if mac.Host != "" && !hostAddr(snap, n, mac.Host).IsValid() {
			return warning("The hostname %s of node %s could not be resolved.", mac.Host, n.Name)
		}
	}
	for _, a := range dhcpAddrs(snap, n) {
		nw := snap.NetworkOf(a)
		if nw == nil {
			return fmt.Errorf("Node %s has IP %s, which is in none of the networks; define one with mkdef -t network", n.Name, a)
		}
		if nw.InDynamicRange(a) {
			return fmt.Errorf("Node %s has IP %s which is inside the DHCP dynamic range. Move the node IP outside the dynamic range or adjust the range in the networks table.", n.Name, a)
		}
	}
	nw := snap.NetworkOf(n.Addr)
	if other := snap.NodeByAddr(n.Addr); other != nil && other.Name != n.Name {
		return fmt.Errorf("Node %s has IP %s, which is %s's too", n.Name, n.Addr, other.Name)
	}
	for _, mac := range n.MACs {
		for _, other := range snap.NamesByMAC(mac.Addr) {
			if other != n.Name {
				return fmt.Errorf("Node %s has MAC %s, which is %s's too", n.Name, mac.Addr, other)
			}
		}
	}
	if err := StatementProblem(snap, nw, n); err != nil {
		return err
	}
	if nw.Domain == "" && snap.Site("domain") == "" {
		return fmt.Errorf("No domain defined for %s entry in networks table, and no domain defined in site table.", nw.Name)
	}
	return nil
}

// DHCPGiven are the lines of what a node's interfaces are given, by MAC; none if
// it is withdrawn or cannot be served.
func DHCPGiven(snap *nodedb.Snapshot, n *nodedb.Node) (macs []nodedb.MAC, addrs []netip.Addr) {
	if DHCPProblem(snap, n) != nil || withdrawn(snap, n.Name, PublishDHCP) {
		return nil, nil
	}
	for _, mac := range n.MACs {
		if mac.NoIP {
			continue
		}
		a := n.Addr
		if mac.Host != "" {
			a = hostAddr(snap, n, mac.Host)
		}
		macs, addrs = append(macs, mac), append(addrs, a)
	}
	return macs, addrs
}

// What DNS takes (RFC 1035, 2.3.4): a label's octets, and a whole name's as it is
// written, which is two less than as it is sent.
const (
	maxLabel    = 63
	maxHostName = 253
)

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// isLabel says whether s can be part of a host's name.
func isLabel(s string) bool { return len(s) <= maxLabel && dnsLabel.MatchString(s) }

// DNSProblem is why a node's name is not answered for; nil if it is. The words
// are makedns's: what it leaves out is a Warning.
func DNSProblem(snap *nodedb.Snapshot, n *nodedb.Node) error {
	if !dnsLabel.MatchString(strings.ToLower(n.Name)) {
		return fmt.Errorf("Ignoring host %s, its name has characters that DNS has not.", n.Name)
	}
	if len(n.Name) > maxLabel {
		return fmt.Errorf("Ignoring host %s, its name has %d characters, and DNS takes %d.", n.Name, len(n.Name), maxLabel)
	}
	if !n.Addr.IsValid() {
		if err := n.Check(); err != nil {
			return err
		}
		return warning("Ignoring host %s, it has no ip.", n.Name)
	}
	if snap.NetworkOf(n.Addr) == nil {
		return warning("Ignoring host %s, it does not belong to any nets defined in networks table or the net it belongs to is configured to use an external nameserver.", n.Name)
	}
	if whole := wholeLength(snap, n, snap.NetworkOf(n.Addr)); whole > maxHostName {
		return fmt.Errorf("Ignoring host %s, its name has %d characters with its domain, and DNS takes %d.", n.Name, whole, maxHostName)
	}
	return nil
}

// aliasLabels are the parts of names of hosts.hostnames: DNS takes more than
// names of hosts may have.
var aliasLabels = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// AliasProblems are why some of a node's further names are not answered for:
// those of hosts.hostnames, and those of its other interfaces.
func AliasProblems(snap *nodedb.Snapshot, n *nodedb.Node) []error {
	var out []error
	no := func(alias string, addr netip.Addr, labels *regexp.Regexp) {
		if err := aliasProblem(alias, domainOf(snap, addr), labels); err != nil {
			out = append(out, fmt.Errorf("Ignoring alias %s of host %s, %w.", alias, n.Name, err))
		}
	}
	for _, a := range n.Aliases {
		no(a, n.Addr, aliasLabels)
	}
	for _, f := range furtherNames(n) {
		no(f.name, f.addr, dnsLabel)
		for _, a := range f.aliases {
			no(a, f.addr, dnsLabel)
		}
	}
	return out
}

// aliasProblem is why a further name, which may have its domain with it, is none
// that DNS can hold.
func aliasProblem(alias, domain string, labels *regexp.Regexp) error {
	if !labels.MatchString(strings.ToLower(alias)) {
		return errors.New("it has characters that DNS has not")
	}
	whole := aliasName(alias, domain)
	for label := range strings.SplitSeq(whole, ".") {
		if len(label) > maxLabel {
			return fmt.Errorf("it has %d characters without a dot, and DNS takes %d", len(label), maxLabel)
		}
	}
	if len(whole) > maxHostName {
		return fmt.Errorf("it has %d characters with its domain, and DNS takes %d", len(whole), maxHostName)
	}
	return nil
}

// aliasName is a further name with its domain.
func aliasName(alias, domain string) string {
	alias = strings.ToLower(alias)
	if !strings.Contains(alias, ".") && domain != "" {
		alias += "." + domain
	}
	return alias
}

// wholeLength is the length of a node's name with its domain.
func wholeLength(snap *nodedb.Snapshot, n *nodedb.Node, nw *nodedb.Network) int {
	return len(n.Name) + len(".") + len(domainIn(snap, nw))
}

// domainOf is the domain of an address: its network's, or the site's.
func domainOf(snap *nodedb.Snapshot, a netip.Addr) string {
	return domainIn(snap, snap.NetworkOf(a))
}

func domainIn(snap *nodedb.Snapshot, nw *nodedb.Network) string {
	if nw != nil && nw.Domain != "" {
		return strings.ToLower(nw.Domain)
	}
	return strings.ToLower(snap.Site("domain"))
}

// A NetworkDef is a network of our own interfaces, as makenetworks would
// define it.
type NetworkDef struct {
	Key   nodedb.Key
	Name  string
	Net   string
	Mask  string
	Own   netip.Addr // ours there
	Attrs map[string]string
}

// NetworkDefs are the networks of our own interfaces.
func NetworkDefs(served []Interface) []NetworkDef {
	var out []NetworkDef
	for _, d := range networksOf(served) {
		out = append(out, NetworkDef{
			Key:  nodedb.Key{Kind: nodedb.KindNetwork, Name: d.key()},
			Name: d.name(), Net: d.prefix.Addr().String(), Mask: d.mask(), Own: d.own, Attrs: d.attrs(),
		})
	}
	return out
}
