package tftp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Linux's UDP_SEGMENT (udp(7)): one send is cut into packets of a given size.
const (
	solUDP      = 17
	udpSegment  = 103
	maxSegments = 64    // UDP_MAX_SEGMENTS
	maxSend     = 65000 // of one datagram before it is cut
)

// bufferSize is what we ask the kernel to hold of acknowledgements that have
// not been read yet: at 1,000 clients they come in bursts.
const bufferSize = 4 << 20

// A socket sends for several transfers, each to another client port.
type socket struct {
	conn  *net.UDPConn
	v6    bool
	whole atomic.Bool // the kernel does not cut for us

	mu        sync.RWMutex
	transfers map[netip.AddrPort]*transfer
}

func newSocket(conn *net.UDPConn) (*socket, error) {
	s := &socket{conn: conn, transfers: make(map[netip.AddrPort]*transfer)}
	_ = conn.SetReadBuffer(bufferSize)
	_ = conn.SetWriteBuffer(bufferSize)
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var opt error
	err = raw.Control(func(fd uintptr) { s.v6, opt = wantOrigin(int(fd)) })
	return s, errors.Join(err, opt)
}

// wantOrigin has the kernel tell with each packet which of our addresses it
// was sent to, so that the answer leaves from it.
func wantOrigin(fd int) (v6 bool, err error) {
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, bufferSize)
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUFFORCE, bufferSize)
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return false, err
	}
	if _, v6 = name.(*syscall.SockaddrInet6); v6 {
		return true, syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO, 1)
	}
	return false, syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1)
}

// siblings opens the sockets that send, at s's address. There are more than one
// so that cores share the work, and so that a client that asks twice from one
// port is answered from two: a late packet of its first transfer is then no
// part of the second.
func (s *socket) siblings() (all []*socket, err error) {
	network := "udp4"
	if s.v6 {
		network = "udp"
	}
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), 0))
	for range max(2, min(runtime.GOMAXPROCS(0), 8)) {
		sock, err := listen(network, at)
		if err != nil {
			for _, sock := range all {
				sock.conn.Close()
			}
			return nil, err
		}
		all = append(all, sock)
	}
	return all, nil
}

func listen(network string, at *net.UDPAddr) (*socket, error) {
	conn, err := net.ListenUDP(network, at)
	if err != nil {
		return nil, err
	}
	sock, err := newSocket(conn)
	if err != nil {
		conn.Close()
	}
	return sock, err
}

func (s *socket) find(peer netip.AddrPort) *transfer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.transfers[peer]
}

func (s *socket) add(t *transfer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transfers[t.peer] = t
}

func (s *socket) remove(t *transfer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.transfers[t.peer] == t {
		delete(s.transfers, t.peer)
	}
}

// An origin is where a packet came in.
type origin struct {
	local netip.Addr // our address, as the client knows it
	index int        // of the interface; 0: unknown
}

// origin reads the control message that wantOrigin asks for.
func (s *socket) origin(oob []byte) origin {
	o := origin{local: s.bound()}
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return o
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == syscall.IPPROTO_IP && m.Header.Type == syscall.IP_PKTINFO && len(m.Data) >= syscall.SizeofInet4Pktinfo:
			o.index = int(binary.NativeEndian.Uint32(m.Data))
			o.local = netip.AddrFrom4([4]byte(m.Data[4:8])) // ours, even where the packet was a broadcast
		case m.Header.Level == syscall.IPPROTO_IPV6 && m.Header.Type == syscall.IPV6_PKTINFO && len(m.Data) >= syscall.SizeofInet6Pktinfo:
			o.index = int(binary.NativeEndian.Uint32(m.Data[16:]))
			o.local = netip.AddrFrom16([16]byte(m.Data[:16])).Unmap()
		}
	}
	return o
}

func (s *socket) bound() netip.Addr {
	return s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// controls builds the control messages with which a client is sent packets:
// the address they leave from and, in whole, the size they are cut to.
func (s *socket) controls(local netip.Addr, segment int) (plain, cut []byte) {
	switch {
	case !local.IsValid() || local.IsUnspecified():
	case s.v6:
		a := local.As16()
		plain = control(syscall.IPPROTO_IPV6, syscall.IPV6_PKTINFO, append(a[:], 0, 0, 0, 0))
	case local.Is4():
		a := local.As4()
		data := make([]byte, syscall.SizeofInet4Pktinfo)
		copy(data[4:], a[:])
		plain = control(syscall.IPPROTO_IP, syscall.IP_PKTINFO, data)
	}
	size := binary.NativeEndian.AppendUint16(nil, uint16(segment))
	return plain, append(append([]byte(nil), plain...), control(solUDP, udpSegment, size)...)
}

func control(level, kind int32, data []byte) []byte {
	b := make([]byte, syscall.CmsgSpace(len(data)))
	h := (*syscall.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(syscall.CmsgLen(len(data)))
	copy(b[syscall.CmsgLen(0):], data)
	return b
}

// send sends one packet. What the network refuses is lost, like what it loses.
func (s *socket) send(p, oob []byte, peer netip.AddrPort) {
	_, _, _ = s.conn.WriteMsgUDPAddrPort(p, oob, peer)
}

// sendCut sends p as packets of segment bytes, the last perhaps shorter, in as
// few calls as the kernel allows.
func (s *socket) sendCut(p []byte, segment int, plain, cut []byte, peer netip.AddrPort) {
	step := segment * min(maxSegments, max(1, maxSend/segment))
	for len(p) > 0 {
		n := min(step, len(p))
		if n <= segment || s.whole.Load() || !s.sendSegments(p[:n], cut, peer) {
			s.sendEach(p[:n], segment, plain, peer)
		}
		p = p[n:]
	}
}

// sendSegments is false if p has to be sent packet by packet: the kernel or the
// interface cannot cut (EIO, ENOPROTOOPT; for good), or a packet would not
// fit the path's MTU (EINVAL, EMSGSIZE; this time).
func (s *socket) sendSegments(p, cut []byte, peer netip.AddrPort) bool {
	_, _, err := s.conn.WriteMsgUDPAddrPort(p, cut, peer)
	switch {
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENOPROTOOPT), errors.Is(err, syscall.EOPNOTSUPP):
		s.whole.Store(true)
		return false
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EMSGSIZE):
		return false
	}
	return true
}

func (s *socket) sendEach(p []byte, segment int, plain []byte, peer netip.AddrPort) {
	for len(p) > 0 {
		n := min(segment, len(p))
		s.send(p[:n], plain, peer)
		p = p[n:]
	}
}

// transient says whether reading may go on after err: ICMP errors of earlier
// sends are reported to later reads.
func transient(err error) bool {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return false
	}
	switch no {
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EMSGSIZE, syscall.ENOBUFS, syscall.EINTR, syscall.EAGAIN:
		return true
	}
	return false
}

func truncated(flags int) bool { return flags&syscall.MSG_TRUNC != 0 }
