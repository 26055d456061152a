package udp

import "slices"

// A Pile is single datagrams that leave together, in any order. Those that go
// the same way become one message, which takes packets of one size, but for the
// last, which may be shorter: what a resolver asks from one socket, or the A and
// AAAA of one name. What it is given must stay as it is until it is flushed. One
// goroutine uses it at a time.
type Pile struct {
	out     *Outbox
	letters [Batch]letter
	order   [Batch]uint64 // one for each letter: whose way, how short, which one
	n       int
}

type letter struct {
	msg []byte
	Way
}

// NewPile makes a pile for a socket.
func NewPile(s *Socket) *Pile { return &Pile{out: NewOutbox(s)} }

// Len is how many there are. There is room for Batch of them.
func (p *Pile) Len() int { return p.n }

// Add puts a datagram in.
func (p *Pile) Add(msg []byte, w Way) {
	p.letters[p.n] = letter{msg, w}
	short := uint64(2047 - min(len(msg), 2047)) // 11 bits, above the letter's 6
	p.order[p.n] = w.hash()&^(1<<17-1) | short<<6 | uint64(p.n)
	p.n++
}

// Flush sends the datagrams, as Outbox.Flush does.
func (p *Pile) Flush() error {
	p.pack()
	p.n = 0
	return p.out.Flush()
}

// pack makes messages of the letters.
func (p *Pile) pack() {
	order, whole := p.order[:p.n], !p.out.sock.Cuts()
	slices.Sort(order)
	var q parcel
	for _, key := range order {
		l := &p.letters[key%Batch]
		if !whole && q.takes(l) {
			q.last = len(l.msg)
			q.octets += q.last
			p.out.join(l.msg, &l.Way)
			continue
		}
		q = parcel{letter: l, octets: len(l.msg), last: len(l.msg)}
		p.out.message(l.msg, len(l.msg), &l.Way)
	}
}

// A parcel is a message being made: one letter, or some that go the same way.
type parcel struct {
	*letter // the first
	octets  int
	last    int // octets of the last letter
}

// takes says whether a letter may be the next: the last one was not shorter
// than the first, and this one is not longer.
func (q *parcel) takes(l *letter) bool {
	return q.letter != nil && q.last == len(q.msg) && len(l.msg) <= q.last && len(l.msg) > 0 && q.octets+len(l.msg) <= maxMessage && q.same(&l.Way)
}
