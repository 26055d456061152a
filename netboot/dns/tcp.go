package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxConns bounds the connections at once, maxOwn those of one address, and
	// idleTime how long one may say nothing (RFC 7766, 6.2.2 and 6.2.3).
	maxConns = 256
	maxOwn   = 32
	idleTime = 10 * time.Second

	maxMessage = 65535
)

// serveTCP answers connections, each question in its turn. When there are too
// many the next waits in the kernel's queue; but of one address it is closed, or
// all could be its own.
func (s *Server) serveTCP(ctx context.Context, c *Conn) error {
	defer context.AfterFunc(ctx, func() { c.tcp.Close() })()
	slots := make(chan struct{}, maxConns)
	var own counted
	var open sync.WaitGroup
	defer open.Wait()
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := c.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			s.log().Warn("dns: cannot accept", "err", err)
			<-slots
			if !pause(ctx, time.Second) {
				return nil
			}
			continue
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if !own.enter(from, maxOwn) {
			conn.Close()
			<-slots
			s.count.dropped.Add(1)
			continue
		}
		open.Add(1)
		go func() {
			defer func() { conn.Close(); own.leave(from); <-slots; open.Done() }()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			s.talk(ctx, conn, from)
		}()
	}
}

// A counted counts what each address has.
type counted struct {
	mu sync.Mutex
	n  map[netip.Addr]int // guarded by mu
}

// enter says whether one more of an address is no more than most.
func (c *counted) enter(a netip.Addr, most int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[netip.Addr]int)
	}
	if c.n[a] >= most {
		return false
	}
	c.n[a]++
	return true
}

func (c *counted) leave(a netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[a]--; c.n[a] == 0 {
		delete(c.n, a)
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// talk answers one connection until it ends or bores us.
func (s *Server) talk(ctx context.Context, conn *net.TCPConn, from netip.Addr) {
	in, out := make([]byte, 0, 512), make([]byte, 0, 4096)
	var q query
	for {
		conn.SetDeadline(time.Now().Add(idleTime))
		var err error
		if in, err = readMessage(conn, in); err != nil {
			return
		}
		msg, v := s.reply(s.moment(), out, in, from, maxMessage, &q)
		switch v {
		case silent:
			return
		case later:
			msg = s.passOn(ctx, in, maxMessage)
		case change:
			msg = s.update(ctx, in)
		case signed:
			msg = s.signed(ctx, in, from, maxMessage)
		case whole:
			if s.transfer(conn, &q, in, from) != nil {
				return
			}
			continue
		}
		if writeMessage(conn, msg) != nil {
			return
		}
	}
}

// readMessage reads a message with its length (RFC 1035, 4.2.2). Room grows
// with what has come, not with what is promised.
func readMessage(r io.Reader, buf []byte) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	buf = buf[:0]
	for len(buf) < n {
		step := min(n-len(buf), 4096)
		at := len(buf)
		buf = append(buf, make([]byte, step)...)
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return buf, err
		}
	}
	return buf, nil
}

func writeMessage(w io.Writer, msg []byte) error {
	if len(msg) == 0 || len(msg) > maxMessage {
		return io.ErrShortWrite
	}
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	_, err := w.Write(append(b, msg...))
	return err
}
