package dns

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// largestQuery is more than any question by UDP; what is longer is cut off
	// and so not understood.
	largestQuery = 1232
	// inHand is how many questions may wait for an upstream at once.
	inHand = 512
	// maxReaders is how many may read one socket: each answers 200,000 a second.
	maxReaders = 8
	// batchSize is how many questions come, or answers leave, in one call.
	batchSize = 64
)

// serveUDP has each socket read by one goroutine, and by more of them, up to
// one for each processor, while it has more than that one can take. What the
// table knows they answer at once; what has to be asked elsewhere gets a
// goroutine of its own, of which there are not more than inHand.
func (s *Server) serveUDP(ctx context.Context, c *Conn) error {
	defer context.AfterFunc(ctx, func() {
		for _, u := range c.udp {
			u.wake()
		}
	})()
	slots := make(chan struct{}, inHand)
	var readers, waiting sync.WaitGroup
	for _, u := range c.udp {
		wanted := make(chan struct{}, 1)
		more := func() *reader { return newReader(s, u, slots, &waiting, wanted) }
		readers.Go(func() { more().read(ctx) })
		for range min(runtime.GOMAXPROCS(0), maxReaders) - 1 {
			readers.Go(func() { help(ctx, wanted, more) })
		}
	}
	readers.Wait()
	waiting.Wait()
	var err error
	for _, u := range c.udp {
		err = errors.Join(err, u.Close())
	}
	return err
}

// A reader answers what comes to a socket.
type reader struct {
	s       *Server
	sock    *socket
	in      *inbox
	out     *outbox
	room    [batchSize][]byte // for the answers
	queries [batchSize]query
	asked   [batchSize]*query // each of them
	slots   chan struct{}     // holds one for each question that waits
	waiting *sync.WaitGroup   // for those
	wanted  chan struct{}     // holds one when another reader would help
}

func newReader(s *Server, sock *socket, slots chan struct{}, waiting *sync.WaitGroup, wanted chan struct{}) *reader {
	r := &reader{s: s, sock: sock, in: newInbox(), out: newOutbox(sock), slots: slots, waiting: waiting, wanted: wanted}
	for i := range r.room {
		r.room[i] = make([]byte, 0, 1500)
		r.asked[i] = &r.queries[i]
	}
	return r
}

// read answers a batch after the other, until the socket is closed.
func (r *reader) read(ctx context.Context) {
	for r.batch(ctx) {
	}
}

// help reads along while batches are full, with a reader that is made when it
// is wanted first.
func help(ctx context.Context, wanted <-chan struct{}, more func() *reader) {
	var r *reader
	for {
		select {
		case <-ctx.Done():
			return
		case <-wanted:
		}
		if r == nil {
			r = more()
		}
		for r.batch(ctx) && r.in.came == batchSize {
		}
	}
}

// batch answers what came together. False: the socket is closed.
func (r *reader) batch(ctx context.Context) bool {
	if !r.sock.receive(r.in) {
		return false
	}
	if r.in.came == batchSize {
		select {
		case r.wanted <- struct{}{}:
		default:
		}
	}
	for i := range r.in.came {
		_ = r.asked[i].read(r.in.message(i))
	}
	m := r.s.moment() // after they came: what was changed before is in it
	m.find(r.asked[:r.in.came]...)
	for i := range r.in.came {
		r.question(ctx, m, i)
	}
	if no := r.out.flush(); no != 0 {
		r.s.log().Debug("dns: cannot send", "err", no)
	}
	return true
}

// question puts the answer to question i into the outbox, or has it come later.
func (r *reader) question(ctx context.Context, m moment, i int) {
	from, q := r.in.from(i), r.asked[i]
	msg, v := r.s.respond(m, r.room[i], from, 0, q)
	switch v {
	case silent:
		return
	case whole:
		msg = r.s.transferUDP(r.room[i], q, from)
	case later, change:
		select {
		case r.slots <- struct{}{}:
		default:
			r.s.count.dropped.Add(1) // the asker asks again
			return
		}
		raw, to, back := bytes.Clone(r.in.message(i)), r.in.names[i], bytes.Clone(r.in.source(i))
		r.waiting.Add(1)
		go func() {
			defer func() { <-r.slots; r.waiting.Done() }()
			if v == change {
				r.send(letter{r.s.update(ctx, raw), &to, back})
				return
			}
			r.send(letter{r.s.passOn(ctx, raw, 0), &to, back})
		}()
		return
	}
	r.room[i] = msg[:0] // it may have grown
	r.out.add(letter{msg, &r.in.names[i], r.in.source(i)})
}

// send sends one answer that others did not wait for.
func (r *reader) send(l letter) {
	if len(l.msg) == 0 {
		return
	}
	head := make([]unix.Mmsghdr, 1)
	iov := unix.Iovec{Base: &l.msg[0]}
	iov.SetLen(len(l.msg))
	p := parcel{letter: &l, head: &head[0].Hdr}
	p.address(&iov)
	if _, no := r.sock.send(head); no != 0 {
		r.s.log().Debug("dns: cannot send", "err", no)
	}
}
