package bmctest

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/bougou/go-ipmi/pkg/hal"
)

// consoleHAL is a serial port that is wired to the machine by connecting.
type consoleHAL func(ctx context.Context) (net.Conn, error)

// Open takes the port.
func (f consoleHAL) Open(ctx context.Context) (hal.ConsoleConn, error) {
	l := &line{dial: f}
	if err := l.connect(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// A line outlives its machine: while that is off there is nothing to read, and
// what is written is lost.
type line struct {
	dial consoleHAL

	mu     sync.Mutex // guards what follows
	conn   net.Conn
	closed bool
}

func (l *line) connect(ctx context.Context) error {
	c, err := l.dial(ctx)
	l.conn = c
	return err
}

// current is the connection, made anew if the machine has been away.
func (l *line) current() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, net.ErrClosed
	}
	if l.conn == nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // only if it is there now
		if l.connect(ctx) != nil {
			l.conn = nil
		}
	}
	return l.conn, nil
}

func (l *line) lost(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = c.Close()
	if l.conn == c {
		l.conn = nil
	}
}

// ReadAvailable returns what the machine said meanwhile.
func (l *line) ReadAvailable(p []byte) (int, error) {
	c, err := l.current()
	if c == nil {
		return 0, err
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		l.lost(c)
		return 0, nil
	}
	n, err := c.Read(p)
	var ne net.Error
	if err != nil && !(errors.As(err, &ne) && ne.Timeout()) {
		l.lost(c)
	}
	return n, nil
}

// Write passes keys to the machine.
func (l *line) Write(p []byte) (int, error) {
	c, err := l.current()
	if c == nil {
		return len(p), err
	}
	if _, err := c.Write(p); err != nil {
		l.lost(c)
	}
	return len(p), nil
}

// SendBreak is not played.
func (l *line) SendBreak(context.Context) error { return hal.ErrNotSupported }

// Close gives the port up.
func (l *line) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}
