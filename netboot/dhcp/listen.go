package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Mode is how a server acts on an interface.
type Mode uint8

// The modes. Proxy gives no addresses: beside another DHCP server it tells
// PXE and HTTP-boot clients what to boot (PXE 2.1, 2.2.3).
const (
	Off Mode = iota
	Authoritative
	Proxy
)

func (m Mode) String() string {
	switch m {
	case Authoritative:
		return "authoritative"
	case Proxy:
		return "proxy"
	}
	return "off"
}

// A Conn is where a Server listens. Close it, or let Serve do so.
type Conn struct {
	socks []*sock
}

// A sock is one socket of a Conn.
type sock struct {
	udp     *net.UDPConn
	ifname  string // the one interface it listens on; empty: any
	ifindex int
	mode    Mode
	boot    bool // port 4011: boot servers are asked, not DHCP servers
	relayed bool // cannot broadcast: answers relays and renewals only

	mu    sync.Mutex
	names map[int]string // of interfaces, guarded by mu
}

// ListenInterface listens on port 67 of one interface, in proxy mode on port
// 4011 too. It needs CAP_NET_BIND_SERVICE, and shares the port with servers
// that are bound to other interfaces.
func ListenInterface(ctx context.Context, ifname string, mode Mode) (*Conn, error) {
	if mode != Authoritative && mode != Proxy {
		return nil, fmt.Errorf("DHCP on %s: nothing to listen for in mode %s", ifname, mode)
	}
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %v", ifname, err)
	}
	c := &Conn{}
	ports := []int{serverPort}
	if mode == Proxy {
		ports = append(ports, proxyPort)
	}
	for _, port := range ports {
		udp, err := listen(ctx, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)), ifname)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("DHCP on %s: %w", ifname, err)
		}
		c.socks = append(c.socks, &sock{udp: udp, ifname: ifname, ifindex: ifi.Index, mode: mode, boot: port == proxyPort})
	}
	return c, nil
}

// ListenAddr listens on an address and port of our own, for requests that are
// sent to it: by relays, and by clients that renew. It needs no privilege
// where the port needs none; port 0 takes a free one.
func ListenAddr(ctx context.Context, addr netip.AddrPort) (*Conn, error) {
	udp, err := listen(ctx, addr, "")
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w", addr, err)
	}
	return &Conn{socks: []*sock{{udp: udp, mode: Authoritative, relayed: true}}}, nil
}

// Addr is the first socket's address.
func (c *Conn) Addr() netip.AddrPort {
	a := c.socks[0].udp.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Stale says whether the interface that it listens on is gone, or another of
// the same name is in its place: nothing will be heard any more.
func (c *Conn) Stale() bool {
	for _, s := range c.socks {
		if s.ifname == "" {
			continue
		}
		if ifi, err := net.InterfaceByName(s.ifname); err != nil || ifi.Index != s.ifindex {
			return true
		}
	}
	return false
}

// Close stops listening.
func (c *Conn) Close() error {
	var errs []error
	for _, s := range c.socks {
		errs = append(errs, s.udp.Close())
	}
	return errors.Join(errs...)
}

// receiveBuffer keeps the requests of a thousand machines that are switched
// on at once.
const receiveBuffer = 4 << 20

func listen(ctx context.Context, addr netip.AddrPort, ifname string) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctlErr := raw.Control(func(fd uintptr) { err = options(int(fd), ifname) })
		return errors.Join(ctlErr, err)
	}}
	pc, err := lc.ListenPacket(ctx, "udp4", addr.String())
	if err != nil {
		return nil, err
	}
	return pc.(*net.UDPConn), nil
}

// options prepares a socket: it learns the interface and our address of each
// request (IP_PKTINFO), may broadcast, and where the kernel lets us is bound to
// its interface. Where not (before Linux 5.7, without CAP_NET_RAW), read skips
// what came by another.
func options(fd int, ifname string) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return fmt.Errorf("IP_PKTINFO: %v", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as we may
	}
	if ifname == "" {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return fmt.Errorf("SO_BROADCAST: %v", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("SO_REUSEADDR: %v", err)
	}
	if err := unix.BindToDevice(fd, ifname); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("bind to %s: %v", ifname, err)
	}
	return nil
}

// beside is our address on the interface where a broadcast came from a machine
// that has an address: local, unless that is of another of our interfaces. The
// kernel says from which address it would answer that machine, and one that has
// moved here from another wire of ours it would answer there.
func (s *sock) beside(local netip.Addr) netip.Addr {
	ifr, err := unix.NewIfreq(s.ifname)
	if err != nil || s.ifname == "" || !local.Is4() || ifr.SetInet4Addr(local.AsSlice()) != nil {
		return local
	}
	raw, err := s.udp.SyscallConn()
	if err != nil {
		return local
	}
	// Asked with an address, it gives that one if the interface has it.
	raw.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), unix.SIOCGIFADDR, ifr) })
	b, no := ifr.Inet4Addr()
	if err != nil || no != nil {
		return local
	}
	return netip.AddrFrom4([4]byte(b))
}

// name is the interface of an index; empty if it has gone.
func (s *sock) name(index int) string {
	if index == s.ifindex && s.ifname != "" {
		return s.ifname
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.names[index]; ok {
		return n
	}
	ifi, err := net.InterfaceByIndex(index)
	if err != nil {
		return ""
	}
	if s.names == nil {
		s.names = make(map[int]string)
	}
	s.names[index] = ifi.Name
	return ifi.Name
}
