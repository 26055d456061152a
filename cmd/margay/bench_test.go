package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot/dhcp"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision"
)

// BenchmarkDHCPExchange is DISCOVER, OFFER, REQUEST and ACK of one machine of
// 10,000, by UDP on loopback and through the whole planner.
func BenchmarkDHCPExchange(b *testing.B) {
	records := []nodedb.Record{nodedbtest.Site("domain", "cluster.test"), nodedbtest.Network("net1", "127.0.0.0", "255.0.0.0")}
	for i := range 10_000 {
		records = append(records, nodedbtest.Node(fmt.Sprintf("n%05d", i), "all",
			fmt.Sprintf("mac.mac=52:54:00:00:%02x:%02x", i>>8, i&255), fmt.Sprintf("hosts.ip=127.1.%d.%d", i>>8, i&255), "chain.currstate=boot"))
	}
	service := provision.NewService(provision.Config{DB: nodedbtest.New(b, records...), State: b.TempDir(), HTTPPort: 80})
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	conn, err := dhcp.ListenAddr(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		b.Fatal(err)
	}
	go (&dhcp.Server{Planner: service, Observer: service}).Serve(ctx, conn)
	c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, net.UDPAddrFromAddrPort(conn.Addr()))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ask := func(mac net.HardwareAddr, kind dhcpv4.MessageType, more ...dhcpv4.Modifier) []byte {
		// As a relay that is answered at its own port (RFC 8357).
		relay := dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{19, 0})
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind), dhcpv4.WithRelay(net.IPv4(127, 0, 0, 2)),
			dhcpv4.WithGeneric(dhcpv4.OptionClassIdentifier, []byte("PXEClient:Arch:00007:UNDI:003000")),
			dhcpv4.WithGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 7}), relay}, more...)...)
		if err != nil {
			b.Fatal(err)
		}
		return m.ToBytes()
	}
	type packets struct{ discover, request []byte }
	var machines []packets
	for i := range 1000 {
		mac := net.HardwareAddr{0x52, 0x54, 0, 0, byte(i >> 8), byte(i)}
		addr := net.IPv4(127, 1, byte(i>>8), byte(i))
		machines = append(machines, packets{ask(mac, dhcpv4.MessageTypeDiscover),
			ask(mac, dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(addr)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(127, 0, 0, 1))))})
	}
	buf := make([]byte, 1500)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m := machines[i%len(machines)]
		for _, p := range [][]byte{m.discover, m.request} {
			if _, err := c.Write(p); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	}
}
