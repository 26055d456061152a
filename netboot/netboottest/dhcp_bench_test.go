//go:build bench

package netboottest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

// benchMachines have the MACs 52:54:01:00:00:00 and so on, and by reservation
// the addresses from 10.1.16.0 on.
const benchMachines = 20000

func benchMAC(i int) net.HardwareAddr {
	return net.HardwareAddr{0x52, 0x54, 1, byte(i >> 16), byte(i >> 8), byte(i)}
}

func benchIP(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 1, byte(16 + i>>8), byte(i)})
}

// The machines ask through a relay at the load's address, which each server
// answers by unicast. So no server looks for an address in use, which they do in
// ways and times of their own; each writes its leases as its makers have it.
func dhcpPeers(margay *prepared) []peer {
	return []peer{
		{name: "margay", argv: func(dir string) []string { return append(margay.argv(dir), "--dns", "off") }},
		{name: "kea", argv: func(dir string) []string {
			return []string{"kea-dhcp4", "-c", dir + "/kea.json"}
		}},
		{name: "dhcpd", argv: func(dir string) []string {
			return []string{"dhcpd", "-4", "-f", "-q", "-cf", dir + "/dhcpd.conf", "-lf", dir + "/dhcpd.leases", "-pf", dir + "/pid", "eth0"}
		}},
		{name: "dnsmasq", argv: func(dir string) []string {
			return []string{"dnsmasq", "-k", "--conf-file=" + dir + "/dnsmasq.conf"}
		}},
		{name: "coredhcp", argv: func(dir string) []string { return []string{"coredhcp", "--conf", dir + "/coredhcp.yml"} }},
	}
}

func writeBench(t *testing.T, dir, name string, parts ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(parts, "")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// dhcpFiles are the settings of the peers: a pool, or a reservation for each
// machine.
func dhcpFiles(t *testing.T, p *peer, dir string, reserved bool) {
	var kea, isc, masq, core strings.Builder
	if reserved {
		for i := range benchMachines {
			mac, ip := benchMAC(i), benchIP(i)
			if i > 0 {
				kea.WriteString(",\n")
			}
			fmt.Fprintf(&kea, `{"hw-address": "%s", "ip-address": "%s", "hostname": "n%d"}`, mac, ip, i)
			fmt.Fprintf(&isc, "host n%d { hardware ethernet %s; fixed-address %s; option host-name \"n%d\"; }\n", i, mac, ip, i)
			fmt.Fprintf(&masq, "%s,%s,n%d\n", mac, ip, i)
			fmt.Fprintf(&core, "%s %s\n", mac, ip)
		}
	}
	switch p.name {
	case "kea":
		pools := `"pools": [{"pool": "10.1.16.0 - 10.1.255.250"}],`
		if reserved {
			pools = `"reservations-out-of-pool": true, "reservations": [` + kea.String() + `],`
		}
		writeBench(t, dir, "kea.json", `{"Dhcp4": {"interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "udp"},
"lease-database": {"type": "memfile", "persist": true, "name": "`, dir, `/leases.csv", "lfc-interval": 0},
"multi-threading": {"enable-multi-threading": false}, "valid-lifetime": 43200, "host-reservation-identifiers": ["hw-address"],
"option-data": [{"name": "routers", "data": "10.1.0.1"}, {"name": "domain-name-servers", "data": "10.1.0.1"}, {"name": "domain-name", "data": "cluster.test"}],
"subnet4": [{"subnet": "10.1.0.0/16", "next-server": "10.1.0.1", "boot-file-name": "xcat/xnba.efi", `, pools, `"id": 1}],
"loggers": [{"name": "kea-dhcp4", "severity": "FATAL", "output_options": [{"output": "stderr"}]}]}}`)
	case "dhcpd":
		pool := "range 10.1.16.0 10.1.255.250;"
		if reserved {
			pool = ""
		}
		writeBench(t, dir, "dhcpd.conf", "authoritative; ping-check false; default-lease-time 43200; max-lease-time 43200; ddns-update-style none; log-facility local7;\n",
			"subnet 10.1.0.0 netmask 255.255.0.0 { ", pool, " option routers 10.1.0.1; option domain-name-servers 10.1.0.1; option domain-name \"cluster.test\"; next-server 10.1.0.1; filename \"xcat/xnba.efi\"; }\n", isc.String())
		writeBench(t, dir, "dhcpd.leases")
	case "dnsmasq":
		ranges := "dhcp-range=10.1.16.0,10.1.255.250,255.255.0.0,12h\n"
		if reserved {
			ranges = "dhcp-range=10.1.0.0,static,255.255.0.0,12h\ndhcp-hostsfile=" + dir + "/hosts\n"
		}
		writeBench(t, dir, "dnsmasq.conf", "port=0\nuser=root\npid-file=\nno-ping\nquiet-dhcp\ninterface=eth0\nbind-interfaces\nlog-facility=/dev/null\ndhcp-lease-max=60000\ndhcp-leasefile=", dir, "/leases\n",
			"dhcp-option=3,10.1.0.1\ndhcp-option=6,10.1.0.1\ndomain=cluster.test\ndhcp-boot=xcat/xnba.efi\n", ranges)
		writeBench(t, dir, "hosts", masq.String())
	case "coredhcp":
		plugins := "- range: " + dir + "/leases.sqlite 10.1.16.0 10.1.255.250 12h\n"
		if reserved {
			plugins = "- file: " + dir + "/reserved\n"
		}
		writeBench(t, dir, "coredhcp.yml", "server4:\n  listen: [\"%eth0\"]\n  plugins:\n    - server_id: 10.1.0.1\n    - lease_time: 12h\n    - dns: 10.1.0.1\n    - router: 10.1.0.1\n    - netmask: 255.255.0.0\n    ", plugins)
		writeBench(t, dir, "reserved", core.String())
	}
}

// dhcpOffers says whether a server is ready: it offers machine i an address.
func dhcpOffers(b *lab, i int) bool {
	var ok bool
	b.client.Do(func() {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 1, 0, 2), Port: 67})
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 2048)
		m := newDHCPMessages()
		if _, err := c.WriteToUDPAddrPort(m.discover(i, 1), netip.MustParseAddrPort(benchAddr+":67")); err != nil {
			return
		}
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, _, err := c.ReadFromUDPAddrPort(buf)
		ok = err == nil && n > 240
	})
	return ok
}

// dhcpMessages are a UEFI ROM's, passed on by a relay, to be patched.
type dhcpMessages struct{ disc, req []byte }

func newDHCPMessages() *dhcpMessages {
	head := make([]byte, 240)
	copy(head, []byte{1, 1, 6, 1})
	copy(head[24:], []byte{10, 1, 0, 2}) // giaddr
	copy(head[236:], []byte{0x63, 0x82, 0x53, 0x63})
	tail := []byte{57, 2, 5, 0xc0, 55, 11, 1, 2, 3, 4, 6, 12, 15, 28, 43, 66, 67, 93, 2, 0, 7, 94, 3, 1, 3, 0, 60, 32}
	tail = append(tail, "PXEClient:Arch:00007:UNDI:003000"...)
	tail = append(tail, 97, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255)
	d := append(slices.Clone(head), 53, 1, 1)
	r := append(slices.Clone(head), 53, 1, 3, 50, 4, 0, 0, 0, 0, 54, 4, 0, 0, 0, 0)
	return &dhcpMessages{append(d, tail...), append(r, tail...)}
}

func (m *dhcpMessages) discover(i int, xid uint32) []byte {
	copy(m.disc[28:], benchMAC(i))
	binary.BigEndian.PutUint32(m.disc[4:], xid)
	return m.disc
}

// request asks for what an offer says.
func (m *dhcpMessages) request(offer []byte, server []byte) []byte {
	copy(m.req[28:34], offer[28:34])
	copy(m.req[4:8], offer[4:8])
	copy(m.req[245:], offer[16:20])
	copy(m.req[251:], server)
	return m.req
}

// A dhcpLoad is how machines ask: so many at once, or so many a second.
type dhcpLoad struct {
	Window  int // machines that ask at once
	Rate    int // machines that begin each second; 0: as fast as they are answered
	Seconds float64
	Again   bool // machines come again when all have been served
}

// benchLoadDHCP plays the machines, and checks that none gets another's
// address.
func benchLoadDHCP() {
	var l dhcpLoad
	if err := json.Unmarshal([]byte(os.Getenv("MARGAY_BENCH_LOAD")), &l); err != nil {
		panic(err)
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 1, 0, 2), Port: 67})
	if err != nil {
		panic(err)
	}
	c.SetReadBuffer(8 << 20)
	g := &dhcpGenerator{load: l, pc: ipv4.NewPacketConn(c), c: c, msgs: newDHCPMessages(), machines: make([]benchMachine, benchMachines), owner: map[netip.Addr]int{}}
	json.NewEncoder(os.Stdout).Encode(g.run())
}

type benchMachine struct {
	began, sent time.Time
	state       byte // 0 new, 1 asks, 2 has an offer, 3 is served
	tries       int
}

type dhcpGenerator struct {
	load     dhcpLoad
	c        *net.UDPConn
	pc       *ipv4.PacketConn
	msgs     *dhcpMessages
	machines []benchMachine
	next     int
	busy     []int // that ask now, in the order in which they began
	open     int
	owner    map[netip.Addr]int
	out      []ipv4.Message
	took     []time.Duration
	most     time.Time // when all but one in a hundred had been served
	marks    marks
}

func (g *dhcpGenerator) run() marks {
	in := make([]ipv4.Message, 64)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	began := time.Now()
	end := began.Add(time.Duration(g.load.Seconds * float64(time.Second)))
	for now := began; now.Before(end) && (g.open > 0 || g.next < len(g.machines) || g.load.Again); now = time.Now() {
		g.start(now, now.Sub(began))
		g.retry(now)
		g.flush()
		g.c.SetReadDeadline(now.Add(g.wait()))
		n, err := g.pc.ReadBatch(in, 0)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			panic(err)
		}
		now = time.Now()
		for i := range in[:max(n, 0)] {
			g.answer(in[i].Buffers[0][:in[i].N], now)
		}
	}
	g.marks.Seconds = time.Since(began).Seconds()
	if n := len(g.machines) * 99 / 100; !g.load.Again && len(g.took) >= n { // others may have lost something, and wait
		g.marks.Done, g.marks.Seconds = n, g.most.Sub(began).Seconds()
	}
	slices.Sort(g.took)
	if len(g.took) > 0 {
		g.marks.P99 = float64(g.took[len(g.took)*99/100].Microseconds()) / 1000
	}
	return g.marks
}

func (g *dhcpGenerator) wait() time.Duration {
	if g.load.Rate > 0 {
		return time.Millisecond / 2
	}
	return 20 * time.Millisecond
}

// start has further machines ask.
func (g *dhcpGenerator) start(now time.Time, since time.Duration) {
	for g.open < g.load.Window {
		if g.load.Rate > 0 && float64(g.next) > since.Seconds()*float64(g.load.Rate) {
			return
		}
		i := g.next
		if i >= len(g.machines) {
			if !g.load.Again {
				return
			}
			i %= len(g.machines)
			if m := &g.machines[i]; m.state == 1 || m.state == 2 { // it lost something, and waits
				g.next++
				continue
			}
		}
		g.next++
		g.open++
		g.machines[i] = benchMachine{began: now, sent: now, state: 1}
		g.busy = append(g.busy, i)
		g.send(g.msgs.discover(i, uint32(g.next)))
	}
}

// benchPatience is how long a machine waits before it asks anew, and
// benchTries how often it does.
const (
	benchPatience = time.Second
	benchTries    = 4
)

func (g *dhcpGenerator) retry(now time.Time) {
	for len(g.busy) > 0 {
		i := g.busy[0]
		m := &g.machines[i]
		if m.state == 1 || m.state == 2 {
			if now.Sub(m.sent) < benchPatience {
				return
			}
			if m.tries++; m.tries == benchTries {
				m.state = 0
				g.open--
				g.marks.Failed++
			} else {
				m.sent, m.state = now, 1
				g.busy = append(g.busy, i)
				g.send(g.msgs.discover(i, uint32(g.next)))
			}
		}
		g.busy = g.busy[1:]
	}
}

func (g *dhcpGenerator) answer(b []byte, now time.Time) {
	if len(b) < 244 || b[0] != 2 || b[28] != 0x52 || b[29] != 0x54 || b[30] != 1 {
		return
	}
	i := int(b[31])<<16 | int(b[32])<<8 | int(b[33])
	kind, server := dhcpKind(b[240:])
	if i >= len(g.machines) || server == nil {
		return
	}
	m := &g.machines[i]
	switch {
	case kind == 2 && m.state == 1:
		m.state = 2
		g.send(g.msgs.request(b, server))
	case kind == 6 && m.state == 2:
		g.marks.Fault = "NAK"
		m.state = 1
	case kind == 5 && m.state == 2:
		a := netip.AddrFrom4([4]byte(b[16:20]))
		if other, taken := g.owner[a]; taken && other != i {
			g.marks.Fault = fmt.Sprintf("%s was given to two machines", a)
		}
		g.owner[a] = i
		m.state = 3
		g.open--
		g.marks.Done++
		if g.took = append(g.took, now.Sub(m.began)); len(g.took) == len(g.machines)*99/100 {
			g.most = now
		}
	}
}

// dhcpKind is a message's type and the server that it is of.
func dhcpKind(b []byte) (kind byte, server []byte) {
	for len(b) >= 2 && b[0] != 255 {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		n := int(b[1])
		if len(b) < 2+n {
			return 0, nil
		}
		switch {
		case b[0] == 53 && n == 1:
			kind = b[2]
		case b[0] == 54 && n == 4:
			server = b[2:6]
		}
		b = b[2+n:]
	}
	return kind, server
}

var benchServer = &net.UDPAddr{IP: net.IPv4(10, 1, 0, 1), Port: 67}

func (g *dhcpGenerator) send(b []byte) {
	g.out = append(g.out, ipv4.Message{Buffers: [][]byte{slices.Clone(b)}, Addr: benchServer})
	if len(g.out) == 64 {
		g.flush()
	}
}

func (g *dhcpGenerator) flush() {
	for out := g.out; len(out) > 0; {
		n, err := g.pc.WriteBatch(out, 0)
		if err != nil {
			n = 1
		}
		out = out[n:]
	}
	g.out = g.out[:0]
}

// loadDHCP runs the machines on core 1.
func loadDHCP(l dhcpLoad) func(*testing.T, *lab, int) marks {
	return func(t *testing.T, b *lab, _ int) marks {
		t.Helper()
		args, _ := json.Marshal(l)
		cmd := exec.Command("taskset", "-c", "1", os.Args[0])
		cmd.Env = append(os.Environ(), "MARGAY_BENCH=dhcp-load", "MARGAY_BENCH_LOAD="+string(args))
		var out, said strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &said
		if err := b.client.Run(cmd); err != nil {
			t.Fatalf("load: %v %s", err, said.String())
		}
		var s marks
		if err := json.Unmarshal([]byte(out.String()), &s); err != nil {
			t.Fatalf("load: %v %q", err, out.String())
		}
		return s
	}
}

// TestBenchDHCP: exchanges of DISCOVER, OFFER, REQUEST, ACK. From a pool each
// of 20,000 machines takes a lease that lasts over a crash, and the rate is that
// of the first 99 in a hundred; reservations are asked for over and over. Further columns have half as many machines begin each
// second as that server answered at its best, and half as many for all as the best
// of margay's peers did; or BENCH_RATE.
func TestBenchDHCP(t *testing.T) {
	os.Setenv("KEA_PIDFILE_DIR", t.TempDir())
	os.Setenv("KEA_LOCKFILE_DIR", t.TempDir())
	b := newLab(t, nil)
	pool := prepareMargay(t, b, "", []string{"chtab", "key=domain", "site.value=cluster.test"},
		[]string{"chtab", "key=dhcppingcheck", "site.value=no"},
		[]string{"chdef", "-t", "network", "10_1_0_0-255_255_0_0", "dynamicrange=10.1.16.0-10.1.255.250", "gateway=10.1.0.1"})
	var nodes strings.Builder
	for i := range benchMachines {
		fmt.Fprintf(&nodes, "n%d:\n    objtype=node\n    groups=all\n    mac=%s\n    ip=%s\n    netboot=xnba\n", i, benchMAC(i), benchIP(i))
	}
	reserved := prepareMargay(t, b, nodes.String(), []string{"chtab", "key=domain", "site.value=cluster.test"})
	ready := func(t *testing.T, b *lab, p *peer) {
		for end := time.Now().Add(60 * time.Second); !dhcpOffers(b, benchMachines-1); {
			if time.Now().After(end) {
				t.Fatalf("%s does not answer", p.name)
			}
		}
	}
	prepare := func(fixed bool) func(*testing.T, *peer, string) {
		return func(t *testing.T, p *peer, dir string) {
			if p.name != "margay" {
				dhcpFiles(t, p, dir, fixed)
			} else if fixed {
				reserved.into(t, dir)
			} else {
				pool.into(t, dir)
			}
		}
	}
	seconds := benchNumber("BENCH_SECONDS", 2)
	paced := func(again bool) func(int) func(*testing.T, *lab, int) marks {
		return func(rate int) func(*testing.T, *lab, int) marks {
			return loadDHCP(dhcpLoad{Window: benchMachines, Rate: rate, Seconds: seconds, Again: again})
		}
	}
	compareRates(t, b, dhcpPeers(pool), []asker{
		{title: "pool", prepare: prepare(false), ready: ready, load: loadDHCP(dhcpLoad{Window: 256, Seconds: seconds})},
		{title: "reserved", prepare: prepare(true), ready: ready, load: loadDHCP(dhcpLoad{Window: 256, Seconds: seconds, Again: true})},
		{title: "pool at half", prepare: prepare(false), ready: ready, half: "pool", paced: paced(false)},
		{title: "reserved at half", prepare: prepare(true), ready: ready, half: "reserved", paced: paced(true)},
		{title: "pool at the same", prepare: prepare(false), ready: ready, half: "pool", same: true, paced: paced(false)},
		{title: "reserved at the same", prepare: prepare(true), ready: ready, half: "reserved", same: true, paced: paced(true)},
	})
}
