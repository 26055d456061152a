package httpd

import (
	"context"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A quick is a connection whose reads and writes are raw system calls. They
// never wait, since the socket does not block, and what net does around each
// (telling the scheduler's watchman, who then runs beside every answer) is a
// fifth of what a small answer costs.
type quick struct {
	net.Conn
	raw   syscall.RawConn // nil: Conn's own calls are used
	ahead []byte          // was read before, and is to be read first
	in    *call
	out   *call

	open     *atomic.Int64 // the server's connections; may be nil
	widened  bool          // has its room for good
	awaited  time.Time     // until when a front reads
	extended time.Time     // when a reply had its time anew
}

func newQuick(c net.Conn) *quick {
	q := &quick{Conn: c}
	if tcp, ok := c.(*net.TCPConn); ok && !raced {
		if raw, err := tcp.SyscallConn(); err == nil {
			q.raw, q.in, q.out = raw, newCall(raw.Read, unix.SYS_RECVFROM), newCall(raw.Write, unix.SYS_SENDTO)
		}
	}
	return q
}

func (c *quick) Read(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case len(c.ahead) > 0:
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	case c.raw == nil:
		return c.Conn.Read(p)
	}
	n, no, err := c.in.do(p, 0)
	switch {
	case err != nil:
		return 0, err
	case no != 0:
		return 0, c.fault("read", no)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (c *quick) Write(p []byte) (total int, err error) {
	if c.raw == nil {
		return c.Conn.Write(p)
	}
	for len(p) > 0 {
		n, no, err := c.out.do(p, unix.MSG_NOSIGNAL)
		switch {
		case err != nil:
			return total, err
		case no != 0:
			return total, c.fault("write", no)
		}
		total += n
		p = p[n:]
	}
	return total, nil
}

// A call reads, or writes, one after the other. Nothing is made anew for each.
type call struct {
	ready func(func(fd uintptr) (done bool)) error
	once  func(fd uintptr) (done bool)
	trap  uintptr
	p     []byte
	flags int
	n     int
	no    unix.Errno
}

func newCall(ready func(func(uintptr) bool) error, trap uintptr) *call {
	c := &call{ready: ready, trap: trap}
	c.once = c.try
	return c
}

// do reads or writes once there is something to read or room. The error is that
// of a deadline or of a closed connection.
func (c *call) do(p []byte, flags int) (n int, no unix.Errno, err error) {
	c.p, c.flags, c.n, c.no = p, flags, 0, 0
	err = c.ready(c.once)
	c.p = nil
	return c.n, c.no, err
}

func (c *call) try(fd uintptr) bool {
	for {
		r, _, no := unix.RawSyscall6(c.trap, fd, uintptr(unsafe.Pointer(&c.p[0])), uintptr(len(c.p)), uintptr(c.flags), 0, 0)
		c.n, c.no = int(r), no
		if no != unix.EINTR {
			return no != unix.EAGAIN
		}
	}
}

// watch returns a context that is done once the other side has closed its end.
// Until stop is called nothing else may read, and after it a deadline is to be
// set.
func (c *quick) watch(ctx context.Context) (watched context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	c.awaited = time.Time{}
	_ = c.SetReadDeadline(time.Time{})
	go func() {
		defer close(ended)
		if c.gone() {
			cancel()
		}
	}()
	return ctx, func() {
		_ = c.SetReadDeadline(time.Unix(1, 0))
		<-ended
		cancel()
	}
}

// gone waits until the other side has closed its end, or c has a deadline that
// passes. What it sends before is left to be read.
func (c *quick) gone() bool {
	if c.raw == nil {
		return false
	}
	var first [1]byte
	n, no, err := c.in.do(first[:], unix.MSG_PEEK)
	return err == nil && (no != 0 || n == 0)
}

// cork holds back what does not fill a packet, or lets it go (tcp(7)). A nil
// quick has no cork.
func (c *quick) cork(on bool) {
	if c == nil || c.raw == nil {
		return
	}
	n := 0
	if on {
		n = 1
	}
	_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, n) })
}

// extend gives the client its time for an answer, unless one before did so within
// a second.
func (c *quick) extend(now time.Time) {
	if now.Sub(c.extended) <= time.Second {
		return
	}
	c.extended = now
	_ = c.SetWriteDeadline(now.Add(stallTime))
}

func (c *quick) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}

type quickKey struct{}

// withQuick lets the answers of a connection find it.
func withQuick(ctx context.Context, c net.Conn) context.Context {
	if q, ok := c.(*quick); ok {
		return context.WithValue(ctx, quickKey{}, q)
	}
	return ctx
}
