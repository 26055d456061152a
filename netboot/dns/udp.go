package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// largestQuery is more than any question by UDP; what is longer is cut off
	// and so not understood.
	largestQuery = 1232
	// inHand is how many questions may wait for an upstream at once.
	inHand = 512
	// maxReaders is how many may read one socket: each answers 150,000 a second.
	maxReaders = 8
	// batchSize is how many questions come, or answers leave, in one call.
	batchSize = 64
)

// serveUDP reads with a goroutine for each processor and socket. What the table
// knows they answer at once; what has to be asked elsewhere gets a goroutine of
// its own, of which there are not more than inHand.
func (s *Server) serveUDP(ctx context.Context, c *Conn) error {
	defer context.AfterFunc(ctx, func() {
		for _, u := range c.udp {
			u.Close()
		}
	})()
	slots := make(chan struct{}, inHand)
	var readers, waiting sync.WaitGroup
	for _, u := range c.udp {
		raw, err := u.SyscallConn()
		if err != nil {
			return err
		}
		for range min(runtime.GOMAXPROCS(0), maxReaders) {
			r := &reader{s: s, conn: u, batch: newBatch(raw), slots: slots, waiting: &waiting}
			readers.Go(func() { r.read(ctx) })
		}
	}
	readers.Wait()
	waiting.Wait()
	return nil
}

// A reader answers what comes to a socket.
type reader struct {
	s       *Server
	conn    *net.UDPConn
	batch   *batch
	query   query           // the one in hand
	slots   chan struct{}   // holds one for each question that waits
	waiting *sync.WaitGroup // for those
}

// read answers a batch after the other, until the socket is closed.
func (r *reader) read(ctx context.Context) {
	for {
		n, err := r.batch.read()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about an earlier answer
		}
		m := r.s.moment() // after they came: what was changed before is in it
		for i := range n {
			r.question(ctx, m, i)
		}
		r.flush()
	}
}

// question puts the answer to question i into the batch, or has it come later.
func (r *reader) question(ctx context.Context, m moment, i int) {
	b := r.batch
	raw, from := b.message(i)
	msg, v := r.s.reply(m, b.room[i], raw, from.Addr(), 0, &r.query)
	switch v {
	case silent:
		return
	case whole:
		msg = r.s.transferUDP(b.room[i], &r.query, from.Addr())
	case later, change:
		select {
		case r.slots <- struct{}{}:
		default:
			r.s.count.dropped.Add(1) // the asker asks again
			return
		}
		raw, back := bytes.Clone(raw), bytes.Clone(b.source(i))
		r.waiting.Add(1)
		go func() {
			defer func() { <-r.slots; r.waiting.Done() }()
			if v == change {
				r.send(r.s.update(ctx, raw), back, from)
				return
			}
			r.send(r.s.passOn(ctx, raw, 0), back, from)
		}()
		return
	}
	b.room[i] = msg[:0] // it may have grown
	b.answer(i, msg)
}

// flush sends the answers. One that cannot be sent is left out: the asker asks
// again.
func (r *reader) flush() {
	b := r.batch
	for at := 0; at < b.ready; {
		n, err := b.write(at)
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			r.s.log().Debug("dns: cannot send", "err", err)
			n = max(n, 1)
		}
		at += n
	}
	b.ready = 0
}

// send sends one answer that others did not wait for.
func (r *reader) send(msg, oob []byte, to netip.AddrPort) {
	if len(msg) == 0 {
		return
	}
	if _, _, err := r.conn.WriteMsgUDPAddrPort(msg, oob, to); err != nil && !errors.Is(err, net.ErrClosed) {
		r.s.log().Debug("dns: cannot send", "to", to, "err", err)
	}
}

// A batch is questions that came together and the answers that leave so: one
// call of the kernel for many (recvmmsg(2), sendmmsg(2)). All that the calls
// point to is in it and stays where it is; an answer goes by the address and
// the control message of its question, as they came.
type batch struct {
	conn syscall.RawConn

	receive, send func(fd uintptr) bool // receiveNow and sendNow, made once
	done          int                   // how many messages the last call took,
	fault         unix.Errno            // or why it took none

	in    [batchSize]unix.Mmsghdr // the first that came have questions
	came  int
	out   [batchSize]unix.Mmsghdr // the first ready ones have answers
	ready int
	sent  int
	iovs  [batchSize]unix.Iovec
	backs [batchSize]unix.Iovec
	names [batchSize]unix.RawSockaddrInet6
	oobs  [batchSize][64]byte
	bufs  [batchSize][largestQuery]byte
	room  [batchSize][]byte // for the answers
}

func newBatch(conn syscall.RawConn) *batch {
	b := &batch{conn: conn}
	b.receive, b.send = b.receiveNow, b.sendNow
	for i := range b.in {
		b.iovs[i].Base = &b.bufs[i][0]
		b.iovs[i].SetLen(largestQuery)
		h := &b.in[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Namelen = unix.SizeofSockaddrInet6
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Control = &b.oobs[i][0]
		h.SetControllen(len(b.oobs[i]))
		b.out[i].Hdr.SetIovlen(1)
		b.room[i] = make([]byte, 0, 1500)
	}
	return b
}

// read waits for questions and gives how many came.
func (b *batch) read() (n int, err error) {
	for i := range b.came { // the kernel wrote lengths over those that were offered
		h := &b.in[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(len(b.oobs[i]))
	}
	b.came = 0
	if err := b.conn.Read(b.receive); err != nil {
		return 0, err
	}
	if b.fault != 0 {
		return 0, b.fault
	}
	b.came = b.done
	return b.came, nil
}

// write sends the answers from one on and gives how many the kernel took.
func (b *batch) write(at int) (n int, err error) {
	b.sent = at
	if err := b.conn.Write(b.send); err != nil {
		return 0, err
	}
	if b.fault != 0 {
		return 0, b.fault
	}
	return b.done, nil
}

func (b *batch) receiveNow(fd uintptr) bool { return b.call(fd, unix.SYS_RECVMMSG, b.in[:]) }
func (b *batch) sendNow(fd uintptr) bool    { return b.call(fd, unix.SYS_SENDMMSG, b.out[b.sent:b.ready]) }

// call never waits, and so is raw: the scheduler, which takes the processor
// away from whoever is in a call for 20 us, would be most of its cost.
func (b *batch) call(fd, call uintptr, heads []unix.Mmsghdr) bool {
	n, _, no := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&heads[0])), uintptr(len(heads)), unix.MSG_DONTWAIT, 0, 0)
	b.done, b.fault = int(n), no
	return no != unix.EAGAIN
}

// message is question i and who asks.
func (b *batch) message(i int) ([]byte, netip.AddrPort) {
	h, sa := &b.in[i], &b.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	if sa.Family == unix.AF_INET {
		return b.bufs[i][:h.Len], netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), port)
	}
	a := netip.AddrFrom16(sa.Addr).Unmap()
	if sa.Scope_id != 0 && a.Is6() {
		a = a.WithZone(strconv.Itoa(int(sa.Scope_id)))
	}
	return b.bufs[i][:h.Len], netip.AddrPortFrom(a, port)
}

// answer makes msg the answer to question i.
func (b *batch) answer(i int, msg []byte) {
	iov, h := &b.backs[b.ready], &b.out[b.ready].Hdr
	iov.Base = &msg[0]
	iov.SetLen(len(msg))
	h.Iov = iov
	h.Name, h.Namelen = b.in[i].Hdr.Name, unix.SizeofSockaddrInet6
	if b.names[i].Family == unix.AF_INET {
		h.Namelen = unix.SizeofSockaddrInet4
	}
	h.Control = nil
	back := b.source(i)
	if len(back) > 0 {
		h.Control = &back[0]
	}
	h.SetControllen(len(back))
	b.ready++
}

// source makes of the control message that came with question i the one by
// which the answer leaves from the address that was asked; nothing where the
// socket has only one. The interface is left to the routing table, but for
// link-local addresses, which need it.
func (b *batch) source(i int) []byte {
	oob := b.oobs[i][:b.in[i].Hdr.Controllen]
	if len(oob) < unix.SizeofCmsghdr {
		return nil
	}
	c, data := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0])), oob[unix.CmsgLen(0):]
	switch {
	case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		binary.NativeEndian.PutUint32(data, 0)
	case c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		if data[0] != 0xfe || data[1]&0xc0 != 0x80 {
			binary.NativeEndian.PutUint32(data[16:], 0)
		}
	default:
		return nil
	}
	return oob
}
