package httpd

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A quick is a connection whose reads and writes are raw system calls. They
// never wait, since the socket does not block, and what net does around each
// (telling the scheduler's watchman, who then runs beside every answer) is a
// fifth of what a small answer costs.
type quick struct {
	*net.TCPConn
	raw syscall.RawConn
}

// A quickListener makes its TCP connections quick; those of crypto/tls stay
// what they are.
type quickListener struct{ net.Listener }

func (l quickListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	tcp, ok := c.(*net.TCPConn)
	if err != nil || !ok || raced {
		return c, err
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c, nil
	}
	return &quick{tcp, raw}, nil
}

func (c *quick) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, no, err := call(c.raw.Read, unix.SYS_READ, p)
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
	for len(p) > 0 {
		n, no, err := call(c.raw.Write, unix.SYS_WRITE, p)
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

// call reads or writes once there is something to read or room. The error is
// that of a deadline or of a closed connection.
func call(ready func(func(uintptr) bool) error, trap uintptr, p []byte) (n int, no unix.Errno, err error) {
	err = ready(func(fd uintptr) bool {
		for {
			var r uintptr
			r, _, no = unix.RawSyscall(trap, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
			n = int(r)
			if no != unix.EINTR {
				return no != unix.EAGAIN
			}
		}
	})
	return n, no, err
}

// cork holds back what does not fill a packet, or lets it go (tcp(7)). A nil
// quick has no cork.
func (c *quick) cork(on bool) {
	if c == nil {
		return
	}
	n := 0
	if on {
		n = 1
	}
	_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, n) })
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
