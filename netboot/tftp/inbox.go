package tftp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel hands over this many packets in one call, and takes as many.
const batch = 64

// largestRequest is more than any client sends.
const largestRequest = 1500

// An inbox reads packets from a socket, several in one call (recvmmsg(2)).
type inbox struct {
	sock  *socket
	heads [batch]unix.Mmsghdr
	iovs  [batch]unix.Iovec
	names [batch]unix.RawSockaddrInet6
	oobs  [batch][64]byte
	bufs  [batch][largestRequest]byte
}

func newInbox(s *socket) *inbox {
	in := &inbox{sock: s}
	for i := range in.heads {
		in.iovs[i].Base = &in.bufs[i][0]
		in.iovs[i].SetLen(largestRequest)
		h := &in.heads[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
		h.Control = &in.oobs[i][0]
	}
	return in
}

// read waits for packets and returns how many came. The error is
// net.ErrClosed, or one after which reading may go on. The calls here and in
// sendBatch are raw: they never wait, and the scheduler, which takes a
// processor away from whoever is in a call for 20 us, would be most of their cost.
func (in *inbox) read() (n int, err error) {
	for i := range in.heads {
		h := &in.heads[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(len(in.oobs[i]))
		h.Flags = 0
	}
	var no unix.Errno
	err = in.sock.raw.Read(func(fd uintptr) bool {
		var r uintptr
		r, _, no = unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.heads[0])), batch, unix.MSG_DONTWAIT, 0, 0)
		n = int(r)
		return no != unix.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case no != 0:
		return 0, no
	}
	return n, nil
}

// packet returns packet i of the last read. Its bytes are good until the next.
func (in *inbox) packet(i int) (p []byte, peer netip.AddrPort, ok bool) {
	h := &in.heads[i]
	if h.Hdr.Flags&unix.MSG_TRUNC != 0 || h.Len < 4 {
		return nil, peer, false
	}
	return in.bufs[i][:h.Len], fromRaw(&in.names[i]), true
}

// control returns the control messages of packet i.
func (in *inbox) control(i int) []byte { return in.oobs[i][:in.heads[i].Hdr.Controllen] }

// fromRaw reads a socket address of either family. IPv4 is always spelt as
// such, whichever kind of socket heard it.
func fromRaw(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	if sa.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), port)
	}
	addr := netip.AddrFrom16(sa.Addr).Unmap()
	if addr.Is6() && sa.Scope_id != 0 {
		addr = addr.WithZone(zone(sa.Scope_id))
	}
	return netip.AddrPortFrom(addr, port)
}

// An address is a socket address as the kernel takes it.
type address struct {
	sa   unix.RawSockaddrInet6
	size uint32
}

// toRaw writes a socket address for a socket of one family.
func toRaw(peer netip.AddrPort, v6 bool) *address {
	a := &address{size: unix.SizeofSockaddrInet6}
	port := (*[2]byte)(unsafe.Pointer(&a.sa.Port))
	binary.BigEndian.PutUint16(port[:], peer.Port())
	if v6 {
		a.sa.Family = unix.AF_INET6
		a.sa.Addr = peer.Addr().As16()
		a.sa.Scope_id = scope(peer.Addr().Zone())
		return a
	}
	a.size = unix.SizeofSockaddrInet4
	sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.sa))
	sa.Family = unix.AF_INET
	sa.Addr = peer.Addr().Unmap().As4()
	return a
}

// transient says whether reading may go on after err: ICMP errors of earlier
// sends are reported to later reads.
func transient(err error) bool {
	var no unix.Errno
	return errors.As(err, &no) && no != unix.EBADF && no != unix.ENOTSOCK && no != unix.EFAULT && no != unix.EINVAL
}
