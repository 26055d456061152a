package dns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"margay/netboot/netboottest"
	"margay/netboot/udp"
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
			for _, n := range []int{1, 2, udp.Crowd, 3, udp.Batch, udp.Batch + 1, 2, 1} {
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
