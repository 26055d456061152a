package dns

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// largestParcel is less than a datagram's limit, whatever the headers.
	largestParcel = 65000
	// mix is odd and without a pattern: the upper bits of a product with it
	// depend on all bits of what it is multiplied with.
	mix = 0x9e3779b97f4a7c15
)

// A letter is an answer and where it goes: by the address and the control
// message of its question, as they came.
type letter struct {
	msg  []byte
	to   *unix.RawSockaddrInet6
	back []byte
}

// An outbox is answers that leave together: one call of the kernel for many
// (sendmmsg(2)), and in that one message for those that go the same way, which
// the kernel cuts into packets when most of its work is done (UDP_SEGMENT). That
// takes packets of one size, but for the last, which may be shorter: what a
// resolver asks from one socket, or the A and AAAA of one name.
type outbox struct {
	sock  *socket
	whole bool // the kernel does not cut for us; before 4.18 it would send one long packet

	letters [batchSize]letter
	order   [batchSize]uint64 // one for each letter: whose way, how short, which one
	n       int
	heads   [batchSize]unix.Mmsghdr
	iovs    [batchSize]unix.Iovec // of the letters in order
	cuts    [batchSize][96]byte   // control messages: a question's and the size
}

func newOutbox(s *socket) *outbox {
	_, err := unix.GetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	return &outbox{sock: s, whole: err != nil}
}

// add puts a letter in. There is room for batchSize.
func (o *outbox) add(l letter) {
	o.letters[o.n] = l
	way := uint64(l.to.Port)<<32 | uint64(l.to.Flowinfo) // which for IPv4 is its address
	way ^= binary.NativeEndian.Uint64(l.to.Addr[8:])
	if len(l.back) >= 32 {
		way = way*mix ^ binary.NativeEndian.Uint64(l.back[16:]) ^ binary.NativeEndian.Uint64(l.back[24:])
	}
	way *= mix
	short := uint64(2047 - min(len(l.msg), 2047)) // 11 bits, above the letter's 6
	o.order[o.n] = way&^(1<<17-1) | short<<6 | uint64(o.n)
	o.n++
}

// flush sends the letters. One that cannot be sent is left out, for the asker
// asks again, and why is returned.
func (o *outbox) flush() (fault unix.Errno) {
	for heads := o.pack(); len(heads) > 0; {
		n, no := o.sock.send(heads)
		heads = heads[n:]
		if no != 0 && len(heads) > 0 {
			fault = o.refused(&heads[0].Hdr, no)
			heads = heads[1:]
		}
	}
	o.n = 0
	return fault
}

// pack makes messages of the letters.
func (o *outbox) pack() []unix.Mmsghdr {
	order := o.order[:o.n]
	slices.Sort(order)
	n := 0
	var p parcel
	for i, key := range order {
		l, iov := &o.letters[key%batchSize], &o.iovs[i]
		iov.Base = &l.msg[0]
		iov.SetLen(len(l.msg))
		if !o.whole && p.takes(l) {
			p.join(l, &o.cuts[n-1])
			continue
		}
		p = parcel{letter: l, head: &o.heads[n].Hdr, count: 1, octets: len(l.msg), last: len(l.msg)}
		p.address(iov)
		n++
	}
	return o.heads[:n]
}

// refused looks after a message that the kernel did not take: it or the
// interface cannot cut (EIO, EOPNOTSUPP), or a packet would not fit the path's
// MTU (EINVAL, EMSGSIZE).
func (o *outbox) refused(h *unix.Msghdr, no unix.Errno) unix.Errno {
	if h.Iovlen == 1 {
		return no
	}
	if no == unix.EIO || no == unix.EOPNOTSUPP {
		o.whole = true
	}
	no = 0
	one := []unix.Mmsghdr{{Hdr: *h}}
	one[0].Hdr.SetIovlen(1)
	one[0].Hdr.SetControllen(int(h.Controllen) - unix.CmsgSpace(2))
	for i := range int(h.Iovlen) {
		one[0].Hdr.Iov = (*unix.Iovec)(unsafe.Add(unsafe.Pointer(h.Iov), i*int(unsafe.Sizeof(unix.Iovec{}))))
		if _, err := o.sock.send(one); err != 0 {
			no = err
		}
	}
	return no
}

// A parcel is a message being made: one letter, or some that go the same way.
type parcel struct {
	*letter // the first
	head    *unix.Msghdr
	count   int
	octets  int
	last    int // octets of the last letter
}

func (p *parcel) address(iov *unix.Iovec) {
	h := p.head
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(p.to)), unix.SizeofSockaddrInet6
	if p.to.Family == unix.AF_INET {
		h.Namelen = unix.SizeofSockaddrInet4
	}
	h.Iov = iov
	h.SetIovlen(1)
	h.Control = nil
	if len(p.back) > 0 {
		h.Control = &p.back[0]
	}
	h.SetControllen(len(p.back))
}

// takes says whether a letter may be the next: the last one was not shorter
// than the first, and this one is not longer.
func (p *parcel) takes(l *letter) bool {
	return p.letter != nil && p.last == len(p.msg) && len(l.msg) <= p.last && p.octets+len(l.msg) <= largestParcel &&
		*p.to == *l.to && bytes.Equal(p.back, l.back)
}

func (p *parcel) join(l *letter, control *[96]byte) {
	p.count++
	p.last = len(l.msg)
	p.octets += p.last
	p.head.SetIovlen(p.count)
	if p.count > 2 {
		return
	}
	at := copy(control[:], p.back)
	c := (*unix.Cmsghdr)(unsafe.Pointer(&control[at]))
	c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	c.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(control[at+unix.CmsgLen(0):], uint16(len(p.msg)))
	p.head.Control = &control[0]
	p.head.SetControllen(at + unix.CmsgSpace(2))
}
