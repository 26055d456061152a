package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bounds of a message that the kernel cuts into packets (udp(7)).
const (
	maxSegments = 64    // UDP_MAX_SEGMENTS
	maxMessage  = 65000 // less than a datagram's limit, whatever the headers
)

// An Outbox is datagrams that leave together. What it is given must stay as it
// is until it is flushed. One goroutine uses it at a time.
type Outbox struct {
	sock     *Socket
	n        int // messages
	used     int // iovecs
	heads    [Batch]unix.Mmsghdr
	segments [Batch]int // how long the packets are that messages become
	iovs     [Batch]unix.Iovec
	controls [Batch][controlSize + 32]byte // a way's and the size
}

// NewOutbox makes an outbox of a socket.
func NewOutbox(s *Socket) *Outbox { return &Outbox{sock: s} }

// Full says whether what is added next has others leave before.
func (o *Outbox) Full() bool { return o.used == Batch }

// Add puts datagrams in that lie one behind the other, of segment octets each,
// but for the last, which may be shorter. They leave in order.
func (o *Outbox) Add(p []byte, segment int, w *Way) {
	step := segment
	if o.sock.Cuts() {
		step = segment * min(maxSegments, max(1, maxMessage/segment))
	}
	for {
		n := min(step, len(p))
		o.message(p[:n], segment, w)
		if p = p[n:]; len(p) == 0 {
			return
		}
	}
}

// message puts one message in.
func (o *Outbox) message(p []byte, segment int, w *Way) {
	if o.Full() {
		o.Flush()
	}
	h, iov := &o.heads[o.n].Hdr, &o.iovs[o.used]
	point(iov, p)
	w.address(h, iov)
	o.segments[o.n] = segment
	o.n++
	o.used++
	if len(p) > segment {
		o.cut(w)
	}
}

// join puts a further datagram into the last message, of the same way. There
// must be room.
func (o *Outbox) join(p []byte, w *Way) {
	h := &o.heads[o.n-1].Hdr
	point(&o.iovs[o.used], p)
	o.used++
	h.SetIovlen(int(h.Iovlen) + 1)
	if h.Iovlen == 2 {
		o.cut(w)
	}
}

// cut has the kernel make packets of the last message.
func (o *Outbox) cut(w *Way) {
	h, room := &o.heads[o.n-1].Hdr, &o.controls[o.n-1]
	var size [2]byte
	binary.NativeEndian.PutUint16(size[:], uint16(o.segments[o.n-1]))
	at := copy(room[:controlSize], w.Control)
	at += putControl(room[at:], unix.SOL_UDP, unix.UDP_SEGMENT, size[:])
	h.Control = &room[0]
	h.SetControllen(at)
}

// Flush sends what was added. What cannot be sent is left out, like what the
// network loses, and why is returned; where the socket has had no room for as long
// as its Patience lasts, that is all of the rest.
func (o *Outbox) Flush() error {
	var fault unix.Errno
	for done := 0; done < o.n; {
		n, no := o.sock.send(o.heads[done:o.n])
		if done += n; no == 0 || done == o.n {
			continue
		}
		if no == unix.EAGAIN {
			fault = no
			break
		}
		if no = o.refused(&o.heads[done].Hdr, o.segments[done], no); no != 0 {
			fault = no
		}
		done++
	}
	o.n, o.used = 0, 0
	return failure(fault)
}

// refused looks after a message that the kernel did not take: it or the
// interface cannot cut (EIO, EOPNOTSUPP, ENOPROTOOPT; for good), or a packet
// would not fit the path's MTU (EINVAL, EMSGSIZE; this time). Then its packets are
// sent one by one.
func (o *Outbox) refused(h *unix.Msghdr, segment int, no unix.Errno) unix.Errno {
	iovs := unsafe.Slice(h.Iov, h.Iovlen)
	if len(iovs) == 1 && int(iovs[0].Len) <= segment {
		return no
	}
	switch no {
	case unix.EIO, unix.EOPNOTSUPP, unix.ENOPROTOOPT:
		o.sock.whole.Store(true)
	case unix.EINVAL, unix.EMSGSIZE:
	default:
		return no
	}
	no = 0
	one, iov := []unix.Mmsghdr{{Hdr: *h}}, unix.Iovec{}
	one[0].Hdr.Iov = &iov
	one[0].Hdr.SetIovlen(1)
	one[0].Hdr.SetControllen(int(h.Controllen) - unix.CmsgSpace(2))
	for _, v := range iovs {
		for p := unsafe.Slice(v.Base, v.Len); len(p) > 0; {
			n := min(segment, len(p))
			point(&iov, p[:n])
			if _, err := o.sock.send(one); err != 0 {
				no = err
			}
			p = p[n:]
		}
	}
	return no
}
