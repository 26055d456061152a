package provision

import (
	"iter"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"margay/nodedb"
)

// Names are the cluster's host names in one snapshot, fully qualified, in
// lower case and without the final dot.
type Names struct {
	snap   *nodedb.Snapshot
	server string       // our own name
	master netip.Addr   // our own address
	now    time.Time    // when they were read: leases that have ended by then have no names
	ends   atomic.Int64 // when the next named lease ends, in seconds as Unix counts; 0: none is known

	leaseTTL time.Duration // of dynamic clients' names

	once  sync.Once
	other map[string]other        // by name: aliases, further interfaces, dynamic clients, updates; made when first wanted
	back  map[netip.Addr][]string // likewise, the names in other that have an address, in order
}

type other struct {
	addr  netip.Addr // of a further interface
	alias string     // the name it stands for
	lease bool       // of a dynamic client
}

// NamesChanged is the revision at which anything changed last that names are
// made of: as long as it stays, so do they.
func NamesChanged(snap *nodedb.Snapshot) int64 {
	return snap.Changed(func(k nodedb.Kind) bool {
		switch k {
		case nodedb.KindNode, nodedb.KindGroup, nodedb.KindNetwork, nodedb.KindSite, kindWithdrawn, kindName, kindLeaseName:
			return true
		}
		return false
	})
}

// NewNames returns the names in a snapshot, as they are now.
func NewNames(snap *nodedb.Snapshot, now time.Time) *Names {
	n := &Names{snap: snap, now: now, leaseTTL: min(leaseLength(snap)/2, longestLeaseTTL)}
	n.master, _ = netip.ParseAddr(snap.Site("master"))
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	if domain := strings.ToLower(snap.Site("domain")); domain != "" && isLabel(host) {
		n.server = host + "." + domain
	}
	return n
}

// Stale says whether a lease has ended since the names were read.
func (n *Names) Stale(now time.Time) bool {
	ends := n.ends.Load()
	return ends != 0 && now.Unix() >= ends
}

// Snapshot is what the names were read from.
func (n *Names) Snapshot() *nodedb.Snapshot { return n.snap }

// Server is our own name; "" where the site has no domain.
func (n *Names) Server() string { return n.server }

// Domains are the domains that are ours: the site's, the networks' and those of
// their dynamic clients.
func (n *Names) Domains() []string {
	var out []string
	add := func(d string) {
		if d = strings.ToLower(d); d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	add(n.snap.Site("domain"))
	for _, nw := range n.snap.Networks() {
		add(nw.Domain)
	}
	for _, nw := range n.snap.Networks() {
		add(nw.Attr("networks.ddnsdomain"))
	}
	return out
}

// Networks are those whose addresses are ours to name.
func (n *Names) Networks() []netip.Prefix {
	var out []netip.Prefix
	for _, nw := range n.snap.Networks() {
		if nw.Prefix.IsValid() {
			out = append(out, nw.Prefix)
		}
	}
	return out
}

// Of is the whole name of a node that has an address.
func (n *Names) Of(node *nodedb.Node) string {
	return strings.ToLower(node.Name) + "." + domainOf(n.snap, node.Addr)
}

// OfNode are the names that a node has: its own, those of its other interfaces,
// and their aliases; none of what DNS cannot hold.
func (n *Names) OfNode(node *nodedb.Node) (out []Name) {
	add := func(own string, addr netip.Addr, aliases []string, labels *regexp.Regexp) {
		domain := domainOf(n.snap, addr)
		out = append(out, Name{Name: own + "." + domain, Addr: addr})
		for _, a := range aliases {
			if aliasProblem(a, domain, labels) == nil {
				out = append(out, Name{Name: aliasName(a, domain), Alias: own + "." + domain})
			}
		}
	}
	if DNSProblem(n.snap, node) == nil {
		add(strings.ToLower(node.Name), node.Addr, node.Aliases, aliasLabels)
	}
	for _, f := range furtherNames(node) {
		if n.snap.NetworkOf(f.addr) != nil && aliasProblem(f.name, domainOf(n.snap, f.addr), dnsLabel) == nil {
			add(strings.ToLower(f.name), f.addr, f.aliases, dnsLabel)
		}
	}
	return out
}

// Lookup is what a name has: an address, or the name that it stands for.
func (n *Names) Lookup(name string) (addr netip.Addr, alias string, ok bool) {
	x, ok := n.Get(name)
	return x.Addr, x.Alias, ok
}

// Get is a name with what it has.
func (n *Names) Get(name string) (Name, bool) {
	if name == n.server && n.master.IsValid() {
		return Name{Name: name, Addr: n.master}, true
	}
	short, domain, _ := strings.Cut(name, ".")
	if node, err := n.snap.Node(short); err == nil && n.named(node) && domainOf(n.snap, node.Addr) == domain {
		return Name{Name: name, Addr: node.Addr}, true
	}
	n.once.Do(n.others)
	o, ok := n.other[name]
	return n.nameOf(name, o), ok
}

func (n *Names) nameOf(name string, o other) Name {
	x := Name{Name: name, Addr: o.addr, Alias: o.alias}
	if o.lease {
		x.TTL = n.leaseTTL
	}
	return x
}

// named says whether a node's name is answered for.
func (n *Names) named(node *nodedb.Node) bool {
	if !node.Addr.IsValid() {
		return false
	}
	nw := n.snap.NetworkOf(node.Addr)
	return nw != nil && isLabel(strings.ToLower(node.Name)) && wholeLength(n.snap, node, nw) <= maxHostName &&
		!withdrawn(n.snap, node.Name, PublishDNS)
}

// others collects aliases and further interfaces.
func (n *Names) others() {
	n.other = map[string]other{}
	for _, node := range n.snap.Nodes() {
		if lower := strings.ToLower(node.Name); lower != node.Name && n.named(node) {
			n.other[lower+"."+domainOf(n.snap, node.Addr)] = other{addr: node.Addr}
		}
		if len(node.Aliases) > 0 && n.named(node) {
			n.addAliases(node)
		}
		if further := furtherNames(node); len(further) > 0 && !withdrawn(n.snap, node.Name, PublishDNS) {
			n.addFurther(further)
		}
	}
	n.given()
	n.back = map[netip.Addr][]string{}
	for _, name := range slices.Sorted(maps.Keys(n.other)) {
		if a := n.other[name].addr; a.IsValid() {
			n.back[a] = append(n.back[a], name)
		}
	}
}

func (n *Names) addAliases(node *nodedb.Node) {
	domain := domainOf(n.snap, node.Addr)
	for _, a := range node.Aliases {
		if aliasProblem(a, domain, aliasLabels) == nil {
			n.other[aliasName(a, domain)] = other{alias: strings.ToLower(node.Name) + "." + domain}
		}
	}
}

func (n *Names) addFurther(further []furtherName) {
	for _, f := range further {
		name := strings.ToLower(f.name)
		domain := domainOf(n.snap, f.addr)
		if n.snap.NetworkOf(f.addr) == nil || aliasProblem(name, domain, dnsLabel) != nil {
			continue
		}
		n.other[name+"."+domain] = other{addr: f.addr}
		for _, a := range f.aliases {
			if a = strings.ToLower(a); aliasProblem(a, domain, dnsLabel) == nil {
				n.other[a+"."+domain] = other{alias: name + "." + domain}
			}
		}
	}
}

// Reverse are the names of an address, its node's own first.
func (n *Names) Reverse(addr netip.Addr) []string {
	var out []string
	if node := n.snap.NodeByAddr(addr); node != nil && n.named(node) {
		out = append(out, n.Of(node))
	}
	if addr == n.master && n.server != "" {
		out = append(out, n.server)
	}
	if len(out) > 0 {
		return out
	}
	n.once.Do(n.others)
	return n.back[addr]
}

// A Name is one name with what it has.
type Name struct {
	Name  string
	Addr  netip.Addr
	Alias string
	TTL   time.Duration // how long others may remember it; zero: as long as the zone says
}

// All are all names, in any order.
func (n *Names) All() iter.Seq[Name] {
	return func(yield func(Name) bool) {
		if n.server != "" && n.master.IsValid() && !yield(Name{Name: n.server, Addr: n.master}) {
			return
		}
		for _, node := range n.snap.Nodes() {
			if n.named(node) && !yield(Name{Name: n.Of(node), Addr: node.Addr}) {
				return
			}
		}
		n.once.Do(n.others)
		for name, o := range n.other {
			if !yield(n.nameOf(name, o)) {
				return
			}
		}
	}
}
