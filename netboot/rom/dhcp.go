package rom

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Options that the library has no name for.
const (
	optSourcePort   = 19  // RFC 8357: of option 82
	optLoader       = 175 // iPXE's encapsulated options
	optProbe        = 224 // site-specific: whom `margay probe` plays
	archBIOS        = 0
	archUEFI64      = 7
	archUEFIARM64   = 11
	archHTTP64      = 16
	archHTTPARM64   = 19
	ipxeHTTP        = 0x13
	ipxeCOMBOOT     = 0x23
	ipxeEFI         = 0x24
	ipxeBzImage     = 0x18
	ipxeMultiboot   = 0x19
	largestReply    = 1500
	dhcpReplyPort   = 68
	dhcpServicePort = 67
)

// An ask is how a DHCP client presents itself.
type ask struct {
	arch     int    // option 93; negative: none
	class    string // option 60
	user     string // option 77
	features []byte // option 175, of iPXE
	file     bool   // wants a boot file
}

// firmwareAsk is how the firmware itself asks.
func (b *boot) firmwareAsk() ask {
	switch b.Firmware {
	case BIOS, BIOSiPXE:
		return pxeAsk(archBIOS, "002001")
	case UEFIHTTP:
		arch := archHTTP64
		if b.Arch == "aarch64" {
			arch = archHTTPARM64
		}
		return ask{arch: arch, class: fmt.Sprintf("HTTPClient:Arch:%05d:UNDI:003000", arch), file: true}
	}
	if b.Arch == "aarch64" {
		return pxeAsk(archUEFIARM64, "003000")
	}
	return pxeAsk(archUEFI64, "003000")
}

func pxeAsk(arch int, undi string) ask {
	return ask{arch: arch, class: fmt.Sprintf("PXEClient:Arch:%05d:UNDI:%s", arch, undi), file: true}
}

// loaderAsk is how an iPXE asks that was started by the firmware.
func (b *boot) loaderAsk(i *ipxe) ask {
	a := b.firmwareAsk()
	a.user = i.class
	a.features = []byte{ipxeHTTP, 1, 1, ipxeBzImage, 1, 1, ipxeMultiboot, 1, 1}
	if i.comboot {
		a.features = append(a.features, ipxeCOMBOOT, 1, 1)
	}
	if b.Firmware.efi() {
		a.features = append(a.features, ipxeEFI, 1, 1)
	}
	return a
}

// plainAsk is how mboot's HTTP driver and an installer ask: with nothing that
// tells what they are.
func plainAsk() ask { return ask{arch: -1} }

// dhcp gets an address: DISCOVER, OFFER, REQUEST, ACK.
func (b *boot) dhcp(a ask) (*Lease, error) {
	conn, err := b.dhcpSocket()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(b.ctx, func() { conn.SetDeadline(time.Now()) })()

	x := &exchange{boot: b, ask: a, conn: conn}
	rand.NewChaCha8(seed()).Read(x.xid[:])
	offer, err := x.discover()
	if err != nil {
		return nil, err
	}
	reply, err := x.request(offer)
	if err != nil {
		return nil, err
	}
	lease, err := x.lease(reply)
	if err != nil {
		return nil, err
	}
	if b.Configure != nil {
		if err := b.Configure(*lease); err != nil {
			return nil, fmt.Errorf("address %s: %w", lease.Addr, err)
		}
	}
	return lease, nil
}

// dhcpSocket is a relay's socket at Source, or a client's on Interface.
func (b *boot) dhcpSocket() (*net.UDPConn, error) {
	if b.DHCP.IsValid() {
		return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.Source, 0)))
	}
	var opt error
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		err := c.Control(func(fd uintptr) {
			opt = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_BROADCAST, 1),
				syscall.BindToDevice(int(fd), b.Interface))
		})
		return errors.Join(err, opt)
	}}
	c, err := lc.ListenPacket(b.ctx, "udp4", fmt.Sprintf("0.0.0.0:%d", dhcpReplyPort))
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", b.Interface, err)
	}
	return c.(*net.UDPConn), nil
}

// An exchange is one conversation with DHCP servers.
type exchange struct {
	*boot
	ask  ask
	conn *net.UDPConn
	xid  dhcpv4.TransactionID

	offer *dhcpv4.DHCPv4 // with an address
	proxy *dhcpv4.DHCPv4 // with the boot file, if that is another's
}

// discover returns the offer that the client takes. Without one, the error says
// what was wrong with those that came.
func (x *exchange) discover() (*dhcpv4.DHCPv4, error) {
	p, err := x.packet(dhcpv4.MessageTypeDiscover)
	if err != nil {
		return nil, err
	}
	_, err = x.converse(p, x.consider)
	return x.offer, err
}

// request takes an offer.
func (x *exchange) request(offer *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	p, err := x.packet(dhcpv4.MessageTypeRequest)
	if err != nil {
		return nil, err
	}
	p.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))
	p.UpdateOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier()))
	return x.converse(p, func(r *dhcpv4.DHCPv4) error { return x.checkAck(offer, r) })
}

// converse sends p, again and again like firmware though sooner, until an
// answer passes check.
func (x *exchange) converse(p *dhcpv4.DHCPv4, check func(*dhcpv4.DHCPv4) error) (*dhcpv4.DHCPv4, error) {
	end := time.Now().Add(x.patience())
	wait := time.Second
	var wrong error
	for time.Now().Before(end) {
		if err := x.send(p); err != nil {
			return nil, err
		}
		until := time.Now().Add(wait)
		if until.After(end) {
			until = end
		}
		r, err := x.receive(p, until, check)
		if r != nil {
			return r, nil
		}
		if err != nil {
			wrong = err
		}
		if err := x.ctx.Err(); err != nil {
			return nil, err
		}
		if wrong != nil {
			return nil, wrong
		}
		wait *= 2
	}
	return nil, fmt.Errorf("no answer to %s in %v: no server hears it, or %s is none of its machines",
		p.MessageType(), x.patience(), x.MAC)
}

func (x *exchange) send(p *dhcpv4.DHCPv4) error {
	to := x.DHCP
	if !to.IsValid() {
		to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), dhcpServicePort)
	}
	_, err := x.conn.WriteToUDPAddrPort(p.ToBytes(), to)
	return err
}

// receive returns the first answer that passes check, or what was wrong with
// the last one that did not.
func (x *exchange) receive(asked *dhcpv4.DHCPv4, until time.Time, check func(*dhcpv4.DHCPv4) error) (*dhcpv4.DHCPv4, error) {
	var wrong error
	buf := make([]byte, 4096)
	for {
		if x.ctx.Err() != nil {
			return nil, x.ctx.Err()
		}
		x.conn.SetReadDeadline(until)
		n, _, err := x.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, wrong
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("no server listens at %s", x.DHCP)
		}
		if err != nil {
			return nil, err
		}
		r, err := dhcpv4.FromBytes(buf[:n])
		if err != nil || r.OpCode != dhcpv4.OpcodeBootReply || r.TransactionID != asked.TransactionID {
			continue
		}
		if err = sane(asked, r, n); err == nil {
			err = check(r)
		}
		if err == nil {
			return r, nil
		}
		if err != errDiscard {
			wrong = err
		}
	}
}

// packet builds a request.
func (x *exchange) packet(kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	p, err := dhcpv4.New(dhcpv4.WithHwAddr(x.MAC), dhcpv4.WithTransactionID(x.xid), dhcpv4.WithMessageType(kind))
	if err != nil {
		return nil, err
	}
	p.SetBroadcast()
	set := func(code uint8, value ...byte) {
		p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), value))
	}
	set(55, 1, 2, 3, 6, 12, 13, 15, 17, 26, 28, 42, 43, 51, 54, 58, 59, 60, 66, 67, 97, 119, 175)
	set(57, largestReply>>8, largestReply&0xff)
	if x.ask.arch >= 0 {
		uuid := x.uuid()
		set(93, byte(x.ask.arch>>8), byte(x.ask.arch))
		set(94, 1, 3, 0)
		set(97, append([]byte{0}, uuid[:]...)...)
	}
	if x.ask.class != "" {
		set(60, []byte(x.ask.class)...)
	}
	if x.ask.user != "" {
		set(77, []byte(x.ask.user)...)
	}
	if x.ask.features != nil {
		set(optLoader, x.ask.features...)
	}
	if x.Probe != "" {
		set(optProbe, []byte(x.Probe)...)
	}
	if x.DHCP.IsValid() {
		p.GatewayIPAddr = x.Source.AsSlice()
		p.HopCount = 1
		p.SetUnicast()
		set(82, optSourcePort, 0)
	}
	return p, nil
}

// lease reads an ACK.
func (x *exchange) lease(r *dhcpv4.DHCPv4) (*Lease, error) {
	ones, bits := r.SubnetMask().Size()
	if bits != 32 {
		return nil, fmt.Errorf("subnet mask %s is none", r.SubnetMask())
	}
	l := &Lease{
		Addr:     netip.PrefixFrom(addr(r.YourIPAddr), ones),
		Server:   addr(r.ServerIdentifier()),
		Next:     addr(r.ServerIPAddr),
		Hostname: r.HostName(),
		Domain:   r.DomainName(),
		File:     bootFile(r),
		Time:     r.IPAddressLeaseTime(0),
	}
	if p := x.proxy; p != nil {
		l.File, l.Next = bootFile(p), addr(p.ServerIPAddr)
		if !l.Next.IsValid() || l.Next.IsUnspecified() {
			l.Next = addr(p.ServerIdentifier())
		}
	}
	if !l.Next.IsValid() || l.Next.IsUnspecified() {
		l.Next = l.Server
	}
	for _, a := range r.Router() {
		l.Router = addr(a)
		break
	}
	for _, a := range r.DNS() {
		l.DNS = append(l.DNS, addr(a))
	}
	if l.Router.IsValid() && ones < 32 && !l.Addr.Contains(l.Router) {
		return nil, fmt.Errorf("router %s is not in %s", l.Router, l.Addr.Masked())
	}
	return l, nil
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// uuid is the machine's own, or one that is always the same for its MAC.
func (m *Machine) uuid() [16]byte {
	if m.UUID != [16]byte{} {
		return m.UUID
	}
	u := [16]byte{0x6d, 0x61, 0x72, 0x67, 0x61, 0x79, 0x40, 0, 0x80, 0}
	copy(u[10:], m.MAC)
	return u
}

func seed() (s [32]byte) {
	for i := range s {
		s[i] = byte(rand.Uint32())
	}
	return s
}
