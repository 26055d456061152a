package tftp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bounds of a message that the kernel cuts into packets (udp(7)).
const (
	maxSegments = 64    // UDP_MAX_SEGMENTS
	maxSend     = 65000 // less than a datagram's limit, whatever the headers
)

// bufferSize is what we ask the kernel to hold of acknowledgements that have
// not been read yet: at 1,000 clients they come in bursts.
const bufferSize = 4 << 20

// A socket sends for several transfers, each to another client port.
type socket struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	v6    bool
	whole atomic.Bool // the kernel does not cut for us
	boxes sync.Pool   // of *outbox, for who is not the reader

	mu        sync.RWMutex
	transfers map[netip.AddrPort]*transfer
}

func newSocket(conn *net.UDPConn) (*socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, raw: raw, transfers: make(map[netip.AddrPort]*transfer)}
	_ = conn.SetReadBuffer(bufferSize)
	_ = conn.SetWriteBuffer(bufferSize)
	var opt error
	err = raw.Control(func(fd uintptr) { s.v6, opt = wantOrigin(int(fd)) })
	return s, errors.Join(err, opt)
}

// wantOrigin has the kernel tell with each packet which of our addresses it
// was sent to, so that the answer leaves from it.
func wantOrigin(fd int) (v6 bool, err error) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize)
	name, err := unix.Getsockname(fd)
	if err != nil {
		return false, err
	}
	if _, v6 = name.(*unix.SockaddrInet6); v6 {
		return true, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	return false, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
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
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return o
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			o.index = int(binary.NativeEndian.Uint32(m.Data))
			o.local = netip.AddrFrom4([4]byte(m.Data[4:8])) // ours, even where the packet was a broadcast
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			o.index = int(binary.NativeEndian.Uint32(m.Data[16:]))
			o.local = netip.AddrFrom16([16]byte(m.Data[:16])).Unmap()
		}
	}
	return o
}

func (s *socket) bound() netip.Addr {
	return s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// route is the way to a client in packets of a size: with the address that
// they leave from, and for the kernel the size that it cuts to.
func (s *socket) route(local netip.Addr, peer netip.AddrPort, segment int) *route {
	r := &route{peer: toRaw(peer, s.v6), segment: segment}
	switch {
	case !local.IsValid() || local.IsUnspecified():
	case s.v6:
		a := local.As16()
		r.plain = control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, append(a[:], 0, 0, 0, 0))
	case local.Is4():
		a := local.As4()
		data := make([]byte, unix.SizeofInet4Pktinfo)
		copy(data[4:], a[:])
		r.plain = control(unix.IPPROTO_IP, unix.IP_PKTINFO, data)
	}
	size := binary.NativeEndian.AppendUint16(nil, uint16(segment))
	r.cut = append(append([]byte(nil), r.plain...), control(unix.SOL_UDP, unix.UDP_SEGMENT, size)...)
	return r
}

func control(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// sendBatch sends messages and returns how many, and why not the next.
func (s *socket) sendBatch(heads []unix.Mmsghdr) (n int, no unix.Errno) {
	err := s.raw.Write(func(fd uintptr) bool {
		var r uintptr
		r, _, no = unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&heads[0])), uintptr(len(heads)), unix.MSG_DONTWAIT, 0, 0)
		n = int(r)
		return no != unix.EAGAIN
	})
	switch {
	case err != nil:
		return len(heads), 0 // closed: nothing can be sent any more
	case no != 0:
		return 0, no
	}
	return n, 0
}

// send sends one packet now.
func (s *socket) send(p []byte, to *route) {
	var iov unix.Iovec
	iov.Base = &p[0]
	iov.SetLen(len(p))
	heads := make([]unix.Mmsghdr, 1)
	h := &heads[0].Hdr
	h.Iov = &iov
	h.SetIovlen(1)
	h.Name = (*byte)(unsafe.Pointer(&to.peer.sa))
	h.Namelen = to.peer.size
	if len(to.plain) > 0 {
		h.Control = &to.plain[0]
		h.SetControllen(len(to.plain))
	}
	_, _ = s.sendBatch(heads)
}

// reply sends one packet outside any transfer.
func (s *socket) reply(p []byte, local netip.Addr, peer netip.AddrPort) {
	s.send(p, s.route(local, peer, len(p)))
}

// sending calls fn with an outbox and sends what it holds. It is for those who
// are not the socket's reader, who has his own.
func (s *socket) sending(fn func(*outbox)) {
	o, ok := s.boxes.Get().(*outbox)
	if !ok {
		o = newOutbox(s)
	}
	o.now = time.Now()
	fn(o)
	o.flush()
	s.boxes.Put(o)
}

func zone(index uint32) string {
	if ifc, err := net.InterfaceByIndex(int(index)); err == nil {
		return ifc.Name
	}
	return strconv.Itoa(int(index))
}

func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if ifc, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifc.Index)
	}
	n, _ := strconv.Atoi(zone)
	return uint32(n)
}
