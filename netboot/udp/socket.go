// Package udp takes and sends many datagrams in one call of the kernel
// (recvmmsg(2), sendmmsg(2)), and those that go one way in one message, which the
// kernel cuts when most of its work is done (UDP_SEGMENT, udp(7)). The services
// of a network boot share it; it knows of none of them.
package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// Batch is how many datagrams come, or leave, in one call.
	Batch = 64
	// Crowd is how many datagrams at once say that more are on their way.
	Crowd = 8
	// longShift is how many batches a reader takes before others have a turn.
	longShift = 8
	// glance is how long who waits for room in a socket does not see that it is
	// to be closed.
	glance = 100 * time.Millisecond
)

// A Socket is one for UDP which the runtime hears of only while nobody reads
// it. Of a socket that the runtime knows it is told at each packet, and has a
// thread wake for that, even while a reader is at work who will see the packet
// anyway. So what it knows is an epoll instance of our own, in which the socket
// is armed before a reader rests, and not while datagrams come in crowds (Nap).
//
// Any number of goroutines may receive and send at once. Its fields may be set
// before the first does so.
type Socket struct {
	// Nap is how long datagrams are let come together after a crowd of them; the
	// kernel makes up to twice as much of it. It is the most that one waits for
	// others. Zero, for senders who wait for each answer: none waits, and the
	// socket stays armed, since to arm it for each batch would cost more than it saves.
	Nap time.Duration
	// Patience is how long who sends waits for room in the socket. What finds
	// none is lost, as on a network that is too busy.
	Patience time.Duration

	out   sync.RWMutex // held for reading by who sends, for writing by who closes
	fd    int          // of the socket; -1: closed. Guarded by out and mu
	local netip.AddrPort
	bell  *os.File // the epoll instance
	rest  syscall.RawConn
	whole atomic.Bool // the kernel does not cut for us
	woken atomic.Bool

	mu    sync.Mutex // held by who reads and by who waits to; guards the rest
	armed bool
	last  int // how many datagrams came last
	shift int // batches since a reader rested
	into  *Inbox
	heard func(uintptr) bool // listen, made once
}

// New takes conn over, and closes it also where it fails. Close what it returns.
func New(conn *net.UDPConn) (*Socket, error) {
	s := &Socket{fd: -1, local: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	s.heard = s.listen
	raw, err := conn.SyscallConn()
	if err == nil {
		ctlErr := raw.Control(func(fd uintptr) { s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
		err = errors.Join(err, ctlErr)
	}
	if err = errors.Join(err, conn.Close()); err == nil {
		err = s.hang()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	s.whole.Store(!cuts(s.fd))
	return s, nil
}

// cuts asks the kernel whether it knows UDP_SEGMENT. One before 4.18 does not,
// and would send what it is to cut as one long packet.
func cuts(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	return err == nil
}

// hang makes the bell.
func (s *Socket) hang() error {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	err = unix.SetNonblock(ep, true)
	s.bell = os.NewFile(uintptr(ep), "epoll")
	if err == nil {
		s.rest, err = s.bell.SyscallConn()
	}
	return err
}

// LocalAddr is what the socket is bound to.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// Cuts says whether the kernel makes packets of what Outboxes hold; if not, or
// if the interface cannot, they do so themselves.
func (s *Socket) Cuts() bool { return !s.whole.Load() }

// Wake has those who receive find the socket closed, now and ever after; one can
// still send. It may be called more than once.
func (s *Socket) Wake() {
	s.woken.Store(true)
	s.bell.Close()
}

// Close gives the socket back. It waits for those who are just receiving or
// sending; who does so later is told net.ErrClosed. It may be called more than once.
func (s *Socket) Close() error {
	if s.bell != nil {
		s.Wake()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.Lock()
	defer s.out.Unlock()
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	return unix.Close(fd)
}

// Receive waits for datagrams and takes what is there, perhaps nothing. The
// error is net.ErrClosed, or what the kernel says, which may be about something
// that was sent before: then receiving may go on.
func (s *Socket) Receive(in *Inbox) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.woken.Load() {
		in.clear()
		return net.ErrClosed
	}
	if s.crowded(in) {
		s.shift++
		s.last = in.came
		return failure(in.fault)
	}
	s.into, s.shift = in, 0
	if s.rest.Read(s.heard) != nil {
		in.clear()
		return net.ErrClosed
	}
	s.last = in.came
	if s.Nap > 0 && in.came >= Crowd {
		s.arm(false)
	}
	return failure(in.fault)
}

// crowded takes what has come since a crowd did.
func (s *Socket) crowded(in *Inbox) bool {
	if s.Nap <= 0 || s.last < Crowd || s.shift >= longShift {
		return false
	}
	if s.last < Batch && s.Nap > 0 {
		t := unix.NsecToTimespec(int64(s.Nap))
		unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	}
	return in.take(s.fd)
}

// listen takes datagrams for who rests. When it arms the socket it does not
// look first, since the bell rings for what is there too: so others have their
// turn, those included whom the runtime finds by asking the kernel.
func (s *Socket) listen(uintptr) bool {
	if !s.armed {
		s.arm(true)
		return false
	}
	return s.into.take(s.fd)
}

// arm adds the socket to the epoll instance or takes it out. Only what is added
// is sure to ring for what had come before: changing what is awaited of a
// socket that has rung already does not.
func (s *Socket) arm(on bool) {
	op := unix.EPOLL_CTL_DEL
	if on {
		op = unix.EPOLL_CTL_ADD
	}
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	err := s.rest.Control(func(ep uintptr) { _ = unix.EpollCtl(int(ep), op, s.fd, &e) })
	s.armed = on && err == nil
}

// Send sends one datagram now.
func (s *Socket) Send(msg []byte, w Way) error {
	heads := make([]unix.Mmsghdr, 1)
	iov := unix.Iovec{}
	point(&iov, msg)
	w.address(&heads[0].Hdr, &iov)
	_, no := s.send(heads)
	return failure(no)
}

// failure is what the kernel says as an error.
func failure(no unix.Errno) error {
	switch no {
	case 0:
		return nil
	case unix.EBADF:
		return net.ErrClosed
	}
	return no
}

// send sends messages and gives how many the kernel took, and why not the next.
func (s *Socket) send(heads []unix.Mmsghdr) (n int, fault unix.Errno) {
	s.out.RLock()
	defer s.out.RUnlock()
	n, fault = call(s.fd, unix.SYS_SENDMMSG, heads)
	for left := s.Patience; fault == unix.EAGAIN && left > 0 && !s.woken.Load(); left -= glance {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, int(glance.Milliseconds()))
		n, fault = call(s.fd, unix.SYS_SENDMMSG, heads)
	}
	return n, fault
}

// call never waits, and so is raw: the scheduler, which takes the processor
// away from whoever is in a call for 20 us, would be most of its cost.
func call(fd int, call uintptr, heads []unix.Mmsghdr) (int, unix.Errno) {
	n, _, no := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&heads[0])), uintptr(len(heads)), unix.MSG_DONTWAIT, 0, 0)
	if no != 0 {
		return 0, no
	}
	return int(n), 0
}

// point has an iovec hold octets, of which there may be none.
func point(iov *unix.Iovec, p []byte) {
	iov.Base = unsafe.SliceData(p)
	iov.SetLen(len(p))
}
