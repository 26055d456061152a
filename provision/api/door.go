package api

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A door is where clients come in by a unix socket. It is opened only while
// there is somebody to serve them: under load whoever has served one looks for
// himself, between two commands, who has come, and the runtime is not woken
// for each.
type door struct {
	path string
	bell *os.File // an epoll(7) of the socket: can be read once when somebody has come after arm

	mu     sync.Mutex // held while fd or ep are used
	fd, ep int
	closed bool // guarded by mu
}

// newDoor takes a listener over.
func newDoor(l *net.UnixListener) (*door, error) {
	d := &door{path: l.Addr().String(), fd: -1, ep: -1}
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	err = errors.Join(raw.Control(func(fd uintptr) {
		var no syscall.Errno
		var dup uintptr
		if dup, _, no = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0); no != 0 {
			err = no
			return
		}
		d.fd = int(dup)
	}), err)
	if err != nil {
		return nil, err
	}
	// The runtime would be told of everyone who comes.
	l.SetUnlinkOnClose(false)
	l.Close()
	if d.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err == nil {
		err = syscall.SetNonblock(d.ep, true)
	}
	if err == nil {
		err = d.watch(syscall.EPOLL_CTL_ADD)
	}
	if err != nil {
		d.close()
		return nil, os.NewSyscallError("epoll", err)
	}
	d.bell = os.NewFile(uintptr(d.ep), "clients")
	return d, nil
}

func (d *door) watch(op int) error {
	return syscall.EpollCtl(d.ep, op, d.fd, &syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLONESHOT, Fd: int32(d.fd)})
}

// arm has wait return when somebody comes, or is there.
func (d *door) arm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		_ = d.watch(syscall.EPOLL_CTL_MOD)
	}
}

// wait waits until somebody has come.
func (d *door) wait() error {
	raw, err := d.bell.SyscallConn()
	if err != nil {
		return err
	}
	var events [1]syscall.EpollEvent
	var fault error
	err = raw.Read(func(fd uintptr) bool {
		n, err := syscall.EpollWait(int(fd), events[:], 0)
		if err != nil && err != syscall.EINTR {
			fault = err
		}
		return n > 0 || fault != nil
	})
	return errors.Join(err, fault)
}

// accept returns who has come; nil: nobody.
func (d *door) accept() (*sock, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.closed {
		fd, _, err := syscall.Accept4(d.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		switch err {
		case nil:
			return &sock{fd: fd}, nil
		case syscall.EINTR, syscall.ECONNABORTED:
		case syscall.EAGAIN:
			return nil, nil
		default:
			return nil, os.NewSyscallError("accept4", err)
		}
	}
	return nil, net.ErrClosed
}

// close shuts the door, and takes the socket away.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	_ = os.Remove(d.path)
	syscall.Close(d.fd)
	switch {
	case d.bell != nil:
		d.bell.Close()
	case d.ep >= 0:
		syscall.Close(d.ep)
	}
}

// A sock is a client's connection. Most are done with before anybody has to
// wait for them, and the runtime never hears of those.
type sock struct {
	mu     sync.Mutex
	fd     int      // guarded by mu
	file   *os.File // where somebody waits; nil: nobody has yet; guarded by mu
	closed bool     // guarded by mu
}

// cred is who is at the other end; nil: nobody can say.
func (s *sock) cred() *syscall.Ucred {
	cred, err := syscall.GetsockoptUcred(s.fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return nil
	}
	return cred
}

// there reads what there is, without waiting.
func (s *sock) there(p []byte) int {
	for {
		n, err := syscall.Read(s.fd, p)
		if err != syscall.EINTR {
			return max(n, 0)
		}
	}
}

// open returns what can be waited for.
func (s *sock) open() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	if s.file == nil {
		s.file = os.NewFile(uintptr(s.fd), "client")
	}
	return s.file, nil
}

// Read waits for something to read.
func (s *sock) Read(p []byte) (int, error) {
	f, err := s.open()
	if err != nil {
		return 0, err
	}
	n, err := f.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF // whatever it is: he has gone
	}
	return n, err
}

// Write writes all of p.
func (s *sock) Write(p []byte) (int, error) {
	done, err := s.writeNow(p)
	if err != nil || done == len(p) {
		return done, err
	}
	f, err := s.open()
	if err != nil {
		return done, err
	}
	n, err := f.Write(p[done:])
	return done + n, err
}

// writeNow writes what can be written without waiting.
func (s *sock) writeNow(p []byte) (done int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	for done < len(p) && s.file == nil {
		n, err := syscall.Write(s.fd, p[done:])
		switch err {
		case nil:
			done += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return done, nil
		default:
			return done, os.NewSyscallError("write", err)
		}
	}
	return done, nil
}

func (s *sock) SetDeadline(t time.Time) error {
	f, err := s.open()
	if err != nil {
		return err
	}
	return f.SetDeadline(t)
}

// Close ends the connection. Whoever waits for it need not any more.
func (s *sock) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.closed = true
	if s.file != nil {
		return s.file.Close()
	}
	return syscall.Close(s.fd)
}
