package tftp

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// outboxSize is what an outbox holds before it must send: a batch of single
// blocks, or some windows.
const outboxSize = 256 << 10

// An outbox collects packets for a socket and sends them in one call
// (sendmmsg(2)). A window is one message, which the kernel cuts into packets
// (UDP_SEGMENT), where it can.
type outbox struct {
	sock  *socket
	now   time.Time // when what is answered came
	arena []byte
	used  int
	n     int
	heads [batch]unix.Mmsghdr
	iovs  [batch]unix.Iovec
	cuts  [batch]cut
	read  []byte // room for what is read before it is cut into blocks
}

// A cut is what a message becomes if the kernel does not cut it.
type cut struct {
	segment int
	to      *route
}

// A route is the way to one client: its address, ours, and how large packets
// are. It does not change.
type route struct {
	peer    *address
	plain   []byte // control message with our address
	cut     []byte // the same, with the segment size
	segment int
}

func newOutbox(s *socket) *outbox {
	return &outbox{sock: s, arena: make([]byte, outboxSize), read: make([]byte, chunk)}
}

// room is where the next size bytes to be sent are to be written. Size is at
// most chunk.
func (o *outbox) room(size int) []byte {
	if o.n == batch || o.used+size > len(o.arena) {
		o.flush()
	}
	return o.arena[o.used : o.used+size]
}

// add sends p, which begins what room returned, as packets of to.segment bytes.
func (o *outbox) add(p []byte, to *route) {
	o.used += len(p)
	step := to.segment * min(maxSegments, max(1, maxSend/to.segment))
	if o.sock.whole.Load() {
		step = to.segment
	}
	for {
		n := min(step, len(p))
		o.message(p[:n], to)
		if p = p[n:]; len(p) == 0 {
			return
		}
	}
}

func (o *outbox) message(p []byte, to *route) {
	if o.n == batch {
		used := o.used
		o.flush()
		o.used = used // what is left of p is still to be sent
	}
	h := &o.heads[o.n].Hdr
	iov := &o.iovs[o.n]
	iov.Base = &p[0]
	iov.SetLen(len(p))
	h.Iov = iov
	h.SetIovlen(1)
	h.Name = (*byte)(unsafe.Pointer(&to.peer.sa))
	h.Namelen = to.peer.size
	control := to.plain
	if len(p) > to.segment {
		control = to.cut
	}
	h.Control = nil
	if len(control) > 0 {
		h.Control = &control[0]
	}
	h.SetControllen(len(control))
	o.cuts[o.n] = cut{to.segment, to}
	o.n++
}

// flush sends what was added. What the network refuses is lost, like what it
// loses; a window that cannot be cut by the kernel is sent packet by packet.
func (o *outbox) flush() {
	for done := 0; done < o.n; {
		n, no := o.sock.sendBatch(o.heads[done:o.n])
		done += n
		if no != 0 && done < o.n {
			o.refused(done, no)
			done++
		}
	}
	o.n, o.used = 0, 0
}

// refused looks after a message that the kernel did not take: it or the
// interface cannot cut (EIO, EOPNOTSUPP; for good), or a packet would not fit the
// path's MTU (EINVAL, EMSGSIZE; this time).
func (o *outbox) refused(i int, no unix.Errno) {
	p := unsafe.Slice(o.iovs[i].Base, o.iovs[i].Len)
	c := o.cuts[i]
	if len(p) <= c.segment {
		return
	}
	switch no {
	case unix.EIO, unix.EOPNOTSUPP, unix.ENOPROTOOPT:
		o.sock.whole.Store(true)
	case unix.EINVAL, unix.EMSGSIZE:
	default:
		return
	}
	for len(p) > 0 {
		n := min(c.segment, len(p))
		o.sock.send(p[:n], c.to)
		p = p[n:]
	}
}
