package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"

	"margay/netboot"
)

// raPause is the least time between two advertisements. Each reaches every
// machine that waits.
const raPause = 50 * time.Millisecond

// AdvertiseNone tells machines on an interface that there is no IPv6 router:
// it answers solicitations with an advertisement that has a lifetime of 0 and
// no prefix (RFC 4861, 6.2.3), until ctx is done. iPXE else waits 16 seconds
// for one before it boots by IPv4. It needs CAP_NET_RAW; where IPv6 has a
// router it changes nothing and is not needed.
func AdvertiseNone(ctx context.Context, ifname string) error {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return fmt.Errorf("router advertisement on %s: %v", ifname, err)
	}
	p, err := solicitations(ifi)
	if err != nil {
		return fmt.Errorf("router advertisement on %s: %w; it needs CAP_NET_RAW and IPv6", ifname, err)
	}
	defer p.Close()
	defer context.AfterFunc(ctx, func() { p.Close() })()
	buf := make([]byte, 1500)
	for {
		n, cm, _, err := p.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("router advertisement on %s: %v", ifname, err)
		}
		if !solicitation(buf[:n], cm, ifi.Index) {
			continue
		}
		// What cannot be sent will be asked for again.
		_, _ = p.WriteTo(noRouter(), &ipv6.ControlMessage{HopLimit: 255, IfIndex: ifi.Index}, &net.IPAddr{IP: net.IPv6linklocalallnodes})
		if !netboot.Pause(ctx, raPause) {
			return nil
		}
	}
}

// solicitations is a socket that gets router solicitations alone.
func solicitations(ifi *net.Interface) (*ipv6.PacketConn, error) {
	c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, err
	}
	p := c.IPv6PacketConn()
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterSolicitation)
	err = errors.Join(
		p.SetICMPFilter(&only),
		p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		p.JoinGroup(ifi, &net.IPAddr{IP: net.IPv6linklocalallrouters}),
	)
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// solicitation says whether a message is one from this very link
// (RFC 4861, 6.1.1).
func solicitation(b []byte, cm *ipv6.ControlMessage, ifindex int) bool {
	return len(b) >= 8 && b[0] == byte(ipv6.ICMPTypeRouterSolicitation) && b[1] == 0 &&
		cm != nil && cm.HopLimit == 255 && cm.IfIndex == ifindex
}

// noRouter is the advertisement; the kernel fills in the checksum.
func noRouter() []byte {
	b := make([]byte, 16)
	b[0] = byte(ipv6.ICMPTypeRouterAdvertisement)
	b[4] = 64 // hop limit for hosts
	return b
}
