//go:build bench

package netboottest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	benchNames = 10000
	atOnce     = 200 // questions that wait for an answer
)

// dnsPeers answer for cluster.test and the reverse zone of 10.1.0.0/16, each
// with one thread on the server's core and its one address, and log nothing.
func dnsPeers(margay *prepared) []peer {
	return []peer{
		{name: "margay", argv: func(dir string) []string { return append(margay.argv(dir), "--dns", benchAddr+":53", "--dhcp", "off") }},
		{name: "nsd", argv: func(dir string) []string { return []string{"nsd", "-d", "-c", dir + "/nsd.conf"} }},
		{name: "knot", argv: func(dir string) []string { return []string{"knotd", "-c", dir + "/knot.conf"} }},
		{name: "unbound", argv: func(dir string) []string { return []string{"unbound", "-d", "-c", dir + "/unbound.conf"} }},
		{name: "bind", argv: func(dir string) []string { return []string{"named", "-f", "-n", "1", "-c", dir + "/named.conf"} }},
		{name: "dnsmasq", argv: func(dir string) []string { return []string{"dnsmasq", "-k", "--conf-file=" + dir + "/dnsmasq.conf"} }},
	}
}

// dnsFiles are the peers' settings and zones.
func dnsFiles(t *testing.T, p *peer, dir string) {
	soa := "$TTL 86400\n@ IN SOA mn.cluster.test. hostmaster.cluster.test. 1 10800 3600 604800 60\n@ IN NS mn.cluster.test.\n"
	var forward, back, local, hosts strings.Builder
	forward.WriteString(soa + "mn IN A 10.1.0.1\n")
	back.WriteString(soa + "1.0 IN PTR mn.cluster.test.\n")
	for i := range benchNames {
		ip := benchIP(i)
		b := ip.As4()
		fmt.Fprintf(&forward, "n%d IN A %s\n", i, ip)
		fmt.Fprintf(&back, "%d.%d IN PTR n%d.cluster.test.\n", b[3], b[2], i)
		fmt.Fprintf(&local, "local-data: \"n%d.cluster.test. 86400 IN A %s\"\nlocal-data-ptr: \"%s 86400 n%d.cluster.test\"\n", i, ip, ip, i)
		fmt.Fprintf(&hosts, "%s n%d.cluster.test n%d\n", ip, i, i)
	}
	switch p.name {
	case "nsd":
		writeBench(t, dir, "nsd.conf", "server:\n  server-count: 1\n  ip-address: ", benchAddr, "\n  username: root\n  zonesdir: ", dir, "\n  pidfile: ", dir, "/pid\n  database: \"\"\n  zonelistfile: ", dir, "/list\n  xfrdfile: ", dir, "/xfrd\n  rrl-ratelimit: 0\n",
			"remote-control:\n  control-enable: no\nzone:\n  name: cluster.test\n  zonefile: forward\nzone:\n  name: 1.10.in-addr.arpa\n  zonefile: back\n")
	case "knot":
		writeBench(t, dir, "knot.conf", "server:\n  listen: ", benchAddr, "@53\n  rundir: ", dir, "\n  user: root\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\ndatabase:\n  storage: ", dir, "\n",
			"template:\n  - id: default\n    storage: ", dir, "\nzone:\n  - domain: cluster.test\n    file: forward\n  - domain: 1.10.in-addr.arpa\n    file: back\n")
	case "unbound":
		writeBench(t, dir, "unbound.conf", "server:\n  num-threads: 1\n  interface: ", benchAddr, "\n  access-control: 10.1.0.0/16 allow\n  username: \"\"\n  chroot: \"\"\n  directory: ", dir, "\n  pidfile: ", dir, "/pid\n  use-syslog: no\n  verbosity: 0\n",
			"  local-zone: \"cluster.test.\" static\n  local-zone: \"1.10.in-addr.arpa.\" static\n", "  local-data: \"cluster.test. 86400 IN SOA mn.cluster.test. hostmaster.cluster.test. 1 10800 3600 604800 60\"\n", local.String(), "remote-control:\n  control-enable: no\n")
	case "bind":
		writeBench(t, dir, "named.conf", "options { directory \"", dir, "\"; pid-file \"", dir, "/pid\"; session-keyfile \"", dir, "/key\"; listen-on { ", benchAddr, "; }; listen-on-v6 { none; }; recursion no; querylog no; minimal-responses yes; };\ncontrols { };\nlogging { category default { null; }; };\n",
			"zone \"cluster.test\" { type primary; file \"", dir, "/forward\"; };\nzone \"1.10.in-addr.arpa\" { type primary; file \"", dir, "/back\"; };\n")
	case "dnsmasq":
		writeBench(t, dir, "dnsmasq.conf", "user=root\npid-file=\nno-resolv\nno-hosts\ncache-size=20000\nbind-interfaces\nlisten-address=", benchAddr, "\nlocal=/cluster.test/\nlocal=/1.10.in-addr.arpa/\naddn-hosts=", dir, "/hosts\nlog-facility=/dev/null\nlocal-ttl=86400\ndns-forward-max=1000\n")
	}
	writeBench(t, dir, "forward", forward.String())
	writeBench(t, dir, "back", back.String())
	writeBench(t, dir, "hosts", hosts.String())
}

// dnsAnswers says whether a server knows its last name.
func dnsAnswers(b *lab) (ok bool) {
	b.client.Do(func() {
		c, err := net.DialTimeout("udp4", benchAddr+":53", time.Second)
		if err != nil {
			return
		}
		defer c.Close()
		q := dnsmessage.Message{Header: dnsmessage.Header{ID: 1}, Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(fmt.Sprintf("n%d.cluster.test.", benchNames-1)), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
		raw, _ := q.Pack()
		if _, err := c.Write(raw); err != nil {
			return
		}
		buf := make([]byte, 512)
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := c.Read(buf)
		var m dnsmessage.Message
		ok = err == nil && m.Unpack(buf[:n]) == nil && len(m.Answers) == 1
	})
	return ok
}

// loadDNS has dnsperf ask on core 1, from so many sockets.
func loadDNS(questions string, sockets int) func(*testing.T, *lab, int) marks {
	return func(t *testing.T, b *lab, _ int) marks {
		t.Helper()
		cmd := exec.Command("taskset", "-c", "1", benchBinary("dnsperf"), "-s", benchAddr, "-d", questions, "-c", strconv.Itoa(sockets), "-T", "1", "-q", strconv.Itoa(atOnce),
			"-t", "2", "-l", strconv.Itoa(max(1, int(benchNumber("BENCH_SECONDS", 2)))))
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := b.client.Run(cmd); err != nil {
			t.Fatalf("dnsperf: %v\n%s", err, out.String())
		}
		s := marks{}
		for line := range strings.Lines(out.String()) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			f := strings.Fields(value)
			if len(f) == 0 {
				continue
			}
			switch name {
			case "Queries completed":
				s.Done, _ = strconv.Atoi(f[0])
			case "Queries lost":
				s.Failed, _ = strconv.Atoi(f[0])
			case "Run time (s)":
				s.Seconds, _ = strconv.ParseFloat(f[0], 64)
			case "Response codes":
				s.Fault = unexpectedCodes(value)
			}
		}
		if s.Done == 0 {
			t.Fatalf("dnsperf: %s", out.String())
		}
		return s
	}
}

// unexpectedCodes are those that no question of ours should get.
func unexpectedCodes(s string) string {
	for code := range strings.SplitSeq(s, ",") {
		if c := strings.TrimSpace(code); c != "" && !strings.HasPrefix(c, "NOERROR") && !strings.HasPrefix(c, "NXDOMAIN") {
			return s
		}
	}
	return ""
}

// TestBenchDNS: questions for 10,000 nodes by name, by address, and mixed with
// names that are not there; these also from as many sockets as questions are
// asked at once, so that no two answers go the same way.
func TestBenchDNS(t *testing.T) {
	if benchBinary("dnsperf") == "" {
		t.Skip("dnsperf is not installed")
	}
	b := newLab(t, nil)
	var nodes strings.Builder
	for i := range benchNames {
		fmt.Fprintf(&nodes, "n%d:\n    objtype=node\n    groups=all\n    ip=%s\n", i, benchIP(i))
	}
	table := prepareMargay(t, b, nodes.String(), []string{"chtab", "key=domain", "site.value=cluster.test"})
	dir := t.TempDir()
	var names, addrs, mixed strings.Builder
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50000 {
		i := rnd.IntN(benchNames)
		name, addr := fmt.Sprintf("n%d.cluster.test A\n", i), reverseOf(benchIP(i))+" PTR\n"
		names.WriteString(name)
		addrs.WriteString(addr)
		mixed.WriteString([]string{name, addr, fmt.Sprintf("x%d.cluster.test A\n", i)}[rnd.IntN(3)])
	}
	writeBench(t, dir, "names", names.String())
	writeBench(t, dir, "addrs", addrs.String())
	writeBench(t, dir, "mixed", mixed.String())
	prepare := func(t *testing.T, p *peer, dir string) {
		if p.name == "margay" {
			table.into(t, dir)
			return
		}
		dnsFiles(t, p, dir)
	}
	ready := func(t *testing.T, b *lab, p *peer) {
		for end := time.Now().Add(60 * time.Second); !dnsAnswers(b); {
			if time.Now().After(end) {
				t.Fatalf("%s does not answer", p.name)
			}
		}
	}
	compareRates(t, b, dnsPeers(table), []asker{
		{title: "forward", prepare: prepare, ready: ready, load: loadDNS(filepath.Join(dir, "names"), 8)},
		{title: "reverse", prepare: prepare, ready: ready, load: loadDNS(filepath.Join(dir, "addrs"), 8)},
		{title: "mixed", prepare: prepare, ready: ready, load: loadDNS(filepath.Join(dir, "mixed"), 8)},
		{title: "apart", prepare: prepare, ready: ready, load: loadDNS(filepath.Join(dir, "mixed"), atOnce)},
	})
}

func reverseOf(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
}
