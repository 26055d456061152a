package tftp

import (
	"time"

	"margay/netboot/udp"
)

// outboxSize is what an outbox holds before it must send: a batch of single
// blocks, or some windows.
const outboxSize = 256 << 10

// An outbox collects blocks for a socket and sends them together. A window is
// one message, which the kernel cuts into packets, where it can.
type outbox struct {
	mail  *udp.Outbox
	now   time.Time // when what is answered came
	arena []byte
	used  int
	read  []byte // room for what is read before it is cut into blocks
}

// A route is the way to one client, and how large packets are. It does not
// change.
type route struct {
	udp.Way
	segment int
}

func newOutbox(s *socket) *outbox {
	return &outbox{mail: udp.NewOutbox(s.Socket), arena: make([]byte, outboxSize), read: make([]byte, chunk)}
}

// room is where the next size bytes to be sent are to be written. Size is at
// most chunk.
func (o *outbox) room(size int) []byte {
	if o.mail.Full() || o.used+size > len(o.arena) {
		o.flush()
	}
	return o.arena[o.used : o.used+size]
}

// add sends p, which begins what room returned, as packets of to.segment bytes.
func (o *outbox) add(p []byte, to *route) {
	o.used += len(p)
	o.mail.Add(p, to.segment, &to.Way)
}

// flush sends what was added. What the network refuses is lost, like what it
// loses.
func (o *outbox) flush() {
	_ = o.mail.Flush()
	o.used = 0
}
