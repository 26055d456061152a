// Package tftp serves files by TFTP, read only: RFC 1350 with the options of
// RFC 2347 (negotiation), 2348 (blksize), 2349 (tsize, timeout) and 7440
// (windowsize).
//
// Whose part is whose. The library of this package is pin/tftp: its netascii
// conversion is used here, and its client in netboot/rom, where it plays the
// firmware that asks for no window. Its server is not used. It has no
// windowsize, which bounds a transfer to one block a round trip; it retransmits
// after whole seconds, so that one lost packet in a hundred costs most of the
// throughput; and its request parser is private to it. The sender and the
// parser of requests are therefore our own.
//
// How it sends. All transfers share a few sockets, and none has a goroutine: a
// packet that arrives is answered by the goroutine that read it. A window
// leaves in one system call where the kernel can cut it into packets itself
// (UDP_SEGMENT). Nothing that was sent is kept: what is lost is read again, so
// a transfer costs some hundred bytes of memory however large its window.
package tftp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot"
	"margay/netboot/udp"
)

// The limits that a Server has where its fields are zero.
const (
	DefaultTransfers = 8192
	DefaultPerAddr   = 64
	DefaultSilence   = 30 * time.Second
	DefaultWindow    = 64
)

// A Server sends what its Opener finds. Its fields may not change while it
// serves; it may serve several sockets at once, with one set of limits.
type Server struct {
	Opener   netboot.Opener
	Observer netboot.Observer // may be nil
	Log      *slog.Logger     // may be nil

	// SinglePort answers from the socket that is asked, for paths on which
	// other ports do not pass. RFC 1350 4 has a server choose a new port.
	SinglePort bool

	Transfers int           // at once; further requests get no answer, and the machine asks again
	PerAddr   int           // at once for one address
	Silence   time.Duration // after which a machine is taken to be gone
	MaxBlock  int           // largest blksize agreed to; 0: what fits the interface's MTU
	MaxWindow int           // largest windowsize agreed to

	mu     sync.Mutex                   // guards the rest
	byPeer map[netip.AddrPort]*transfer // one for each client port
	byAddr map[netip.Addr]int           // transfers of one address
	turn   int                          // data socket for the next transfer
	mtus   map[int]mtu                  // by interface index
	busy   uint64                       // requests dropped at the limits
}

// Serve answers what arrives on conn, which must be a UDP socket, until ctx is
// done; then it returns nil. It closes conn.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	c, ok := conn.(*net.UDPConn)
	if !ok {
		return fmt.Errorf("tftp: %T is not a UDP socket", conn)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	front, data, err := s.sockets(c)
	if err != nil {
		return fmt.Errorf("tftp: %s: %v", c.LocalAddr(), err)
	}
	l := &listener{s: s, ctx: ctx, front: front, data: data}
	defer context.AfterFunc(ctx, l.wake)()
	return l.run(cancel)
}

// sockets are the one that is asked, which takes c over, and those that send.
func (s *Server) sockets(c *net.UDPConn) (front *socket, data []*socket, err error) {
	if front, err = newSocket(c); err != nil {
		return nil, nil, err
	}
	if s.SinglePort {
		return front, []*socket{front}, nil
	}
	if data, err = front.siblings(); err != nil {
		front.Close()
		return nil, nil, err
	}
	return front, data, nil
}

// A listener is one Serve: the socket that is asked and those that send.
type listener struct {
	s     *Server
	ctx   context.Context // of Serve; for the opener
	front *socket
	data  []*socket

	opening sync.WaitGroup
}

func (l *listener) run(cancel func()) error {
	var readers sync.WaitGroup
	for _, sock := range l.data {
		if sock != l.front {
			readers.Go(func() {
				if err := l.read(sock); err != nil {
					l.s.log().Error("tftp: a socket that sends is lost", "err", err)
					cancel()
				}
			})
		}
	}
	err := l.read(l.front)
	cancel()
	l.wake()
	readers.Wait()
	l.opening.Wait()
	l.s.drop(l)
	l.close()
	return err
}

// wake has the readers end.
func (l *listener) wake() {
	l.front.Wake()
	for _, sock := range l.data {
		sock.Wake()
	}
}

func (l *listener) close() {
	l.front.Close()
	for _, sock := range l.data {
		sock.Close()
	}
}

// read takes what arrives at a socket until it is closed: acknowledgements, and
// requests where it is the one that is asked. The answers to what came at once
// leave at once.
func (l *listener) read(sock *socket) error {
	in, out := udp.NewInbox(largestRequest), newOutbox(sock)
	for {
		err := sock.Receive(in)
		if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil && !transient(err) {
			return fmt.Errorf("tftp: %v", err)
		}
		out.now = time.Now()
		for i := range in.Len() {
			p, peer, ok := packet(in, i)
			if !ok {
				continue
			}
			switch op := opcode(p); {
			case op == opRRQ || op == opWRQ:
				if sock == l.front {
					l.request(p, peer, sock.origin(in, i))
				}
			default:
				l.answer(sock, p, peer, out)
			}
		}
		out.flush()
	}
}

// answer handles an acknowledgement or an error of a transfer's client. What
// belongs to no transfer gets no answer: RFC 1350 4 would have us send error 5,
// but it is nearly always a late copy, and answering strangers invites abuse.
func (l *listener) answer(sock *socket, p []byte, peer netip.AddrPort, out *outbox) {
	t := sock.find(peer)
	if t == nil {
		return
	}
	switch opcode(p) {
	case opACK:
		t.ack(block(p), out)
	case opERROR:
		t.abort(p)
	}
}

// transient says whether reading may go on after err: ICMP errors of earlier
// sends are reported to later reads.
func transient(err error) bool {
	var no unix.Errno
	return errors.As(err, &no) && no != unix.EBADF && no != unix.ENOTSOCK && no != unix.EFAULT && no != unix.EINVAL
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) observe(e netboot.Event) {
	if s.Observer != nil {
		e.Time, e.Proto = time.Now(), "tftp"
		s.Observer.Observe(e)
	}
}
