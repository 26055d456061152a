package dns

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"time"

	"margay/netboot/udp"
)

const (
	// largestQuery is more than any question by UDP; what is longer is cut off
	// and so not understood.
	largestQuery = 1232
	// inHand is how many questions may wait for an upstream at once.
	inHand = 512
	// maxReaders is how many may read one socket: each answers 200,000 a second.
	maxReaders = 8
	// nap is how long questions are let come together while they come in crowds.
	nap = 50 * time.Microsecond
	// fullWait is how long an answer waits for room in the socket.
	fullWait = 100 * time.Millisecond
)

// newSocket takes conn over.
func newSocket(conn *net.UDPConn) (*udp.Socket, error) {
	u, err := udp.New(conn)
	if err == nil {
		u.Nap, u.Patience = nap, fullWait
	}
	return u, err
}

// serveUDP has each socket read by one goroutine, and by more of them, up to
// one for each processor, while it has more than that one can take. What the
// table knows they answer at once; what has to be asked elsewhere gets a
// goroutine of its own, of which there are not more than inHand.
func (s *Server) serveUDP(ctx context.Context, c *Conn) error {
	defer context.AfterFunc(ctx, func() {
		for _, u := range c.udp {
			u.Wake()
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
	sock    *udp.Socket
	in      *udp.Inbox
	out     *udp.Pile
	room    [udp.Batch][]byte // for the answers
	queries [udp.Batch]query
	asked   [udp.Batch]*query // each of them
	slots   chan struct{}     // holds one for each question that waits
	waiting *sync.WaitGroup   // for those
	wanted  chan struct{}     // holds one when another reader would help
}

func newReader(s *Server, sock *udp.Socket, slots chan struct{}, waiting *sync.WaitGroup, wanted chan struct{}) *reader {
	r := &reader{s: s, sock: sock, in: udp.NewInbox(largestQuery), out: udp.NewPile(sock), slots: slots, waiting: waiting, wanted: wanted}
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
		for r.batch(ctx) && r.in.Len() == udp.Batch {
		}
	}
}

// batch answers what came together. False: the socket is closed.
func (r *reader) batch(ctx context.Context) bool {
	if err := r.sock.Receive(r.in); errors.Is(err, net.ErrClosed) {
		return false // others are ICMP errors about earlier answers
	}
	if r.in.Len() == udp.Batch {
		select {
		case r.wanted <- struct{}{}:
		default:
		}
	}
	came := r.in.Len()
	for i := range came {
		_ = r.asked[i].read(r.in.Message(i))
	}
	m := r.s.moment() // after they came: what was changed before is in it
	m.find(r.asked[:came]...)
	for i := range came {
		r.question(ctx, m, i)
	}
	if err := r.out.Flush(); err != nil {
		r.s.log().Debug("dns: cannot send", "err", err)
	}
	return true
}

// question puts the answer to question i into the outbox, or has it come later.
func (r *reader) question(ctx context.Context, m moment, i int) {
	from, q := r.in.Sender(i).AddrPort().Addr(), r.asked[i]
	msg, v := r.s.respond(m, r.room[i], from, 0, q)
	switch v {
	case silent:
		return
	case whole:
		msg = r.s.transferUDP(r.room[i], q, from)
	case later, change, signed:
		select {
		case r.slots <- struct{}{}:
		default:
			r.s.count.dropped.Add(1) // the asker asks again
			return
		}
		raw, way := bytes.Clone(r.in.Message(i)), r.in.Back(i).Clone()
		r.waiting.Add(1)
		go func() {
			defer func() { <-r.slots; r.waiting.Done() }()
			switch v {
			case change:
				r.send(r.s.update(ctx, raw), way)
			case signed:
				r.send(r.s.signed(ctx, raw, from, 0), way)
			default:
				r.send(r.s.passOn(ctx, raw, 0), way)
			}
		}()
		return
	}
	r.room[i] = msg[:0] // it may have grown
	r.out.Add(msg, r.in.Back(i))
}

// send sends one answer that others did not wait for.
func (r *reader) send(msg []byte, w udp.Way) {
	if len(msg) == 0 {
		return
	}
	if err := r.sock.Send(msg, w); err != nil {
		r.s.log().Debug("dns: cannot send", "err", err)
	}
}
