package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A Runner runs one command and returns its exit status. Its output goes to
// c; ctx ends when the client goes away.
type Runner func(ctx context.Context, r *Request, c *Conn) int

// A Server takes commands from clients. Over a unix socket only root and the
// daemon's own user are heard (SO_PEERCRED); Authorize decides for others.
type Server struct {
	Run       Runner
	Authorize func(*http.Request) (user string, err error) // nil: unix sockets only
	Log       *slog.Logger
	// Denied is told of who may not, before his command is heard; nil: nobody is.
	Denied func(name, from, why string)

	names sync.Map // of users, by number
}

// Listen makes the command socket at path, mode 0600. A socket that nobody
// answers on is a dead daemon's and is replaced; a live one is an error.
func Listen(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("socket %s: another margay serves on it; stop it, or give another --socket", path)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSocket != 0 {
		os.Remove(path)
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %v; give another --socket", path, errors.Unwrap(err))
	}
	return l, nil
}

// Serve answers commands on l until ctx is done, then waits for those that
// run, a few seconds at most.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	hs := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext:       withPeer,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { hs.Close() })
	defer stop()
	if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	if cred := peerCred(uc); cred != nil {
		ctx = context.WithValue(ctx, peerKey{}, cred)
	}
	return ctx
}

func peerCred(c *net.UnixConn) *syscall.Ucred {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *syscall.Ucred
	raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil {
		return nil
	}
	return cred
}

// who says who asks and from where, and why he may not.
func (s *Server) who(r *http.Request) (name, from string, err error) {
	cred, ok := r.Context().Value(peerKey{}).(*syscall.Ucred)
	if !ok {
		if s.Authorize == nil {
			return "", r.RemoteAddr, errors.New("Permission denied for request")
		}
		name, err = s.Authorize(r)
		return name, r.RemoteAddr, err
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return s.userName(cred.Uid), "unix", fmt.Errorf("Permission denied for request: user id %d is neither root nor the daemon's", cred.Uid)
	}
	return s.userName(cred.Uid), "unix", nil
}

// userName is how a user is called. It is looked up once: the file would be
// read for every command.
func (s *Server) userName(uid uint32) string {
	if name, ok := s.names.Load(uid); ok {
		return name.(string)
	}
	name := strconv.Itoa(int(uid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	s.names.Store(uid, name)
	return name
}

// ServeHTTP runs the command of one request. The connection is taken over:
// frames go out, input comes in, and its end ends the command.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/run" {
		http.Error(w, "POST /run only", http.StatusNotFound)
		return
	}
	name, from, err := s.who(r)
	if err != nil {
		if s.Denied != nil {
			s.Denied(name, from, err.Error())
		}
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Time{})
	io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: margay\r\n\r\n")
	if err := rw.Flush(); err != nil {
		return
	}
	in := bufio.NewScanner(rw)
	in.Buffer(nil, maxLine)
	if !in.Scan() {
		return
	}
	var req Request
	if err := json.Unmarshal(in.Bytes(), &req); err != nil {
		return
	}
	req.User, req.From = name, from
	s.run(r.Context(), conn, in, &req)
}

func (s *Server) run(ctx context.Context, w io.Writer, in *bufio.Scanner, req *Request) {
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel() // the client has gone: the command ends
		pump(in, pw)
	})
	c := newConn(w, pr, req.JSON)
	code := s.Run(ctx, req, c)
	pr.Close()
	c.Send(Frame{Kind: FrameExit, Code: code})
	c.end()
	cancel()
	if closer, ok := w.(io.Closer); ok {
		closer.Close()
	}
	wg.Wait()
}

// pump hands the client's input on. Nobody may want it: then the pipe is
// closed and the rest is read only to see the connection's end.
func pump(in *bufio.Scanner, w *io.PipeWriter) {
	defer w.CloseWithError(io.ErrUnexpectedEOF) // no end was said
	for in.Scan() {
		var i input
		if json.Unmarshal(in.Bytes(), &i) != nil {
			return
		}
		w.Write(i.Data)
		if i.EOF {
			w.Close()
		}
	}
}
