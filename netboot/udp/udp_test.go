package udp

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// sender is a socket within a host, for all its addresses.
func sender(t *testing.T, h *netboottest.Host) *Socket {
	t.Helper()
	s, err := New(open(t, h, "0.0.0.0:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if !s.Cuts() {
		t.Fatal("the kernel cuts nothing")
	}
	return s
}

func open(t *testing.T, h *netboottest.Host, at string) (c *net.UDPConn) {
	t.Helper()
	var err error
	addr := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at))
	h.Do(func() { c, err = net.ListenUDP("udp", addr) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A mailbox tells what arrives by the first octet.
type mailbox struct {
	*net.UDPConn
	ahead map[string][]int // what came from others than were asked about
}

func addressee(t *testing.T, h *netboottest.Host) *mailbox {
	return &mailbox{open(t, h, "127.0.0.1:0"), map[string][]int{}}
}

// way is the one to it, from an address.
func (m *mailbox) way(from string) Way {
	w := Way{To: NewAddress(m.LocalAddr().(*net.UDPAddr).AddrPort(), false)}
	if from != "" {
		w.Control = Source(netip.MustParseAddr(from), 0, false)
	}
	return w
}

// receives waits for datagrams from an address and compares which they are.
func (m *mailbox) receives(t *testing.T, from string, want ...int) {
	t.Helper()
	got := m.arrive(t, from, len(want))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("from %s came %v, want %v", from, got, want)
	}
}

// arrive waits for n datagrams from an address.
func (m *mailbox) arrive(t *testing.T, from string, n int) []int {
	t.Helper()
	for len(m.ahead[from]) < n {
		buf := make([]byte, 2000)
		m.SetReadDeadline(time.Now().Add(30 * time.Second))
		size, who, err := m.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("from %s came %v, want %d: %v", from, m.ahead[from], n, err)
		}
		if !bytes.Equal(buf[:size], sized(size, int(buf[0]))) {
			t.Fatalf("%x came", buf[:size])
		}
		addr := who.Addr().Unmap().String()
		m.ahead[addr] = append(m.ahead[addr], int(buf[0]))
	}
	got := m.ahead[from]
	m.ahead[from] = nil
	return got
}

// sized is a datagram that a mailbox knows.
func sized(n, first int) []byte { return bytes.Repeat([]byte{byte(first)}, n) }
