// Package vspc is where the serial ports of guests end: a virtual serial port
// concentrator, as VMware calls it. A host that runs a guest with such a port
// connects to it and speaks telnet (RFC 854) with VMware's own option 232,
// which says which guest it is and lets the line follow a guest that moves.
package vspc

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// DefaultPort is the port that concentrators have.
const DefaultPort = 13370

// A Guest is whose line it is, as the host says.
type Guest struct {
	Name string     // of the virtual machine; "" from hosts that do not say
	UUID string     // of the instance, as the host writes it
	URI  string     // what the serial port's own address is
	Host netip.Addr // who connected
}

// A Server takes lines. Its fields are set before Serve.
type Server struct {
	// Allow says whether a host may connect; nil: any may.
	Allow func(host netip.Addr) bool
	// Line is given each guest's line once it is known whose it is, and closes
	// it. It is called from a goroutine of its own. A second line of a guest
	// takes the place of the first: the guest has moved or was restarted.
	Line func(g Guest, line io.ReadWriteCloser)
	Log  *slog.Logger // nil: none

	mu    sync.Mutex
	moves map[string]Guest // guests on the move, by secret; guarded by mu
}

const (
	greeting = 30 * time.Second // in which a host has to say whose line it is
	moving   = time.Hour        // in which a move ends
	maxLines = 16384
)

// Serve takes lines until ctx is done.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, maxLines)
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		host := addrOf(nc)
		if s.Allow != nil && !s.Allow(host) {
			s.log().Warn("serial line from an address that is no host's", "addr", host)
			_ = nc.Close()
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			s.log().Warn("too many serial lines", "most", maxLines)
			_ = nc.Close()
			continue
		}
		all.Go(func() {
			defer func() { <-slots }()
			defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
			s.serve(nc, host)
		})
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.New(slog.DiscardHandler)
}

func addrOf(nc net.Conn) netip.Addr {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func (s *Server) serve(nc net.Conn, host netip.Addr) {
	c := newConn(s, nc)
	defer func() { _ = c.Close() }()
	c.guest.Host = host
	_ = nc.SetDeadline(time.Now().Add(greeting))
	if err := c.greet(); err != nil {
		s.log().Warn("serial line", "host", host, "guest", c.guest.Name, "err", err)
		return
	}
	_ = nc.SetDeadline(time.Time{})
	s.Line(c.guest, c)
}

// begin notes that a guest moves, and returns the secret by which its new host
// will name it.
func (s *Server) begin(c *conn) []byte {
	secret := make([]byte, 12)
	_, _ = rand.Read(secret)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moves == nil {
		s.moves = map[string]Guest{}
	}
	delete(s.moves, c.secret) // a line has one move at a time
	c.secret = string(secret)
	s.moves[string(secret)] = c.guest
	return secret
}

// peer is the guest that a new host names.
func (s *Server) peer(secret []byte) (Guest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.moves[string(secret)]
	delete(s.moves, string(secret))
	return g, ok
}

// forget drops the moves of a line that ends.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.moves, c.secret)
}
