package dhcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"margay/netboot"
)

// again is how often Probe asks.
const again = time.Second

// Probe asks the network of an interface, as a machine that nobody knows and
// then as one that boots by PXE, who gives addresses or boot files there. It
// listens for the given time and returns each server once, but not this host.
// It needs CAP_NET_BIND_SERVICE and takes no address.
func Probe(ctx context.Context, ifname string, wait time.Duration) ([]Foreign, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c, err := listen(ctx, netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), ifname)
	if err != nil {
		return nil, fmt.Errorf("probe for DHCP servers on %s: %w", ifname, err)
	}
	defer c.Close()
	asks, err := probes()
	if err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() { sent <- askOften(ctx, c, asks) }()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })()
	found := offers(c, ifname, asks)
	cancel()
	if err := <-sent; err != nil {
		return found, fmt.Errorf("probe for DHCP servers on %s: %w", ifname, err)
	}
	return found, nil
}

// probes are the two questions.
func probes() ([]*dhcpv4.DHCPv4, error) {
	mac := make(net.HardwareAddr, 6)
	if _, err := rand.Read(mac); err != nil {
		return nil, err
	}
	mac[0] = mac[0]&^1 | 2 // a single station's, locally administered
	plain, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true))
	if err != nil {
		return nil, err
	}
	boot, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003000")),
		dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64)),
		dhcpv4.WithGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 0}),
		dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, append(make([]byte, 11), mac...)))
	if err != nil {
		return nil, err
	}
	return []*dhcpv4.DHCPv4{plain, boot}, nil
}

// askOften broadcasts the questions until ctx is done: a first one may be
// lost while a switch port wakes up.
func askOften(ctx context.Context, c *net.UDPConn, asks []*dhcpv4.DHCPv4) error {
	to := netip.AddrPortFrom(broadcastAddr, serverPort)
	for {
		for _, d := range asks {
			if _, err := c.WriteToUDPAddrPort(d.ToBytes(), to); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
		}
		if !netboot.Pause(ctx, again) {
			return nil
		}
		for _, d := range asks {
			d.NumSeconds++
		}
	}
}

// offers collects until c is closed or its deadline has passed.
func offers(c *net.UDPConn, ifname string, asks []*dhcpv4.DHCPv4) []Foreign {
	var found []Foreign
	seen := make(map[netip.Addr]bool)
	buf := make([]byte, largestRequest)
	for len(found) < maxStrangers {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return found
		}
		f, ok := offered(buf[:n], asks)
		if !ok {
			continue
		}
		f.Interface, f.Addr = ifname, from.Addr()
		if seen[f.Server] || localAddr(f.Server) || localAddr(f.Addr) {
			continue
		}
		seen[f.Server] = true
		found = append(found, f)
	}
	return found
}

// offered reads an OFFER that answers one of our questions.
func offered(raw []byte, asks []*dhcpv4.DHCPv4) (Foreign, bool) {
	d, err := dhcpv4.FromBytes(raw)
	if err != nil || d.OpCode != dhcpv4.OpcodeBootReply || d.MessageType() != dhcpv4.MessageTypeOffer {
		return Foreign{}, false
	}
	ours := false
	for _, a := range asks {
		ours = ours || a.TransactionID == d.TransactionID && a.ClientHWAddr.String() == d.ClientHWAddr.String()
	}
	server, ok := netip.AddrFromSlice(d.ServerIdentifier().To4())
	if !ours || !ok {
		return Foreign{}, false
	}
	f := Foreign{Server: server}
	if a, ok := netip.AddrFromSlice(d.YourIPAddr.To4()); ok && !a.IsUnspecified() {
		f.Offered = a
	}
	f.Proxy = !f.Offered.IsValid()
	return f, true
}
