package dhcp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"margay/netboot"
)

// largestRequest is more than any client sends: what is longer is dropped.
const largestRequest = 2048

var (
	errTooLong  = errors.New("longer than a client's message")
	errElse     = errors.New("came by another interface")
	errLoopback = errors.New("a relay that says it is ourselves")
)

// An exchange is one request and the room for its reply. It is used again
// when both are done with.
type exchange struct {
	in      [largestRequest]byte
	out     [bufSize]byte
	oob     [64]byte
	n       int // octets of in
	long    bool
	src     netip.AddrPort
	local   netip.Addr
	shouted bool // to everybody on the wire
	ifindex int
	req     request
	m       netboot.Machine // who asks, as req and the way tell
	at      time.Time       // when it began to wait
}

func (s *Server) exchange() *exchange {
	if x, ok := s.pool.Get().(*exchange); ok {
		return x
	}
	return new(exchange)
}

// read waits for a datagram and learns which way it came.
func (x *exchange) read(k *sock) error {
	n, oobn, flags, src, err := k.udp.ReadMsgUDPAddrPort(x.in[:], x.oob[:])
	if err != nil {
		return err
	}
	x.n, x.src = n, src
	x.long = flags&unix.MSG_TRUNC != 0
	x.ifindex, x.local, x.shouted = pktinfo(x.oob[:oobn])
	return nil
}

// pktinfo reads the interface, our own address there, and whether the datagram was
// sent to another than that from IP_PKTINFO, the only control message that we ask
// for.
func pktinfo(oob []byte) (ifindex int, local netip.Addr, shouted bool) {
	if len(oob) < unix.SizeofCmsghdr {
		return 0, netip.Addr{}, false
	}
	h, data, _, err := unix.ParseOneSocketControlMessage(oob)
	if err != nil || h.Level != unix.IPPROTO_IP || h.Type != unix.IP_PKTINFO || len(data) < unix.SizeofInet4Pktinfo {
		return 0, netip.Addr{}, false
	}
	local = netip.AddrFrom4([4]byte(data[4:8]))             // ipi_spec_dst
	shouted = local != netip.AddrFrom4([4]byte(data[8:12])) // ipi_addr
	if local.IsUnspecified() {
		local = netip.Addr{}
	}
	return int(binary.NativeEndian.Uint32(data)), local, shouted
}

// parse reads the request, if it is one for this socket.
func (x *exchange) parse(k *sock) error {
	if x.long {
		return errTooLong
	}
	if k.ifindex != 0 && x.ifindex != k.ifindex {
		return errElse
	}
	if err := x.req.parse(x.in[:x.n]); err != nil {
		return err
	}
	if x.req.giaddr.IsLoopback() && !x.src.Addr().IsLoopback() {
		return errLoopback
	}
	if x.shouted && !x.src.Addr().IsUnspecified() {
		x.local = k.beside(x.local)
	}
	return nil
}

// machine is who asks, and the way it came.
func (x *exchange) machine(k *sock) netboot.Machine {
	m := x.req.machine()
	m.Local = x.local
	m.Interface = k.name(x.ifindex)
	m.Broadcast = x.shouted && !m.Relay.IsValid()
	m.Proxy = k.mode == Proxy
	src := x.src.Addr()
	if !m.Addr.IsValid() && !m.Relay.IsValid() && !src.IsUnspecified() {
		m.Addr = src
	}
	if o := x.req.override(); o.IsValid() && m.Server == o {
		m.Server = m.Local // by that name it means us (RFC 5107, 4)
	}
	return m
}

// reply makes the answer in x's own room; kind 0 is silence.
func (x *exchange) reply(k *sock, m *netboot.Machine, plan *netboot.Plan) (kind byte, msg []byte, lost []uint8) {
	if k.mode == Proxy {
		kind = proxyVerdict(m, plan, k.boot)
		if kind != 0 {
			msg, lost = proxyReply(x.out[:0], &x.req, m, plan, kind)
		}
		return kind, msg, lost
	}
	kind = verdict(m, plan)
	if kind == 0 || !identifier(m, plan).Is4() {
		return 0, nil, nil // an interface without an address has no server
	}
	msg, lost = reply(x.out[:0], &x.req, m, plan, kind)
	return kind, msg, lost
}

// destination is where a reply goes from this socket.
func (x *exchange) destination(k *sock, kind byte) netip.AddrPort {
	if k.boot && !x.req.giaddr.IsValid() && !x.src.Addr().IsUnspecified() {
		return x.src
	}
	to := destination(&x.req, x.src, kind)
	if k.relayed && to.Addr() == broadcastAddr && x.req.ciaddr.IsValid() {
		return netip.AddrPortFrom(x.req.ciaddr, clientPort) // a NAK, the only way we have
	}
	return to
}

// send sends msg from the address that the client knows us by, out of the
// interface that it is on.
func (x *exchange) send(k *sock, msg []byte, to netip.AddrPort) error {
	oob := x.oob[:unix.CmsgSpace(unix.SizeofInet4Pktinfo)]
	clear(oob)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	data := oob[unix.CmsgLen(0):]
	if to.Addr() == broadcastAddr {
		binary.NativeEndian.PutUint32(data, uint32(x.ifindex))
	}
	if x.local.Is4() {
		b := x.local.As4()
		copy(data[4:], b[:])
	}
	_, _, err := k.udp.WriteMsgUDPAddrPort(msg, oob, to)
	return err
}
