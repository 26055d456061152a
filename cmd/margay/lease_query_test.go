package main

import (
	"bytes"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// TestKillLeaseQuery: a relay that has forgotten who has what is told by a daemon
// that was killed right after it had given a lease, by one that had ended, and by
// one that runs: what the machine called itself, and where its relay saw it.
func TestKillLeaseQuery(t *testing.T) {
	dir := t.TempDir()
	s := leasing(t, dir)
	node, guest := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, crowdMAC(1)
	s.must("mkdef", "n1", "groups=all", "ip=127.2.0.1", "mac="+node.String())
	r := &queryRelay{t, s.dhcpAt(t)}
	has := r.lease(guest, "port 7")
	s.kill()
	s = startServer(t, dir)
	r.server = s.dhcpAt(t)
	r.check("killed", guest, has, "port 7")

	for _, mac := range []net.HardwareAddr{guest, node} {
		has := r.lease(mac, "port 8")
		r.check("running", mac, has, "port 8")
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.ended
	r.server = startServer(t, dir).dhcpAt(t)
	r.check("ended", guest, has, "port 8")
	r.check("ended", node, net.IPv4(127, 2, 0, 1), "port 8")
	if got := r.query(dhcpv4.WithHwAddr(crowdMAC(9))); got.MessageType() != dhcpLeaseUnknown {
		t.Errorf("a machine that has nothing:\n%s", got.Summary())
	}
}

// RFC 4388's messages.
const (
	dhcpLeaseQuery   = dhcpv4.MessageType(10)
	dhcpLeaseUnknown = dhcpv4.MessageType(12)
	dhcpLeaseActive  = dhcpv4.MessageType(13)
)

// A queryRelay is a relay on this host.
type queryRelay struct {
	t      *testing.T
	server netip.AddrPort
}

func relayInfo(port string) []byte {
	return append(append([]byte{1, byte(len(port))}, port...), 19, 0) // RFC 8357: answers go to the port that it asks from
}

// lease has a machine take an address, seen at a port of the relay's.
func (r *queryRelay) lease(mac net.HardwareAddr, port string) net.IP {
	r.t.Helper()
	ask := func(kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		return r.exchange(append(mods, dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(mac), dhcpv4.WithOption(dhcpv4.OptClientIdentifier(clientID(mac))),
			dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, relayInfo(port)))...)
	}
	offer := ask(dhcpv4.MessageTypeDiscover)
	ack := ask(dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))
	if ack.MessageType() != dhcpv4.MessageTypeAck || !ack.YourIPAddr.Equal(offer.YourIPAddr) {
		r.t.Fatalf("%s", ack.Summary())
	}
	return ack.YourIPAddr
}

func clientID(mac net.HardwareAddr) []byte { return []byte("id of " + mac.String()) }

// check asks who has an address, and what a machine has, in all ways.
func (r *queryRelay) check(when string, mac net.HardwareAddr, addr net.IP, port string) {
	r.t.Helper()
	for by, mod := range map[string]dhcpv4.Modifier{
		"MAC":               dhcpv4.WithHwAddr(mac),
		"address":           func(d *dhcpv4.DHCPv4) { d.HWType, d.ClientIPAddr = 0, addr },
		"client identifier": func(d *dhcpv4.DHCPv4) { d.HWType = 0; d.UpdateOption(dhcpv4.OptClientIdentifier(clientID(mac))) },
	} {
		got := r.query(mod, dhcpv4.WithGeneric(dhcpv4.OptionParameterRequestList, []byte{51, 58, 61, 82, 91}))
		silent := got.Options.Get(dhcpv4.OptionClientLastTransactionTime)
		if got.MessageType() != dhcpLeaseActive || !got.ClientIPAddr.Equal(addr) || got.ClientHWAddr.String() != mac.String() ||
			got.IPAddressLeaseTime(0) <= 0 || len(silent) != 4 || !bytes.Equal(got.Options.Get(dhcpv4.OptionClientIdentifier), clientID(mac)) ||
			!bytes.Equal(got.Options.Get(dhcpv4.OptionRelayAgentInformation), relayInfo(port)) {
			r.t.Errorf("%s: %s at %s by %s:\n%s", when, mac, addr, by, got.Summary())
		}
	}
}

// query asks who has what.
func (r *queryRelay) query(mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	r.t.Helper()
	return r.exchange(append(mods, dhcpv4.WithMessageType(dhcpLeaseQuery), dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{19, 0}))...)
}

func (r *queryRelay) exchange(mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	r.t.Helper()
	d, err := dhcpv4.New(append(mods, func(d *dhcpv4.DHCPv4) { d.GatewayIPAddr = net.IPv4(127, 0, 0, 1) })...)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(r.server))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 4096)
	for range 20 { // a loaded machine may drop one
		if _, err := c.Write(d.ToBytes()); err != nil {
			r.t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := c.Read(buf)
		if err != nil {
			continue
		}
		got, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			r.t.Fatal(err)
		}
		return got
	}
	r.t.Fatalf("no answer to\n%s", d.Summary())
	return nil
}
