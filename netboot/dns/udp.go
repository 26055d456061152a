package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// largestQuery is more than any question by UDP; what is longer is cut off
	// and so not understood.
	largestQuery = 1232
	// inHand is how many questions may wait for an upstream at once.
	inHand = 512
)

// serveUDP reads with as many goroutines as there are processors. What the
// table knows they answer at once; what has to be asked elsewhere gets a
// goroutine of its own, of which there are not more than inHand.
func (s *Server) serveUDP(ctx context.Context, c *Conn) error {
	defer context.AfterFunc(ctx, func() { c.udp.Close() })()
	slots := make(chan struct{}, inHand)
	var readers, waiting sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for i := range errs {
		readers.Go(func() { errs[i] = s.readUDP(ctx, c, slots, &waiting) })
	}
	readers.Wait()
	waiting.Wait()
	return errors.Join(errs...)
}

// A batch is questions that came together and the answers that leave so: one
// call of the kernel for many.
type batch struct {
	in, out []ipv4.Message
	room    [][]byte // for the answers
}

const batchSize = 32

func newBatch() *batch {
	b := &batch{in: make([]ipv4.Message, batchSize), out: make([]ipv4.Message, 0, batchSize), room: make([][]byte, batchSize)}
	for i := range b.in {
		b.in[i].Buffers = [][]byte{make([]byte, largestQuery)}
		b.in[i].OOB = make([]byte, 64)
		b.room[i] = make([]byte, 0, 1500)
	}
	return b
}

// readUDP answers a batch after the other.
func (s *Server) readUDP(ctx context.Context, c *Conn, slots chan struct{}, waiting *sync.WaitGroup) error {
	p := ipv4.NewPacketConn(c.udp) // what it does in batches it does for IPv6 too
	b := newBatch()
	for {
		n, err := p.ReadBatch(b.in, 0)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			continue // an ICMP error about an earlier answer
		}
		b.out = b.out[:0]
		for i := range b.in[:n] {
			s.question(ctx, c, b, i, slots, waiting)
		}
		s.flush(p, b.out)
	}
}

// question puts the answer to a question into the batch, or has it come later.
func (s *Server) question(ctx context.Context, c *Conn, b *batch, i int, slots chan struct{}, waiting *sync.WaitGroup) {
	m := &b.in[i]
	to, ok := m.Addr.(*net.UDPAddr)
	if !ok {
		return
	}
	var q query
	raw, from, back := m.Buffers[0][:m.N], to.AddrPort(), source(m.OOB[:m.NN])
	msg, v := s.reply(b.room[i], raw, from.Addr(), 0, &q)
	switch v {
	case silent:
		return
	case whole:
		msg = s.transferUDP(b.room[i], &q, from.Addr())
	case later, change:
		select {
		case slots <- struct{}{}:
		default:
			s.count.dropped.Add(1) // the asker asks again
			return
		}
		raw, back = bytes.Clone(raw), bytes.Clone(back)
		waiting.Add(1)
		go func() {
			defer func() { <-slots; waiting.Done() }()
			if v == change {
				s.send(c, s.update(ctx, raw), back, from)
				return
			}
			s.send(c, s.passOn(ctx, raw, 0), back, from)
		}()
		return
	}
	b.room[i] = msg[:0] // it may have grown
	b.out = append(b.out, ipv4.Message{Buffers: [][]byte{msg}, OOB: back, Addr: to})
}

// flush sends answers. One that cannot be sent is left out: the asker asks
// again.
func (s *Server) flush(p *ipv4.PacketConn, out []ipv4.Message) {
	for len(out) > 0 {
		n, err := p.WriteBatch(out, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log().Debug("dns: cannot send", "to", out[0].Addr, "err", err)
			n = max(n, 1)
		}
		out = out[n:]
	}
}

// send sends one answer that others did not wait for.
func (s *Server) send(c *Conn, msg, oob []byte, to netip.AddrPort) {
	if len(msg) == 0 {
		return
	}
	if _, _, err := c.udp.WriteMsgUDPAddrPort(msg, oob, to); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log().Debug("dns: cannot send", "to", to, "err", err)
	}
}

// source makes of the control message that came with a question the one by
// which the answer leaves from the address that was asked. The interface is
// left to the routing table, but for link-local addresses, which need it.
func source(oob []byte) []byte {
	if len(oob) < unix.SizeofCmsghdr {
		return nil // the socket has only one address
	}
	h, data, _, err := unix.ParseOneSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		binary.NativeEndian.PutUint32(data, 0)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		if data[0] != 0xfe || data[1]&0xc0 != 0x80 {
			binary.NativeEndian.PutUint32(data[16:], 0)
		}
	default:
		return nil
	}
	return oob
}
