// Package monitor speaks xCAT's install monitor, by which postscripts written
// for xCAT tell how far a node is: lines over TCP, at port 3002. The server
// greets with "ready" and answers each line with "done".
package monitor

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"margay/netboot"
)

// A Handler acts on a line. What it returns is sent before "done"; an error
// ends the connection, and is not shown to who is on it.
type Handler interface {
	Line(ctx context.Context, m netboot.Machine, line string) (reply string, err error)
}

// A Server answers lines. Its limits hold whoever asks.
type Server struct {
	Handler  Handler
	Observer netboot.Observer // told of refusals; may be nil
	Log      *slog.Logger     // may be nil
	Conns    int              // at once; 0: 256
	PerAddr  int              // at once from one address; 0: 4
	Patience time.Duration    // how long a line may take; 0: 30 s

	mu    sync.Mutex // guards the fields below
	conns int
	from  map[netip.Addr]int
}

const (
	maxLine  = 512 // bytes; "installstatus" and a word is far less
	maxLines = 32  // of one connection
)

// Serve answers on l until ctx is done; it closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		addr := addrOf(c.RemoteAddr())
		if !s.admit(addr) {
			c.Close()
			continue
		}
		wg.Go(func() {
			defer s.leave(addr)
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			s.talk(ctx, c, netboot.Machine{Addr: addr, Local: addrOf(c.LocalAddr())})
		})
	}
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// or is n, or otherwise if that is nothing.
func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

func (s *Server) admit(addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from == nil {
		s.from = map[netip.Addr]int{}
	}
	if s.conns >= or(s.Conns, 256) || s.from[addr] >= or(s.PerAddr, 4) {
		return false
	}
	s.conns++
	s.from[addr]++
	return true
}

func (s *Server) leave(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
	if s.from[addr]--; s.from[addr] == 0 {
		delete(s.from, addr)
	}
}

// talk answers the lines of one connection.
func (s *Server) talk(ctx context.Context, c net.Conn, m netboot.Machine) {
	patience := s.Patience
	if patience == 0 {
		patience = 30 * time.Second
	}
	say := func(text string) bool {
		c.SetWriteDeadline(time.Now().Add(patience))
		_, err := io.WriteString(c, text)
		return err == nil
	}
	if !say("ready\n") {
		return
	}
	in := bufio.NewReaderSize(c, maxLine)
	for range maxLines {
		c.SetReadDeadline(time.Now().Add(patience))
		line, err := in.ReadSlice('\n')
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			return // too long, too slow, or over
		}
		reply, err := s.Handler.Line(ctx, m, text(line))
		if err != nil {
			s.refuse(m, text(line), err)
			return
		}
		if !say(reply + "done\n") {
			return
		}
	}
}

// text is a line without its end and without what no line should hold.
func text(line []byte) string {
	out := make([]byte, 0, len(line))
	for _, b := range line {
		if b >= ' ' && b <= '~' {
			out = append(out, b)
		}
	}
	return string(out)
}

func (s *Server) refuse(m netboot.Machine, line string, err error) {
	var no *netboot.Refusal
	e := netboot.Event{Time: time.Now(), Step: netboot.StepRefused, Proto: "monitor", Machine: m, Name: line, Err: err}
	if errors.As(err, &no) {
		e.Node = no.Node
	}
	if s.Log != nil {
		s.Log.Warn("monitor: refused", "addr", m.Addr, "node", e.Node, "err", err)
	}
	if s.Observer != nil {
		s.Observer.Observe(e)
	}
}
