package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"margay/netboot/dns"
	"margay/nodedb"
	"margay/provision"
)

// dnsServer answers for the names of the newest snapshot.
func (d *daemon) dnsServer() *dns.Server {
	z := &zones{db: d.db, own: d.dnsConn.Addr().Port()}
	return &dns.Server{Names: z.current, Policy: z.policy, Updater: updater{d.service}, Log: d.log}
}

// notifyDNS tells the secondaries whenever the table has changed.
func (d *daemon) notifyDNS(ctx context.Context, s *dns.Server) error {
	changed := make(chan struct{}, 1)
	cancel := d.db.Subscribe(func(*nodedb.Snapshot) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer cancel()
	return s.Notify(ctx, changed)
}

// An updater makes changes that others send by DNS updates.
type updater struct{ *provision.Service }

func (u updater) Update(ctx context.Context, _, _ string, changes []dns.Change) error {
	var out []provision.NameChange
	for _, c := range changes {
		out = append(out, provision.NameChange{Delete: c.Delete, Name: c.Name, Type: c.Type, Value: c.Value})
	}
	err := u.UpdateNames(ctx, out)
	if errors.Is(err, provision.ErrNameTaken) {
		return dns.ErrRefused
	}
	return err
}

// rulesAge is how old our own addresses and the host's resolvers may be of
// which the rules are made.
const rulesAge = 5 * time.Second

// zones makes dns.Names and dns.Policy of snapshots. Boots change the table all
// the time; names are made anew only when what they are made of has changed.
type zones struct {
	db  *nodedb.DB
	own uint16 // our port, so that we never forward to ourselves

	mu      sync.Mutex // guards the fields below
	seen    *nodedb.Snapshot
	last    *names
	changed int64 // provision.NamesChanged, of last
	rules   *dns.Policy
	ruled   int64     // when the rules' part of the table changed
	made    time.Time // when the rules were made
}

func (z *zones) current() dns.Names {
	z.mu.Lock()
	defer z.mu.Unlock()
	snap := z.db.Snapshot() // under the lock, or an older one might take its place
	now := time.Now()
	stale := z.last == nil || z.last.Stale(now)
	if z.seen == snap && !stale {
		return z.last
	}
	z.seen = snap
	if changed := provision.NamesChanged(snap); stale || changed != z.changed {
		z.last, z.changed = &names{Names: provision.NewNames(snap, now), serial: uint32(changed)}, changed
	}
	return z.last
}

func (z *zones) policy() *dns.Policy {
	z.mu.Lock()
	defer z.mu.Unlock()
	snap := z.db.Snapshot()
	changed := snap.Changed(func(k nodedb.Kind) bool { return k == nodedb.KindSite || k == nodedb.KindPasswd })
	if z.rules == nil || z.ruled != changed || time.Since(z.made) > rulesAge {
		z.ruled, z.made = changed, time.Now()
		secondaries, _ := provision.ParseServers(snap.Site("dnssecondaries"), 0) // what is no address was refused when it was typed
		clients, _ := provision.ParsePrefixes(snap.Site("dnsclients"))
		z.rules = &dns.Policy{
			Upstreams:   upstreams(snap, z.own),
			Secondaries: secondaries,
			Clients:     clients,
			Keys:        keys(snap),
		}
	}
	return z.rules
}

// names are a snapshot's names in netboot/dns's words.
type names struct {
	*provision.Names
	serial uint32
}

// Zones are those of the site's and the networks' domains, and the reverse
// zones of the networks. The serial moves with what names are made of.
func (n *names) Zones() []dns.Zone {
	var ns []string
	if s := n.Server(); s != "" {
		ns = []string{s}
	}
	var mail []dns.MX
	servers, _ := provision.ParseMailServers(n.Snapshot().Site("dnsmx"))
	for _, m := range servers {
		mail = append(mail, dns.MX(m))
	}
	var out []dns.Zone
	add := func(name string, mail []dns.MX) {
		if !slices.ContainsFunc(out, func(z dns.Zone) bool { return z.Name == name }) {
			out = append(out, dns.Zone{Name: name, Serial: n.serial, NS: ns, MX: mail})
		}
	}
	for _, domain := range n.Domains() {
		add(domain, mail)
	}
	for _, p := range n.Networks() {
		for _, zone := range dns.ReverseZones(p) {
			add(zone, nil)
		}
	}
	return out
}

func (n *names) Host(name string) (dns.Host, bool) {
	x, ok := n.Get(name)
	return host(x), ok
}

func (n *names) Addr(a netip.Addr) []string { return n.Reverse(a) }

func (n *names) Hosts() iter.Seq2[string, dns.Host] {
	return func(yield func(string, dns.Host) bool) {
		for x := range n.All() {
			if !yield(x.Name, host(x)) {
				return
			}
		}
	}
}

func host(x provision.Name) dns.Host {
	if x.Alias != "" {
		return dns.Host{Alias: x.Alias, TTL: x.TTL}
	}
	return dns.Host{Addrs: []netip.Addr{x.Addr}, TTL: x.TTL}
}

// keys are the TSIG keys that may update names: passwd rows of key tsig, the
// key's name as username, its secret in base64 as password, its algorithm as
// cryptmethod.
func keys(snap *nodedb.Snapshot) map[string]dns.Key {
	out := map[string]dns.Key{}
	for _, r := range snap.Records(nodedb.KindPasswd) {
		table, name, _ := strings.Cut(r.Name, nodedb.KeySep)
		secret, err := base64.StdEncoding.DecodeString(r.Attrs["passwd.password"])
		if table == "tsig" && err == nil && len(secret) > 0 {
			out[strings.ToLower(name)] = dns.Key{Algorithm: r.Attrs["passwd.cryptmethod"], Secret: secret}
		}
	}
	return out
}

// upstreams are site.forwarders, or else the host's own resolvers. Ourselves
// are left out: that would be a loop.
func upstreams(snap *nodedb.Snapshot, own uint16) []netip.AddrPort {
	list := snap.Site("forwarders")
	if list == "" {
		list = strings.Join(resolvers("/etc/resolv.conf"), ",")
	}
	var out []netip.AddrPort
	all, _ := provision.ParseServers(list, 53)
	for _, up := range all {
		if up.Port() != own || !isOurs(up.Addr()) {
			out = append(out, up)
		}
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
