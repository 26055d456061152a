package dhcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const arpFrame = 42 // Ethernet header and ARP for IPv4

// InUse asks the network of an interface who has an address (RFC 5227, 2.1.1),
// before it is given to somebody, and waits so long for a word. It returns
// whose it is; nil: nobody says so. It needs CAP_NET_RAW. Addresses behind a
// relay cannot be asked for in this way.
func InUse(ctx context.Context, ifname string, addr netip.Addr, wait time.Duration) (net.HardwareAddr, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %v", ifname, err)
	}
	if !addr.Is4() || len(ifi.HardwareAddr) != 6 {
		return nil, fmt.Errorf("who has %s on %s: not IPv4 on Ethernet", addr, ifname)
	}
	f, err := arpSocket(ifi.Index)
	if err != nil {
		return nil, fmt.Errorf("who has %s on %s: %w; it needs CAP_NET_RAW", addr, ifname, err)
	}
	defer f.Close()
	end := time.Now().Add(wait)
	defer context.AfterFunc(ctx, func() { f.SetDeadline(time.Unix(1, 0)) })()
	for _, until := range []time.Time{end.Add(-wait / 2), end} { // one may be lost
		if _, err := f.Write(arpProbe(ifi.HardwareAddr, addr)); err != nil {
			return nil, fmt.Errorf("who has %s on %s: %v", addr, ifname, err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		f.SetReadDeadline(until)
		mac, err := arpAnswer(f, addr, ifi.HardwareAddr)
		if mac != nil || err != nil {
			return mac, err
		}
	}
	return nil, ctx.Err()
}

// arpSocket is a socket for ARP on one interface.
func arpSocket(ifindex int) (*os.File, error) {
	proto := int(binary.NativeEndian.Uint16([]byte{unix.ETH_P_ARP >> 8, unix.ETH_P_ARP & 0xff}))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: ifindex}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "arp"), nil
}

// arpProbe asks for an address without claiming one.
func arpProbe(from net.HardwareAddr, addr netip.Addr) []byte {
	b := make([]byte, 0, arpFrame)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	b = append(b, from...)
	b = append(b, 0x08, 0x06)       // ARP
	b = append(b, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4, and their lengths
	b = append(b, 0, 1)             // request
	b = append(b, from...)
	b = append(b, make([]byte, 4+6)...)
	four := addr.As4()
	return append(b, four[:]...)
}

// arpAnswer waits for a message from one who has addr; nil at the deadline.
func arpAnswer(f *os.File, addr netip.Addr, own net.HardwareAddr) (net.HardwareAddr, error) {
	buf := make([]byte, 128)
	for {
		n, err := f.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("who has %s: %v", addr, err)
		}
		if mac := arpSender(buf[:n], addr); mac != nil && !bytes.Equal(mac, own) {
			return mac, nil
		}
	}
}

// arpSender is who sent an ARP message of addr's; nil: it is not one.
func arpSender(b []byte, addr netip.Addr) net.HardwareAddr {
	if len(b) < arpFrame || !bytes.Equal(b[12:20], []byte{0x08, 0x06, 0, 1, 8, 0, 6, 4}) {
		return nil
	}
	if netip.AddrFrom4([4]byte(b[28:32])) != addr {
		return nil
	}
	return bytes.Clone(b[22:28])
}
