// Package httpd serves files by HTTP to machines that boot, and takes what they
// post.
//
// Its clients are firmware, boot loaders and installers, and they are strict.
// Every answer has a Content-Length: ESXi's loader dies of a chunked boot.cfg.
// HEAD works wherever GET does: UEFI asks for the size of its loader so, and
// mboot for that of each module. Nothing is ever redirected: only the newest
// loaders follow. Files reach the socket by sendfile(2), those of a medium that is
// served in place too; but not by HTTPS, which is served where the listener given
// to Serve is one of crypto/tls.
package httpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"margay/netboot"
)

// The limits that a Server has where its fields are zero.
const (
	DefaultConns   = 16384
	DefaultPerAddr = 256
	DefaultBody    = 64 << 20
)

// How long a client may take. A body, either way, has no limit as long as it
// moves on.
const (
	headerTime  = 10 * time.Second
	idleTime    = 60 * time.Second
	stallTime   = 60 * time.Second // for a slice of a body
	goodbyeTime = 3 * time.Second  // for requests under way when the server stops
)

// A Server answers machines' requests. Its fields may not change once it
// serves; it may serve several listeners, with one set of limits.
type Server struct {
	Opener   netboot.Opener
	Receiver netboot.Receiver // of what is sent to callback/; nil: there is none
	Observer netboot.Observer // may be nil
	Log      *slog.Logger     // may be nil

	// Fallback answers what no machine asks for: paths whose first element is
	// not in Prefixes. Nil: the opener is asked for everything.
	Fallback http.Handler
	Prefixes []string // nil: boot, install, tftpboot

	Conns   int   // connections at once; further ones are closed
	PerAddr int   // of one address
	Body    int64 // most that is taken of what is posted
	Sends   int   // large files on their way at once, beyond which machines wait their turn; 0: no limit

	mu     sync.Mutex // guards the rest
	conns  map[net.Conn]netip.Addr
	open   atomic.Int64 // how many they are
	byAddr map[netip.Addr]int
	gate   *gate
	busy   uint64 // machines told to come back
	closed uint64 // connections closed at a limit
}

// Serve answers what arrives at l until ctx is done; then it gives requests
// under way a moment and returns nil. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log().Handler(), slog.LevelDebug),
		ConnState:         s.count,
		ConnContext:       withQuick,
	}
	f := newFront(s, l)
	requests, end := context.WithCancel(context.Background())
	defer end()
	f.ctx = requests
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTime)
		defer cancel()
		var both sync.WaitGroup
		both.Go(func() { f.shutdown(grace) })
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
		both.Wait()
	})()
	go f.accept()
	err := srv.Serve(f)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	srv.Close()
	end()
	f.shutdown(requests)
	return fmt.Errorf("http: %v", err)
}

// count holds connections to the limits. It is told of each by net/http, those
// that a front has let in among them.
func (s *Server) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if _, ok := c.(*quick); !ok && !s.enter(c) {
			c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		s.leave(c)
	}
}

func (s *Server) enter(c net.Conn) bool {
	addr := addrOf(c.RemoteAddr())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = make(map[net.Conn]netip.Addr)
		s.byAddr = make(map[netip.Addr]int)
	}
	all, own := or(s.Conns, DefaultConns), or(s.PerAddr, DefaultPerAddr)
	if len(s.conns) >= all || s.byAddr[addr] >= own {
		s.closed++
		why := fmt.Sprintf("%d connections are open from it already, and one more was closed", own)
		if len(s.conns) >= all {
			why = fmt.Sprintf("%d connections are open in all, and one more was closed", all)
		}
		go s.observe(netboot.Event{Step: netboot.StepRefused, Machine: netboot.Machine{Addr: addr}, Err: &netboot.Refusal{Reason: why}})
		return false
	}
	s.conns[c] = addr
	s.open.Add(1)
	s.byAddr[addr]++
	return true
}

func (s *Server) leave(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr, ok := s.conns[c]
	if !ok {
		return
	}
	delete(s.conns, c)
	s.open.Add(-1)
	if s.byAddr[addr]--; s.byAddr[addr] <= 0 {
		delete(s.byAddr, addr)
	}
}

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) observe(e netboot.Event) {
	if s.Observer != nil {
		e.Time, e.Proto = time.Now(), "http"
		s.Observer.Observe(e)
	}
}

func or(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}
