package dns

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An inbox is questions that came together: one call of the kernel for many
// (recvmmsg(2)). All that the call points to is in it and stays where it is.
type inbox struct {
	came  int // how many there are
	heads [batchSize]unix.Mmsghdr
	iovs  [batchSize]unix.Iovec
	names [batchSize]unix.RawSockaddrInet6
	oobs  [batchSize][64]byte
	bufs  [batchSize][largestQuery]byte
}

func newInbox() *inbox {
	in := &inbox{}
	for i := range in.heads {
		in.iovs[i].Base = &in.bufs[i][0]
		in.iovs[i].SetLen(largestQuery)
		h := &in.heads[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Namelen = unix.SizeofSockaddrInet6
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
		h.Control = &in.oobs[i][0]
		h.SetControllen(len(in.oobs[i]))
	}
	return in
}

// take reads what there is. False: there is nothing.
func (in *inbox) take(fd int) bool {
	for i := range in.came { // the kernel wrote lengths over those that were offered
		h := &in.heads[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(len(in.oobs[i]))
	}
	var fault unix.Errno
	in.came, fault = call(fd, unix.SYS_RECVMMSG, in.heads[:])
	return fault != unix.EAGAIN // others are ICMP errors about earlier answers
}

func (in *inbox) message(i int) []byte { return in.bufs[i][:in.heads[i].Len] }

// from is who asks question i.
func (in *inbox) from(i int) netip.Addr {
	sa := &in.names[i]
	if sa.Family == unix.AF_INET {
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr)
	}
	a := netip.AddrFrom16(sa.Addr).Unmap()
	if sa.Scope_id != 0 && a.Is6() {
		return a.WithZone(strconv.Itoa(int(sa.Scope_id)))
	}
	return a
}

// source makes of the control message that came with question i the one by
// which the answer leaves from the address that was asked; nothing where the
// socket has only one. The interface is left to the routing table, but for
// link-local addresses, which need it.
func (in *inbox) source(i int) []byte {
	oob := in.oobs[i][:in.heads[i].Hdr.Controllen]
	if len(oob) < unix.SizeofCmsghdr {
		return nil
	}
	c, data := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0])), oob[unix.CmsgLen(0):]
	switch {
	case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		binary.NativeEndian.PutUint32(data, 0)
	case c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		if data[0] != 0xfe || data[1]&0xc0 != 0x80 {
			binary.NativeEndian.PutUint32(data[16:], 0)
		}
	default:
		return nil
	}
	return oob
}
