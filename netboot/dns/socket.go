package dns

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// crowd is how many questions at once say that more are on their way: the
	// next ones are let come together before they are read.
	crowd = 8
	// nap is how long that takes; the kernel makes up to twice as much of it. It
	// is the most that an answer waits for others.
	nap = 50 * time.Microsecond
	// longShift is how many batches a reader takes before others have a turn.
	longShift = 8
	// fullWait is how long an answer waits for room in the socket.
	fullWait = 100 // milliseconds
)

// A socket is one for UDP which the runtime hears of only while nobody reads
// it. Of a socket that the runtime knows it is told at each packet, and has a
// thread wake for that, even while a reader is at work who will see the packet
// anyway. So what it knows is an epoll instance of our own, in which the socket
// is armed before a reader rests, and not while questions come in crowds.
type socket struct {
	fd   int
	bell *os.File // the epoll instance
	rest syscall.RawConn

	mu    sync.Mutex // held by who reads and by who waits to; guards the rest
	armed bool
	last  int // how many questions came last
	shift int // batches since a reader rested
	into  *inbox
	heard func(uintptr) bool // listen, made once
}

// newSocket takes conn over.
func newSocket(conn *net.UDPConn) (*socket, error) {
	s := &socket{fd: -1}
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
	return s, nil
}

// hang makes the bell.
func (s *socket) hang() error {
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

// wake has those who read find the socket closed.
func (s *socket) wake() { s.bell.Close() }

// Close gives the socket back, which nobody must use any more.
func (s *socket) Close() error {
	var err error
	if s.bell != nil {
		if err = s.bell.Close(); errors.Is(err, os.ErrClosed) {
			err = nil
		}
	}
	if s.fd >= 0 {
		err = errors.Join(err, unix.Close(s.fd))
		s.fd = -1
	}
	return err
}

// receive waits for questions and takes what is there. False: the socket is
// closed.
func (s *socket) receive(in *inbox) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crowded(in) {
		s.shift++
		s.last = in.came
		return true
	}
	s.into, s.shift = in, 0
	if s.rest.Read(s.heard) != nil {
		return false
	}
	s.last = in.came
	if in.came >= crowd {
		s.arm(false)
	}
	return true
}

// crowded takes the questions that have come since a crowd did.
func (s *socket) crowded(in *inbox) bool {
	if s.last < crowd || s.shift >= longShift {
		return false
	}
	if s.last < batchSize {
		t := unix.NsecToTimespec(int64(nap))
		unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	}
	return in.take(s.fd)
}

// listen takes questions for who rests. When it arms the socket it does not
// look first, since the bell rings for what is there too: so others have their
// turn, those included whom the runtime finds by asking the kernel.
func (s *socket) listen(uintptr) bool {
	if !s.armed {
		s.arm(true)
		return false
	}
	return s.into.take(s.fd)
}

// arm adds the socket to the epoll instance or takes it out. Only what is added
// is sure to ring for what had come before: changing what is awaited of a
// socket that has rung already does not.
func (s *socket) arm(on bool) {
	op := unix.EPOLL_CTL_DEL
	if on {
		op = unix.EPOLL_CTL_ADD
	}
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	err := s.rest.Control(func(ep uintptr) { _ = unix.EpollCtl(int(ep), op, s.fd, &e) })
	s.armed = on && err == nil
}

// send sends messages and gives how many the kernel took, and why not the next.
func (s *socket) send(heads []unix.Mmsghdr) (n int, fault unix.Errno) {
	n, fault = call(s.fd, unix.SYS_SENDMMSG, heads)
	if fault == unix.EAGAIN {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, fullWait)
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
