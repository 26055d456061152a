package dns

import (
	"context"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// fixed is a cluster's names in maps.
type fixed struct {
	zones []Zone
	hosts map[string]Host
	addrs map[netip.Addr][]string
}

func (f *fixed) Zones() []Zone                  { return f.zones }
func (f *fixed) Host(name string) (Host, bool)  { h, ok := f.hosts[name]; return h, ok }
func (f *fixed) Addr(a netip.Addr) []string     { return f.addrs[a] }
func (f *fixed) Hosts() iter.Seq2[string, Host] { return maps.All(f.hosts) }

// cluster is what most tests ask about.
func cluster(serial uint32) *fixed {
	f := &fixed{
		hosts: map[string]Host{
			"mn.cluster.test":       host("10.1.0.1"),
			"esx1.cluster.test":     host("10.1.0.11"),
			"esx1-ib0.cluster.test": host("10.2.0.11"),
			"dual.cluster.test":     host("10.1.0.12", "10.1.0.13", "fd00::12"),
			"www.cluster.test":      {Alias: "esx1.cluster.test"},
			"web.cluster.test":      {Alias: "www.cluster.test"},
			"gone.cluster.test":     {Alias: "nobody.cluster.test"},
			"out.cluster.test":      {Alias: "www.example.com"},
			"loop.cluster.test":     {Alias: "loop.cluster.test"},
			"rack.cluster.test":     {},
			"a.rack.cluster.test":   host("10.1.0.14"),
			"mail.cluster.test":     {Addrs: host("10.1.0.15").Addrs, MX: []MX{{10, "mn.cluster.test"}}},
		},
		addrs: make(map[netip.Addr][]string),
	}
	reverse := append(ReverseZones(netip.MustParsePrefix("10.1.0.0/16")), ReverseZones(netip.MustParsePrefix("fd00::/64"))...)
	for _, name := range append([]string{"cluster.test"}, reverse...) {
		f.zones = append(f.zones, Zone{Name: name, Serial: serial, NS: []string{"mn.cluster.test"}, MX: []MX{{5, "mail.cluster.test"}}})
	}
	for _, name := range slices.Sorted(maps.Keys(f.hosts)) {
		for _, a := range f.hosts[name].Addrs {
			f.addrs[a] = append(f.addrs[a], name)
		}
	}
	return f
}

func host(addrs ...string) (h Host) {
	for _, a := range addrs {
		h.Addrs = append(h.Addrs, netip.MustParseAddr(a))
	}
	return h
}

// serve starts a server on loopback and gives where.
func serve(t testing.TB, s *Server) netip.AddrPort {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c, err := Listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return c.Addr()
}

func always(n Names) func() Names { return func() Names { return n } }

// exchange asks by a network and gives the answer.
func exchange(t testing.TB, network string, at netip.AddrPort, m *miekg.Msg) *miekg.Msg {
	t.Helper()
	c := &miekg.Client{Net: network, Timeout: time.Minute, UDPSize: bestUDP}
	got, _, err := c.Exchange(m, at.String())
	if err != nil {
		t.Fatalf("%s: %v", m.Question[0].String(), err)
	}
	return got
}

func ask(name, qtype string) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetQuestion(name, miekg.StringToType[qtype])
	return m
}

// text is an answer in short: its code, then each section's records.
func text(m *miekg.Msg) string {
	var b strings.Builder
	b.WriteString(miekg.RcodeToString[m.Rcode])
	if m.Authoritative {
		b.WriteString(" aa")
	}
	if m.Truncated {
		b.WriteString(" tc")
	}
	for _, section := range [][]miekg.RR{m.Answer, m.Ns, m.Extra} {
		b.WriteString(" |")
		for _, rr := range section {
			if rr.Header().Rrtype == miekg.TypeOPT {
				continue
			}
			b.WriteString(" " + strings.Join(strings.Fields(rr.String()), " ") + ";")
		}
	}
	return b.String()
}

func TestAnswers(t *testing.T) {
	at := serve(t, &Server{Names: always(cluster(7))})
	const soa = " mn.cluster.test. hostmaster.cluster.test. 7 10800 3600 604800 60;"
	no := func(zone string) string { return " | | " + zone + " 60 IN SOA" + soa + " |" }
	tests := []struct{ name, qtype, want string }{
		{"esx1.cluster.test.", "A", "NOERROR aa | esx1.cluster.test. 86400 IN A 10.1.0.11; | |"},
		{"eSx1.Cluster.TEST.", "A", "NOERROR aa | eSx1.Cluster.TEST. 86400 IN A 10.1.0.11; | |"},
		{"esx1.cluster.test.", "AAAA", "NOERROR aa" + no("cluster.test.")},
		{"esx1.cluster.test.", "TXT", "NOERROR aa" + no("cluster.test.")},
		{"esx9.cluster.test.", "A", "NXDOMAIN aa" + no("cluster.test.")},
		{"dual.cluster.test.", "A", "NOERROR aa | dual.cluster.test. 86400 IN A 10.1.0.12; dual.cluster.test. 86400 IN A 10.1.0.13; | |"},
		{"dual.cluster.test.", "AAAA", "NOERROR aa | dual.cluster.test. 86400 IN AAAA fd00::12; | |"},
		{"rack.cluster.test.", "A", "NOERROR aa" + no("cluster.test.")},
		{"a.rack.cluster.test.", "A", "NOERROR aa | a.rack.cluster.test. 86400 IN A 10.1.0.14; | |"},
		{"www.cluster.test.", "A", "NOERROR aa | www.cluster.test. 86400 IN CNAME esx1.cluster.test.; esx1.cluster.test. 86400 IN A 10.1.0.11; | |"},
		{"web.cluster.test.", "A", "NOERROR aa | web.cluster.test. 86400 IN CNAME www.cluster.test.; www.cluster.test. 86400 IN CNAME esx1.cluster.test.; esx1.cluster.test. 86400 IN A 10.1.0.11; | |"},
		{"www.cluster.test.", "CNAME", "NOERROR aa | www.cluster.test. 86400 IN CNAME esx1.cluster.test.; | |"},
		{"www.cluster.test.", "AAAA", "NOERROR aa | www.cluster.test. 86400 IN CNAME esx1.cluster.test.; | cluster.test. 60 IN SOA" + soa + " |"},
		{"gone.cluster.test.", "A", "NXDOMAIN aa | gone.cluster.test. 86400 IN CNAME nobody.cluster.test.; | cluster.test. 60 IN SOA" + soa + " |"},
		{"out.cluster.test.", "A", "NOERROR aa | out.cluster.test. 86400 IN CNAME www.example.com.; | |"},
		{"cluster.test.", "SOA", "NOERROR aa | cluster.test. 86400 IN SOA" + soa + " | |"},
		{"cluster.test.", "NS", "NOERROR aa | cluster.test. 86400 IN NS mn.cluster.test.; | | mn.cluster.test. 86400 IN A 10.1.0.1;"},
		{"cluster.test.", "MX", "NOERROR aa | cluster.test. 86400 IN MX 5 mail.cluster.test.; | | mail.cluster.test. 86400 IN A 10.1.0.15;"},
		{"mail.cluster.test.", "MX", "NOERROR aa | mail.cluster.test. 86400 IN MX 10 mn.cluster.test.; | | mn.cluster.test. 86400 IN A 10.1.0.1;"},
		{"cluster.test.", "A", "NOERROR aa" + no("cluster.test.")},
		{"esx1.cluster.test.", "ANY", `NOERROR aa | esx1.cluster.test. 86400 IN HINFO "RFC8482" ""; | |`},
		{"11.0.1.10.in-addr.arpa.", "PTR", "NOERROR aa | 11.0.1.10.in-addr.arpa. 86400 IN PTR esx1.cluster.test.; | |"},
		{"11.0.1.10.in-addr.arpa.", "A", "NOERROR aa" + no("1.10.in-addr.arpa.")},
		{"99.0.1.10.in-addr.arpa.", "PTR", "NXDOMAIN aa" + no("1.10.in-addr.arpa.")},
		{"0.1.10.in-addr.arpa.", "PTR", "NOERROR aa" + no("1.10.in-addr.arpa.")},
		{"x.1.10.in-addr.arpa.", "PTR", "NXDOMAIN aa" + no("1.10.in-addr.arpa.")},
		{"011.0.1.10.in-addr.arpa.", "PTR", "NXDOMAIN aa" + no("1.10.in-addr.arpa.")},
		{"1.10.in-addr.arpa.", "SOA", "NOERROR aa | 1.10.in-addr.arpa. 86400 IN SOA" + soa + " | |"},
		{"2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "PTR",
			"NOERROR aa | 2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 86400 IN PTR dual.cluster.test.; | |"},
		{"11.0.2.10.in-addr.arpa.", "PTR", "REFUSED | | |"},
		{"www.example.com.", "A", "REFUSED | | |"},
		{"example.com.", "ANY", "REFUSED | | |"},
		{".", "NS", "REFUSED | | |"},
		{`es\.x1.cluster.test.`, "A", "NXDOMAIN aa" + no("cluster.test.")}, // a dot in a label
		{"cluster.test.", "AXFR", "REFUSED | | |"},
		{"cluster.test.", "IXFR", "REFUSED | | |"},
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, tt := range tests {
			if got := text(exchange(t, network, at, ask(tt.name, tt.qtype))); got != tt.want {
				t.Errorf("%s %s by %s:\n got %s\nwant %s", tt.name, tt.qtype, network, got, tt.want)
			}
		}
	}
	loop := exchange(t, "udp", at, ask("loop.cluster.test.", "A"))
	if loop.Rcode != miekg.RcodeSuccess || len(loop.Answer) != maxAliases {
		t.Errorf("a loop of aliases: %s", text(loop))
	}
}

// The next question after a change sees it.
func TestChange(t *testing.T) {
	names := make(chan Names, 2)
	one, two := cluster(1), cluster(2)
	two.hosts["esx1.cluster.test"] = host("10.1.0.99")
	two.zones = append(two.zones, Zone{Name: "new.test"})
	names <- one
	names <- two
	at := serve(t, &Server{Names: func() Names { return <-names }})
	if got := exchange(t, "udp", at, ask("esx1.cluster.test.", "A")); !strings.Contains(text(got), "10.1.0.11") {
		t.Error(text(got))
	}
	if got := exchange(t, "udp", at, ask("esx1.cluster.test.", "A")); !strings.Contains(text(got), "10.1.0.99") {
		t.Error(text(got))
	}
	names <- two
	if got := text(exchange(t, "udp", at, ask("new.test.", "SOA"))); !strings.HasPrefix(got, "NOERROR aa | new.test. 86400 IN SOA new.test. hostmaster.test.") {
		t.Error(got)
	}
}

func TestEDNS(t *testing.T) {
	names := cluster(1)
	for i := range 100 {
		h := names.hosts["dual.cluster.test"]
		h.Addrs = append(h.Addrs, netip.AddrFrom4([4]byte{10, 1, 9, byte(i)}))
		names.hosts["dual.cluster.test"] = h
	}
	at := serve(t, &Server{Names: always(names)})

	small := exchange(t, "udp", at, ask("esx1.cluster.test.", "A"))
	if small.IsEdns0() != nil {
		t.Error("OPT for an asker who sent none")
	}
	m := ask("esx1.cluster.test.", "A")
	m.SetEdns0(4096, true)
	got := exchange(t, "udp", at, m)
	if o := got.IsEdns0(); o == nil || o.UDPSize() != bestUDP || !o.Do() || o.Version() != 0 {
		t.Errorf("OPT %v", o)
	}
	m.IsEdns0().SetVersion(1)
	if got := exchange(t, "udp", at, m); got.Rcode != miekg.RcodeBadVers {
		t.Errorf("EDNS version 1: %s", miekg.RcodeToString[got.Rcode])
	}
	for _, tt := range []struct {
		size uint16 // of EDNS; 0: none
		tc   bool
	}{{0, true}, {512, true}, {1232, true}, {4096, true}} {
		m := ask("dual.cluster.test.", "A")
		if tt.size != 0 {
			m.SetEdns0(tt.size, false)
		}
		got := exchange(t, "udp", at, m)
		if got.Truncated != tt.tc || len(got.Answer) != 0 || (got.IsEdns0() != nil) != (tt.size != 0) {
			t.Errorf("%d octets: %s", tt.size, text(got))
		}
	}
	if got := exchange(t, "tcp", at, ask("dual.cluster.test.", "A")); got.Truncated || len(got.Answer) != 102 {
		t.Errorf("by TCP: %d answers", len(got.Answer))
	}
}

// TestTTL: what soon may be another's is not remembered for the zone's day, by
// name, by address, as another's alias and by secondaries.
func TestTTL(t *testing.T) {
	names := cluster(7)
	short := host("10.1.0.77")
	short.TTL = time.Minute
	names.hosts["guest.cluster.test"], names.addrs[short.Addrs[0]] = short, []string{"guest.cluster.test"}
	long := host("10.1.0.78")
	long.TTL = 1000 * time.Hour
	names.hosts["long.cluster.test"] = long
	names.hosts["alias.cluster.test"] = Host{Alias: "guest.cluster.test", TTL: 2 * time.Minute}
	p := &Policy{Secondaries: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}
	at := serve(t, &Server{Names: always(names), Policy: func() *Policy { return p }})
	want := map[string]uint32{"guest.cluster.test.": 60, "long.cluster.test.": 86400, "alias.cluster.test.": 120, "77.0.1.10.in-addr.arpa.": 60}
	look := func(how string, all []miekg.RR) {
		for _, rr := range all {
			if ttl, ok := want[rr.Header().Name]; ok && rr.Header().Ttl != ttl {
				t.Errorf("%s: %v, want %d", how, rr, ttl)
			}
		}
	}
	for name := range want {
		qtype := "A"
		if strings.HasSuffix(name, "arpa.") {
			qtype = "PTR"
		}
		m, err := miekg.Exchange(ask(name, qtype), at.String())
		if err != nil || len(m.Answer) == 0 {
			t.Fatalf("%s: %v (%v)", name, m, err)
		}
		look("asked", m.Answer)
	}
	for _, zone := range []string{"cluster.test.", "1.10.in-addr.arpa."} {
		in, err := patient().In(ask(zone, "AXFR"), at.String())
		if err != nil {
			t.Fatal(err)
		}
		for env := range in {
			if env.Error != nil {
				t.Fatal(env.Error)
			}
			look("transferred", env.RR)
		}
	}
}

func TestReverseZones(t *testing.T) {
	tests := []struct{ prefix, want string }{
		{"10.1.2.0/24", "2.1.10.in-addr.arpa"},
		{"10.1.2.128/25", "2.1.10.in-addr.arpa 128/25.2.1.10.in-addr.arpa"},
		{"10.1.2.4/31", "2.1.10.in-addr.arpa 4/31.2.1.10.in-addr.arpa"},
		{"10.1.2.3/32", "2.1.10.in-addr.arpa"},
		{"10.1.2.0/23", "2.1.10.in-addr.arpa 3.1.10.in-addr.arpa"},
		{"10.1.5.0/22", "4.1.10.in-addr.arpa 5.1.10.in-addr.arpa 6.1.10.in-addr.arpa 7.1.10.in-addr.arpa"},
		{"10.1.0.0/16", "1.10.in-addr.arpa"},
		{"172.16.0.0/14", "16.172.in-addr.arpa 17.172.in-addr.arpa 18.172.in-addr.arpa 19.172.in-addr.arpa"},
		{"10.0.0.0/8", "10.in-addr.arpa"},
		{"12.0.0.0/7", "12.in-addr.arpa 13.in-addr.arpa"},
		{"fd00:1234::/32", "4.3.2.1.0.0.d.f.ip6.arpa"},
		{"fd00:1200::/25", "2.1.0.0.d.f.ip6.arpa"},
	}
	for _, tt := range tests {
		if got := strings.Join(ReverseZones(netip.MustParsePrefix(tt.prefix)), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.prefix, got, tt.want)
		}
	}
	if got := len(ReverseZones(netip.MustParsePrefix("10.0.0.0/17"))); got != 128 {
		t.Errorf("a /17 has %d zones", got)
	}
	if got := len(ReverseZones(netip.MustParsePrefix("10.0.0.0/9"))); got != 128 {
		t.Errorf("a /9 has %d zones", got)
	}
	if got := ReverseZones(netip.Prefix{}); got != nil {
		t.Errorf("no network: %v", got)
	}
}

// A network of less than 256 addresses has its names in a zone of its own too
// (RFC 2317), whose records are what a transfer of it holds.
func TestClassless(t *testing.T) {
	names := &fixed{
		hosts: map[string]Host{"a.cluster.test": host("10.1.2.130"), "b.cluster.test": host("10.1.2.5")},
		addrs: map[netip.Addr][]string{netip.MustParseAddr("10.1.2.130"): {"a.cluster.test"}, netip.MustParseAddr("10.1.2.5"): {"b.cluster.test"}},
	}
	for _, zone := range ReverseZones(netip.MustParsePrefix("10.1.2.128/25")) {
		names.zones = append(names.zones, Zone{Name: zone, Serial: 1, NS: []string{"mn.cluster.test"}})
	}
	policy := &Policy{Secondaries: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}
	at := serve(t, &Server{Names: always(names), Policy: func() *Policy { return policy }})
	const zone = "128/25.2.1.10.in-addr.arpa."
	for name, want := range map[string]string{
		"130." + zone:                   "NOERROR aa | 130." + zone + " 86400 IN PTR a.cluster.test.; | |",
		"130.2.1.10.in-addr.arpa.":      "NOERROR aa | 130.2.1.10.in-addr.arpa. 86400 IN PTR a.cluster.test.; | |",
		"131." + zone:                   "NXDOMAIN",
		"5." + zone:                     "NXDOMAIN", // not of this half
		"x.130." + zone:                 "NXDOMAIN",
		"130.0/25.2.1.10.in-addr.arpa.": "NXDOMAIN",
		zone:                            "NOERROR aa | | " + zone + " 60 IN SOA",
	} {
		for range 2 {
			if got := text(exchange(t, "udp", at, ask(name, "PTR"))); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
	in, err := patient().In(ask(zone, "AXFR"), at.String())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for env := range in {
		for _, rr := range env.RR {
			got = append(got, rr.Header().Name+" "+miekg.TypeToString[rr.Header().Rrtype])
		}
	}
	if want := []string{zone + " SOA", zone + " NS", "130." + zone + " PTR", zone + " SOA"}; !slices.Equal(got, want) {
		t.Errorf("transferred %v, want %v", got, want)
	}
}

func TestReverseName(t *testing.T) {
	for _, s := range []string{"10.1.0.11", "0.0.0.0", "255.254.253.252", "fd00::12", "2001:db8:1:2:3:4:5:6"} {
		a := netip.MustParseAddr(s)
		want, err := miekg.ReverseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		name := ReverseName(a)
		if name+"." != want {
			t.Errorf("%s: %s, want %s", s, name, want)
		}
		if got, whole, ok := reverseAddr(name); got != a || !whole || !ok {
			t.Errorf("%s read as %v, %v, %v", name, got, whole, ok)
		}
	}
}
