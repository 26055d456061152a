package tftp

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"margay/netboot"
)

// errStopped ends a transfer of which nothing is to be told: refused, replaced
// by a newer request, or never begun.
var errStopped = errors.New("stopped")

// lateCopy is how long after a client's last block a copy of its request is
// taken for a late one. A machine that begins anew was restarted meanwhile.
const lateCopy = time.Second

// deafTries is how often the first packet is sent to a client that never
// answered. The address may be forged: what it gets must stay small.
const deafTries = 5

// A transfer is one file on its way to one client port. It has no goroutine:
// acknowledgements and its timer move it on.
//
// Blocks are counted from 1 without rolling over; 0 is the OACK. Blocks base to
// next-1 are under way, all before base are acknowledged.
type transfer struct {
	l       *listener
	sock    *socket
	asked   string // the request as it came, to know its copies
	peer    netip.AddrPort
	machine netboot.Machine
	name    string

	mu    sync.Mutex // guards the rest
	done  bool
	file  *netboot.File // nil until opened
	data  io.ReaderAt
	terms terms
	oack  []byte
	to    *route
	last  int64 // number of the last block

	base, next int64
	began      time.Time
	told       bool      // the start has been told
	heard      time.Time // when the client last moved on
	sent       time.Time // when the window left
	again      bool      // the window was sent before: its answer times nothing (Karn)
	tries      int       // retransmissions since the client moved on
	rtt        rtt

	timer *time.Timer
	due   time.Time // when to retransmit
	armed time.Time // when the timer fires; not after due
}

// start begins to send f, which the transfer closes.
func (t *transfer) start(f *netboot.File, agreed terms) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		f.Body.Close()
		return
	}
	t.file, t.data, t.terms = f, readerAt(f.Body), agreed
	t.oack = oackPacket(agreed.agreed)
	t.to = t.sock.route(t.machine.Local, t.peer, agreed.block+header)
	t.last = f.Size/int64(agreed.block) + 1 // a short block ends the file, be it empty
	t.began = time.Now()
	t.heard = t.began
	if t.oack == nil {
		t.base = 1
		t.tell()
	}
	t.timer = time.AfterFunc(time.Hour, t.expire)
	t.armed = t.began.Add(time.Hour)
	t.sock.sending(t.send)
}

// tell reports the start, once. A client that only wants the size never gets
// so far: UEFI and mboot ask for tsize, break off after the OACK, and ask again.
func (t *transfer) tell() {
	if t.told {
		return
	}
	t.told = true
	t.l.s.observe(netboot.Event{
		Step: netboot.StepFile, Machine: t.machine, Node: t.file.Node, Name: t.title(), Size: t.file.Size,
	})
}

func (t *transfer) title() string {
	if t.file != nil && t.file.Name != "" {
		return t.file.Name
	}
	return t.name
}

// ack takes an acknowledgement of block n, modulo 65536.
func (t *transfer) ack(n uint16, out *outbox) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done || t.file == nil {
		return
	}
	moved := int64(n - uint16(t.base-1))
	if moved > t.next-t.base {
		return // of a window long gone
	}
	now := out.now
	if moved == 0 {
		t.duplicate(now, out)
		return
	}
	if moved == t.next-t.base && !t.again {
		t.rtt.sample(now.Sub(t.sent))
	}
	t.base += moved
	t.heard, t.tries, t.again = now, 0, false
	t.tell()
	if t.base > t.last {
		t.end(nil)
		return
	}
	t.send(out) // where blocks are missing, from the first of them (RFC 7440 4)
}

// duplicate takes another acknowledgement of what is acknowledged: the first
// block of the window is lost, or this is a late copy. To answer copies would
// double every packet from here on (RFC 1123 4.2.3.1), and a client that misses
// a block says so for each that follows it. What can be an answer to the window
// that is under way is therefore taken once in a round trip.
func (t *transfer) duplicate(now time.Time, out *outbox) {
	wait := t.rtt.mean
	if t.terms.window == 1 {
		wait = t.rtt.rto(0, t.longest())
	}
	if !t.rtt.known || now.Sub(t.sent) < wait {
		return
	}
	t.again = true
	t.send(out)
}

// repeat answers a copy of the request that began t, and says whether it was
// one. A client that already took blocks and asks again begins anew; but a copy
// that the network made, or held back, must not end what is well under way.
func (t *transfer) repeat(asked string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return false
	}
	if asked == t.asked && (t.file == nil || !t.told || t.oack == nil && t.base == 1) {
		if t.file != nil && time.Since(t.sent) > leastRTO {
			t.again = true
			t.sock.sending(t.send)
		}
		return true
	}
	if asked == t.asked && time.Since(t.heard) < lateCopy {
		return true
	}
	t.end(errors.New("asked for anew"))
	return false
}

// abort takes an ERROR from the client. Before the first acknowledgement it is
// how firmware ends its question for the size.
func (t *transfer) abort(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done || t.file == nil {
		return
	}
	if !t.told || t.oack == nil && t.base == 1 {
		t.end(errStopped)
		return
	}
	code, text := errorText(p)
	t.end(fmt.Errorf("the client broke off: error %d %q", code, text))
}

// expire is called by the timer. It is armed for the earliest time that could
// be due, not anew for every packet.
func (t *transfer) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	now := time.Now()
	if wait := t.due.Sub(now); wait > 0 {
		t.arm(now, wait)
		return
	}
	silence := t.silence()
	switch {
	case now.Sub(t.heard) >= silence && t.next > t.last && t.base > 0:
		t.end(nil) // all has left; the last acknowledgement is often lost or never sent
		return
	case now.Sub(t.heard) >= silence:
		t.end(errGone(silence))
		return
	case !t.rtt.known && t.tries >= deafTries:
		t.end(errGone(now.Sub(t.heard)))
		return
	}
	t.tries++
	t.again = true
	t.sock.sending(t.send)
	t.arm(now, t.due.Sub(now))
}

// silence is how long the client may say nothing.
func (t *transfer) silence() time.Duration {
	d := t.l.s.Silence
	if d <= 0 {
		d = DefaultSilence
	}
	return max(d, 5*t.terms.timeout)
}

// longest is the upper bound of the retransmission timer. RFC 2349 has the
// server wait for the agreed timeout; we never wait longer, and less where the
// round trip is known.
func (t *transfer) longest() time.Duration {
	if t.terms.timeout > 0 {
		return t.terms.timeout
	}
	return longestRTO
}

// send sends the window that begins at base.
func (t *transfer) send(out *outbox) {
	t.sent = out.now
	wait := t.rtt.rto(t.tries, t.longest())
	t.due = t.sent.Add(wait)
	if t.due.Before(t.armed) {
		t.arm(t.sent, wait)
	}
	if t.base == 0 {
		t.next = 1
		t.sock.send(t.oack, t.to)
		return
	}
	n := min(int64(t.terms.window), t.last-t.base+1)
	t.next = t.base + n
	if err := t.sendBlocks(t.base, n, out); err != nil {
		t.sock.send(errorPacket(codeOther, "server error"), t.to)
		t.l.s.log().Error("tftp: file does not read", "addr", t.machine.Addr, "file", t.title(), "err", err)
		t.end(fmt.Errorf("%s: %v", t.title(), err))
	}
}

func (t *transfer) arm(now time.Time, wait time.Duration) {
	t.armed = now.Add(wait)
	t.timer.Reset(wait)
}

// finish is end for those who do not hold the lock.
func (t *transfer) finish(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.done {
		t.end(err)
	}
}

// end closes the file, frees the place and tells of the end, if the start was
// told.
func (t *transfer) end(err error) {
	t.done = true
	if t.timer != nil {
		t.timer.Stop()
	}
	t.l.s.leave(t)
	if t.file == nil {
		return
	}
	t.file.Body.Close()
	if !t.told || errors.Is(err, errStopped) && t.base <= 1 {
		return
	}
	bytes := min(max(t.base-1, 0)*int64(t.terms.block), t.file.Size)
	if err != nil {
		t.l.s.log().Warn("tftp: not sent whole", "node", t.file.Node, "addr", t.machine.Addr,
			"file", t.title(), "bytes", bytes, "size", t.file.Size, "err", err)
	} else {
		bytes = t.file.Size
	}
	t.l.s.observe(netboot.Event{
		Step: netboot.StepFile, Machine: t.machine, Node: t.file.Node, Name: t.title(),
		Bytes: bytes, Size: t.file.Size, Done: true, Took: time.Since(t.began), Err: err,
	})
}
