package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlSize is more than what comes with a datagram of which WantOrigin asks.
const controlSize = 64

// An Inbox is datagrams that came together. All that the call of the kernel
// points to is in it and stays where it is; what its methods return is good until
// the next Receive into it. One goroutine uses it at a time.
type Inbox struct {
	came  int
	fault unix.Errno
	size  int
	heads [Batch]unix.Mmsghdr
	iovs  [Batch]unix.Iovec
	names [Batch]Address
	oobs  [Batch][controlSize]byte
	bufs  []byte
}

// NewInbox makes room for datagrams of a size; longer ones are cut off.
func NewInbox(size int) *Inbox {
	in := &Inbox{size: size, bufs: make([]byte, Batch*size)}
	for i := range in.heads {
		point(&in.iovs[i], in.bufs[i*size:(i+1)*size])
		h := &in.heads[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Namelen = unix.SizeofSockaddrInet6
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
		h.Control = &in.oobs[i][0]
		h.SetControllen(controlSize)
	}
	return in
}

// take reads what there is. False: there is nothing.
func (in *Inbox) take(fd int) bool {
	in.clear()
	in.came, in.fault = call(fd, unix.SYS_RECVMMSG, in.heads[:])
	return in.fault != unix.EAGAIN
}

// clear makes room again: the kernel wrote lengths over those that were offered.
func (in *Inbox) clear() {
	for i := range in.came {
		h := &in.heads[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
	}
	in.came = 0
}

// Len is how many there are.
func (in *Inbox) Len() int { return in.came }

// Message is datagram i.
func (in *Inbox) Message(i int) []byte {
	at := i * in.size
	return in.bufs[at : at+int(in.heads[i].Len) : at+in.size]
}

// Cut says whether datagram i was longer than there was room for.
func (in *Inbox) Cut(i int) bool { return in.heads[i].Hdr.Flags&unix.MSG_TRUNC != 0 }

// Sender is who sent datagram i.
func (in *Inbox) Sender(i int) *Address { return &in.names[i] }

// Origin is where datagram i came in: our address there, which is our own also
// where it was a broadcast, and the interface's index. The zero Addr and 0: it is
// not known, since nobody wanted it.
func (in *Inbox) Origin(i int) (local netip.Addr, index int) {
	c, data := in.control(i)
	switch {
	case isInfo4(c, data):
		local, index = netip.AddrFrom4([4]byte(data[4:8])), int(binary.NativeEndian.Uint32(data))
	case isInfo6(c, data):
		local, index = netip.AddrFrom16([16]byte(data)).Unmap(), int(binary.NativeEndian.Uint32(data[16:]))
	}
	if local.IsUnspecified() {
		local = netip.Addr{}
	}
	return local, index
}

// Back is the way back to the sender of datagram i, from the address that it
// was sent to. The interface is left to the routing table, but for link-local
// addresses, which need it. Origin has to be asked before.
func (in *Inbox) Back(i int) Way {
	w := Way{To: &in.names[i]}
	c, data := in.control(i)
	switch {
	case isInfo4(c, data):
		binary.NativeEndian.PutUint32(data, 0)
	case isInfo6(c, data):
		if data[0] != 0xfe || data[1]&0xc0 != 0x80 {
			binary.NativeEndian.PutUint32(data[16:], 0)
		}
	default:
		return w
	}
	w.Control = in.oobs[i][:in.heads[i].Hdr.Controllen]
	return w
}

// control is the control message of datagram i, of which WantOrigin has it bring
// one; nil if there is none.
func (in *Inbox) control(i int) (*unix.Cmsghdr, []byte) {
	oob := in.oobs[i][:in.heads[i].Hdr.Controllen]
	if len(oob) < unix.CmsgLen(0) {
		return nil, nil
	}
	return (*unix.Cmsghdr)(unsafe.Pointer(&oob[0])), oob[unix.CmsgLen(0):]
}

func isInfo4(c *unix.Cmsghdr, data []byte) bool {
	return c != nil && c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo
}

func isInfo6(c *unix.Cmsghdr, data []byte) bool {
	return c != nil && c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo
}
