package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"margay/netboot/udp"
)

// A Conn is one address on which a Server answers, by UDP and by TCP. Close
// it, or let Serve do so.
type Conn struct {
	udp []*udp.Socket // of all addresses: one for IPv4, one for IPv6
	tcp *net.TCPListener
}

// Listen takes an address ("10.1.0.1:53", ":53"); port 0 takes one that is
// free for both. Below 1024 it needs CAP_NET_BIND_SERVICE.
func Listen(ctx context.Context, addr string) (*Conn, error) {
	var err error
	for range 10 { // a port that is free for one may not be so for the other
		var c *Conn
		c, err = listen(ctx, addr)
		if err == nil {
			return c, nil
		}
		if _, port, perr := net.SplitHostPort(addr); perr != nil || port != "0" {
			break
		}
	}
	return nil, fmt.Errorf("DNS on %s: %w", addr, err)
}

func listen(ctx context.Context, addr string) (*Conn, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &Conn{tcp: ln.(*net.TCPListener)}
	own := c.Addr()
	networks := []string{"udp"}
	if own.Addr() == netip.IPv6Unspecified() {
		networks = []string{"udp4", "udp6"} // IPv4 by way of IPv6 costs a tenth more
	}
	lc.Control = socketOptions
	for _, network := range networks {
		pc, err := lc.ListenPacket(ctx, network, net.JoinHostPort(unspecified(own.Addr(), network), strconv.Itoa(int(own.Port()))))
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		u, err := newSocket(pc.(*net.UDPConn))
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.udp = append(c.udp, u)
	}
	return c, nil
}

func unspecified(a netip.Addr, network string) string {
	if network == "udp4" {
		return ""
	}
	return a.String()
}

const receiveBuffer = 1 << 20

// socketOptions has each question tell to which of our addresses it came: on
// a socket for all of them the answer must leave from that one.
func socketOptions(network, addr string, raw syscall.RawConn) error {
	var err error
	ctlErr := raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as we may
		if own, perr := netip.ParseAddrPort(addr); perr == nil && !own.Addr().IsUnspecified() {
			return // it has only this one
		}
		err = udp.WantOrigin(int(fd), network == "udp6")
	})
	return errors.Join(ctlErr, err)
}

// Addr is where c listens.
func (c *Conn) Addr() netip.AddrPort {
	a := c.tcp.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Close stops listening.
func (c *Conn) Close() error {
	err := c.tcp.Close()
	for _, u := range c.udp {
		err = errors.Join(err, u.Close())
	}
	return err
}
