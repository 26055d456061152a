package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// TestFlood sends broken packets to a running daemon, by DHCP, DNS and TFTP in
// turns (as many as MARGAY_PACKETS says, as 1000000), in between asking what
// it always answers. It serves to the end and grows no larger.
func TestFlood(t *testing.T) {
	packets := 60000
	if n, err := strconv.Atoi(os.Getenv("MARGAY_PACKETS")); err == nil {
		packets = n
	}
	s := leasing(t, t.TempDir())
	s.must("chtab", "key=domain", "site.value=cluster.test")
	s.must("mkdef", "n1", "groups=all", "ip=127.2.0.1", "mac=52:54:00:00:00:01")
	at := map[string]netip.AddrPort{"dhcp": s.dhcpAt(t), "dns": s.portOf(t, "dns"), "tftp": s.portOf(t, "tftp")}
	conns := map[string]*net.UDPConn{}
	for name, to := range at {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[name] = c
	}
	good := map[string][][]byte{
		"dhcp": {
			netboottest.Message(crowdMAC(1), 1, 1, netip.MustParseAddr("127.0.0.1"), netip.Addr{}, netip.Addr{}),
			netboottest.Message(crowdMAC(2), 2, 3, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.1.0.1"), netip.MustParseAddr("127.0.0.1")),
			netboottest.Message(crowdMAC(3), 3, 10, netip.MustParseAddr("127.0.0.1"), netip.Addr{}, netip.Addr{}),
		},
		"dns": {
			dnsQuestion("n1.cluster.test", 1), dnsQuestion("1.0.2.127.in-addr.arpa", 12), dnsQuestion("cluster.test", 252),
			append(dnsQuestion("n1.cluster.test", 1), 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0),
		},
		"tftp": {
			[]byte("\x00\x01xcat/xnba.kpxe\x00octet\x00blksize\x001428\x00windowsize\x004\x00tsize\x000\x00"),
			[]byte("\x00\x01../../etc/passwd\x00netascii\x00"), []byte("\x00\x02x\x00octet\x00"), []byte("\x00\x04\x00\x01"), []byte("\x00\x05\x00\x00x\x00"),
		},
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	alive := func() {
		t.Helper()
		s.answersDNS(t, at["dns"])
		r, err := netboottest.NewRelay(netip.MustParseAddr("127.0.0.1"), rnd.Uint64())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if a, err := r.Lease(at["dhcp"], net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, netip.Addr{}, time.Now().Add(2*time.Minute)); err != nil || a.String() != "127.2.0.1" {
			t.Fatalf("DHCP: %s %v", a, err)
		}
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		tftp := netboottest.TFTPClient{Wait: time.Second, Tries: 120}
		if n, _, err := tftp.Fetch(c, at["tftp"], "xcat/xnba.kpxe"); err != nil || n < 50000 {
			t.Fatalf("TFTP: %d %v", n, err)
		}
	}
	names := []string{"dhcp", "dns", "tftp"}
	var early, late int
	for i := range packets {
		name := names[i%len(names)]
		all := good[name]
		b := append([]byte(nil), all[rnd.IntN(len(all))]...)
		for range 1 + rnd.IntN(8) {
			b[rnd.IntN(len(b))] = byte(rnd.Uint32())
		}
		if rnd.IntN(3) == 0 {
			b = b[:rnd.IntN(len(b)+1)]
		}
		conns[name].Write(b)
		if i%100 == 99 {
			s.answersDNS(t, at["dns"]) // no faster than it takes them
		}
		if i == packets/4 {
			alive()
			early = s.heap(t)
		}
	}
	alive()
	// What is garbage is collected every two minutes.
	late = s.heap(t)
	for end := time.Now().Add(3 * time.Minute); late > early+16<<20 && time.Now().Before(end); late = s.heap(t) {
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("%d packets: %d MB in use after a quarter, %d MB at the end; of the system's memory %d MB", packets, early>>20, late>>20, s.memory(t)>>20)
	if late > early+16<<20 {
		t.Errorf("grown from %d to %d MB", early>>20, late>>20)
	}
}

// portOf is where a daemon serves by another protocol.
func (s *server) portOf(t *testing.T, proto string) netip.AddrPort {
	t.Helper()
	m := regexp.MustCompile(proto + ` +(127\.0\.0\.1:\d+)`).FindStringSubmatch(s.said)
	if m == nil {
		t.Fatalf("it does not say where it serves %s:\n%s", proto, s.said)
	}
	return netip.MustParseAddrPort(m[1])
}

// answersDNS waits until a name that the table has is answered.
func (s *server) answersDNS(t *testing.T, at netip.AddrPort) {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 1500)
	for range 240 {
		c.Write(dnsQuestion("n1.cluster.test", 1))
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if n, err := c.Read(buf); err == nil && n > 12 && binary.BigEndian.Uint16(buf[6:]) == 1 && strings.HasSuffix(string(buf[:n]), "\x7f\x02\x00\x01") {
			return
		}
	}
	t.Fatal("DNS is not answered")
}

// heap is how much memory the daemon's last collection found in use.
func (s *server) heap(t *testing.T) int {
	t.Helper()
	r, err := http.Get("http://" + s.portOf(t, "http").String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^margay_heap_live_bytes (\S+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("metrics do not have it:\n%s", text)
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil || n <= 0 {
		t.Fatalf("%s bytes of heap: %v", m[1], err)
	}
	return int(n)
}

// memory is how much of the system's the daemon has.
func (s *server) memory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// dnsQuestion asks for a name's records of a type.
func dnsQuestion(name string, qtype uint16) []byte {
	b := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	b = binary.BigEndian.AppendUint16(append(b, 0), qtype)
	return append(b, 0, 1)
}
