package tftp

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot/udp"
)

// largestRequest is more than any client sends.
const largestRequest = 1500

// patience is how long blocks wait for room in a socket before they are lost.
const patience = time.Second

// bufferSize is what we ask the kernel to hold of acknowledgements that have
// not been read yet: at 1,000 clients they come in bursts.
const bufferSize = 4 << 20

// A socket sends for several transfers, each to another client port.
type socket struct {
	*udp.Socket
	v6    bool
	boxes sync.Pool // of *outbox, for who is not the reader

	mu        sync.RWMutex
	transfers map[netip.AddrPort]*transfer
}

// newSocket takes conn over, and closes it also where it fails.
func newSocket(conn *net.UDPConn) (*socket, error) {
	s := &socket{transfers: make(map[netip.AddrPort]*transfer)}
	raw, err := conn.SyscallConn()
	if err == nil {
		ctlErr := raw.Control(func(fd uintptr) { s.v6, err = prepare(int(fd)) })
		err = errors.Join(err, ctlErr)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	if s.Socket, err = udp.New(conn); err != nil {
		return nil, err
	}
	s.Patience = patience
	return s, nil
}

// prepare gives a socket its buffers and has it tell where packets come in.
func prepare(fd int) (v6 bool, err error) {
	for _, opt := range []struct{ forced, plain int }{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt.forced, bufferSize) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt.plain, bufferSize) // as much as we may
		}
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return false, err
	}
	_, v6 = name.(*unix.SockaddrInet6)
	return v6, udp.WantOrigin(fd, v6)
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
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.LocalAddr().Addr(), 0))
	for range max(2, min(runtime.GOMAXPROCS(0), 8)) {
		sock, err := listen(network, at)
		if err != nil {
			for _, sock := range all {
				sock.Close()
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
	return newSocket(conn)
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

// packet is packet i of what came, and who sent it. Not ok: it is none of TFTP.
func packet(in *udp.Inbox, i int) (p []byte, peer netip.AddrPort, ok bool) {
	p = in.Message(i)
	if in.Cut(i) || len(p) < 4 {
		return nil, peer, false
	}
	peer = in.Sender(i).AddrPort()
	if zone := peer.Addr().Zone(); zone != "" {
		peer = netip.AddrPortFrom(peer.Addr().WithZone(ifname(zone)), peer.Port())
	}
	return p, peer, true
}

// ifname is the name of the interface that a zone gives by its number.
func ifname(zone string) string {
	if n, err := strconv.Atoi(zone); err == nil {
		if ifc, err := net.InterfaceByIndex(n); err == nil {
			return ifc.Name
		}
	}
	return zone
}

// origin is where packet i came in.
func (s *socket) origin(in *udp.Inbox, i int) origin {
	local, index := in.Origin(i)
	if !local.IsValid() {
		local = s.LocalAddr().Addr().Unmap()
	}
	return origin{local, index}
}

// route is the way to a client in packets of a size, which leave from one of our
// addresses.
func (s *socket) route(local netip.Addr, peer netip.AddrPort, segment int) *route {
	return &route{udp.Way{To: udp.NewAddress(peer, s.v6), Control: udp.Source(local, 0, s.v6)}, segment}
}

// send sends one packet now. What the network refuses is lost.
func (s *socket) send(p []byte, to *route) { _ = s.Send(p, to.Way) }

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
