package dns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot/netboottest"
)

// Questions that come in crowds, from several askers and to several of our
// addresses, each get their answer, once and from the address that was asked.
func TestCrowds(t *testing.T) {
	lan := netboottest.NewLAN(t)
	server := lan.NewHost(t, "10.1.0.1/16", "10.1.0.2/16", "fd00::1/64", "fd00::2/64")
	client := lan.NewHost(t, "10.1.0.11/16", "fd00::11/64")
	names := cluster(1)
	for i := range 40 {
		names.hosts[fmt.Sprintf("n%d.cluster.test", i)] = host(fmt.Sprintf("10.1.8.%d", i))
	}
	s := &Server{Names: always(names)}
	listenIn(t, server, s, ":53")
	for _, at := range [][]netip.AddrPort{
		{netip.MustParseAddrPort("10.1.0.1:53"), netip.MustParseAddrPort("10.1.0.2:53")},
		{netip.MustParseAddrPort("[fd00::1]:53"), netip.MustParseAddrPort("[fd00::2]:53")},
	} {
		var askers []*net.UDPConn
		for range 3 {
			var c *net.UDPConn
			var err error
			client.Do(func() { c, err = net.ListenUDP("udp", nil) })
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			askers = append(askers, c)
		}
		for round := range 20 {
			for _, n := range []int{1, 2, crowd, 3, batchSize, batchSize + 1, 2, 1} {
				burst(t, s, askers, at, n, round)
			}
		}
	}
}

// burst has each asker ask n questions at once, and waits for the answers.
func burst(t *testing.T, s *Server, askers []*net.UDPConn, at []netip.AddrPort, n, round int) {
	t.Helper()
	ask := func(i int) ([]byte, netip.AddrPort) {
		q := raw(t, []string{fmt.Sprintf("n%d.cluster.test.", i%40), "nobody.cluster.test.", "esx1.cluster.test."}[i%3], []string{"A", "A", "AAAA", "PTR"}[i%4])
		binary.BigEndian.PutUint16(q, uint16(i))
		return q, at[(i+round)%len(at)]
	}
	for i := range n {
		for _, c := range askers {
			q, to := ask(i)
			if _, err := c.WriteToUDPAddrPort(q, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	for a, c := range askers {
		open := map[int]bool{}
		for i := range n {
			open[i] = true
		}
		for len(open) > 0 {
			buf := make([]byte, 1500)
			c.SetReadDeadline(time.Now().Add(30 * time.Second))
			size, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatalf("round %d, %d questions, asker %d: %d without an answer: %v", round, n, a, len(open), err)
			}
			i := int(binary.BigEndian.Uint16(buf))
			if !open[i] {
				t.Fatalf("round %d, %d questions, asker %d: answer to %d, which it did not ask or has", round, n, a, i)
			}
			delete(open, i)
			q, to := ask(i)
			var room query
			want, _ := s.reply(s.moment(), nil, q, netip.MustParseAddr("10.1.0.11"), 0, &room)
			if from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()); from != to || !bytes.Equal(buf[:size], want) {
				t.Fatalf("round %d, %d questions, asker %d: to question %d at %s comes from %s\n%x, want\n%x", round, n, a, i, to, from, buf[:size], want)
			}
		}
	}
}

// Letters that go the same way are one message, as the kernel can cut it.
func TestOutbox(t *testing.T) {
	out, a, b := mailbox(t, netboottest.NewHost(t))
	other := pktinfo("127.0.0.2")
	letters := []letter{
		{sized(50, 0), a.raw(), nil}, {sized(60, 1), a.raw(), nil}, {sized(50, 2), b.raw(), nil}, {sized(40, 3), a.raw(), nil},
		{sized(50, 4), a.raw(), other}, {sized(50, 5), a.raw(), nil}, {sized(60, 6), b.raw(), nil}, {sized(50, 7), a.raw(), nil},
		{sized(50, 8), a.raw(), other},
	}
	for _, tt := range []struct {
		whole bool
		want  int
	}{{false, 4}, {true, len(letters)}} {
		out.whole = tt.whole
		for _, l := range letters {
			out.add(l)
		}
		if got := len(out.pack()); got != tt.want {
			t.Errorf("%d messages, want %d", got, tt.want)
		}
		if no := out.flush(); no != 0 {
			t.Fatal(no)
		}
		a.receives(t, "127.0.0.1", 0, 1, 3, 5, 7)
		a.receives(t, "127.0.0.2", 4, 8)
		b.receives(t, "127.0.0.1", 2, 6)
	}
}

// Where packets do not fit the way, they are sent one by one and the kernel
// makes fragments.
func TestOutboxRefused(t *testing.T) {
	h := netboottest.NewHost(t)
	if err := h.Run(exec.Command("ip", "link", "set", "lo", "mtu", "600")); err != nil {
		t.Fatal(err)
	}
	out, a, b := mailbox(t, h)
	for i := range 4 {
		out.add(letter{sized(900, i), a.raw(), pktinfo("127.0.0.1")})
		out.add(letter{sized(100, 4+i), b.raw(), nil})
	}
	if no := out.flush(); no != 0 {
		t.Fatal(no)
	}
	a.receives(t, "127.0.0.1", 0, 1, 2, 3)
	b.receives(t, "127.0.0.1", 4, 5, 6, 7)
	if out.whole {
		t.Error("nothing is cut any more")
	}
}

// An addressee tells what arrives by the first octet.
type addressee struct {
	*net.UDPConn
	ahead map[string][]int // what came from others than were asked about
}

func (a *addressee) raw() *unix.RawSockaddrInet6 {
	at := a.LocalAddr().(*net.UDPAddr).AddrPort()
	sa := &unix.RawSockaddrInet6{Family: unix.AF_INET}
	port := [2]byte{byte(at.Port() >> 8), byte(at.Port())}
	b := at.Addr().As4()
	sa.Port, sa.Flowinfo = binary.NativeEndian.Uint16(port[:]), binary.NativeEndian.Uint32(b[:])
	return sa
}

func (a *addressee) receives(t *testing.T, from string, want ...int) {
	t.Helper()
	for len(a.ahead[from]) < len(want) {
		buf := make([]byte, 1500)
		a.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, who, err := a.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("from %s came %v, want %v: %v", from, a.ahead[from], want, err)
		}
		if !bytes.Equal(buf[:n], sized(n, int(buf[0]))) {
			t.Fatalf("%x came", buf[:n])
		}
		a.ahead[who.Addr().Unmap().String()] = append(a.ahead[who.Addr().Unmap().String()], int(buf[0]))
	}
	got := a.ahead[from]
	a.ahead[from] = nil
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("from %s came %v, want %v", from, got, want)
	}
}

func sized(n, first int) []byte {
	return bytes.Repeat([]byte{byte(first)}, n)
}

// mailbox is an outbox within a host, and two to write to.
func mailbox(t *testing.T, h *netboottest.Host) (*outbox, *addressee, *addressee) {
	t.Helper()
	open := func(at string) (c *net.UDPConn) {
		var err error
		h.Do(func() { c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at))) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	s, err := newSocket(open("0.0.0.0:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	out := newOutbox(s)
	if out.whole {
		t.Fatal("the kernel cuts nothing")
	}
	return out, &addressee{open("127.0.0.1:0"), map[string][]int{}}, &addressee{open("127.0.0.1:0"), map[string][]int{}}
}

// pktinfo is the control message by which a packet leaves from an address.
func pktinfo(from string) []byte {
	return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: netip.MustParseAddr(from).As4()})
}
