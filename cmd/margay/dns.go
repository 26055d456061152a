package main

import (
	"bufio"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"margay/netboot/dns"
	"margay/nodedb"
	"margay/provision"
)

// dnsServer answers for the names of the newest snapshot.
func (d *daemon) dnsServer() *dns.Server {
	z := &zones{db: d.db, own: d.dnsConn.Addr().Port()}
	return &dns.Server{Names: z.current, Policy: z.policy, Log: d.log}
}

// zones makes dns.Names and dns.Policy of snapshots, each once.
type zones struct {
	db  *nodedb.DB
	own uint16 // our port, so that we never forward to ourselves

	mu    sync.Mutex // guards the fields below
	last  *names
	rules *dns.Policy
}

func (z *zones) refresh() (*names, *dns.Policy) {
	snap := z.db.Snapshot()
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.last == nil || z.last.Snapshot() != snap {
		z.last = &names{Names: provision.NewNames(snap)}
		z.rules = &dns.Policy{Upstreams: upstreams(snap, z.own)}
	}
	return z.last, z.rules
}

func (z *zones) current() dns.Names {
	n, _ := z.refresh()
	return n
}

func (z *zones) policy() *dns.Policy {
	_, p := z.refresh()
	return p
}

// names are a snapshot's names in netboot/dns's words.
type names struct{ *provision.Names }

// Zones are those of the site's and the networks' domains, and the reverse
// zones of the networks. The serial moves with the table.
func (n *names) Zones() []dns.Zone {
	serial := uint32(n.Snapshot().Rev())
	var ns []string
	if s := n.Server(); s != "" {
		ns = []string{s}
	}
	var out []dns.Zone
	add := func(name string) {
		if !slices.ContainsFunc(out, func(z dns.Zone) bool { return z.Name == name }) {
			out = append(out, dns.Zone{Name: name, Serial: serial, NS: ns})
		}
	}
	for _, domain := range n.Domains() {
		add(domain)
	}
	for _, p := range n.Networks() {
		for _, zone := range dns.ReverseZones(p) {
			add(zone)
		}
	}
	return out
}

func (n *names) Host(name string) (dns.Host, bool) {
	addr, alias, ok := n.Lookup(name)
	return host(addr, alias), ok
}

func (n *names) Addr(a netip.Addr) []string { return n.Reverse(a) }

func (n *names) Hosts() iter.Seq2[string, dns.Host] {
	return func(yield func(string, dns.Host) bool) {
		for x := range n.All() {
			if !yield(x.Name, host(x.Addr, x.Alias)) {
				return
			}
		}
	}
}

func host(addr netip.Addr, alias string) dns.Host {
	if alias != "" {
		return dns.Host{Alias: alias}
	}
	return dns.Host{Addrs: []netip.Addr{addr}}
}

// upstreams are site.forwarders, or else the host's own resolvers. Ourselves
// are left out: that would be a loop.
func upstreams(snap *nodedb.Snapshot, own uint16) []netip.AddrPort {
	words := strings.FieldsFunc(snap.Site("forwarders"), func(r rune) bool { return r == ',' || r == ' ' || r == ';' })
	if len(words) == 0 {
		words = resolvers("/etc/resolv.conf")
	}
	var out []netip.AddrPort
	for _, w := range words {
		up, err := netip.ParseAddrPort(w)
		if err != nil {
			a, err := netip.ParseAddr(w)
			if err != nil {
				continue
			}
			up = netip.AddrPortFrom(a, 53)
		}
		if up.Port() == own && isOurs(up.Addr()) {
			continue
		}
		out = append(out, up)
	}
	return out
}

// resolvers reads the nameserver lines of a resolv.conf(5).
func resolvers(file string) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if w := strings.Fields(lines.Text()); len(w) >= 2 && w[0] == "nameserver" {
			out = append(out, w[1])
		}
	}
	return out
}

func isOurs(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	addrs, _ := net.InterfaceAddrs()
	for _, x := range addrs {
		if p, err := netip.ParsePrefix(x.String()); err == nil && p.Addr() == a {
			return true
		}
	}
	return false
}
