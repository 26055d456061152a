package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/user"
	"runtime/debug"
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

// headTime is how long a client may take to say what it wants.
const headTime = 10 * time.Second

// Serve answers commands on the unix socket l until ctx is done; what runs then
// is told so.
//
// What comes is HTTP/1.1, as it is over TLS, but net/http's server would read
// on behind each request's back and hand the connection over when that ended:
// with many clients at once that costs more than most commands.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			go s.serve(ctx, conn)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			// Commands that end give files back.
			s.Log.Warn("command socket: no more files can be opened; raise the limit (LimitNOFILE= of the unit)", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		default:
			return err
		}
	}
}

// serve answers one request that came by the unix socket.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer func() {
		if v := recover(); v != nil { // one command's fault is not the others'
			s.Log.Error("command socket: a command broke down", "err", v, "stack", string(debug.Stack()))
		}
	}()
	conn.SetReadDeadline(time.Now().Add(headTime))
	limit := &io.LimitedReader{R: conn, N: http.DefaultMaxHeaderBytes}
	in := bufio.NewReader(limit)
	r, err := http.ReadRequest(in)
	if err != nil {
		answer(conn, http.StatusBadRequest, "not a request")
		return
	}
	limit.N = math.MaxInt64
	status, why := http.StatusNotFound, "POST /run only"
	if r.Method == http.MethodPost && r.URL.Path == "/run" {
		var from *asker
		if from, status, why = s.hear(r, peerCred(conn)); from != nil {
			s.command(ctx, conn, in, from)
			return
		}
	}
	answer(conn, status, why)
}

// answer says why there is no command, and what HTTP calls it.
func answer(w io.Writer, status int, why string) {
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		status, http.StatusText(status), len(why)+1, why)
}

// peerCred is who is at the other end of a unix socket; nil: nobody can say.
func peerCred(conn net.Conn) *syscall.Ucred {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil
	}
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

// An asker is who may give commands, and where from.
type asker struct{ name, from string }

// hear returns who asks; nil: he may not, for the reason.
func (s *Server) hear(r *http.Request, cred *syscall.Ucred) (a *asker, status int, why string) {
	name, from, err := s.who(r, cred)
	if err == nil {
		return &asker{name, from}, 0, ""
	}
	if s.Denied != nil {
		s.Denied(name, from, err.Error())
	}
	return nil, http.StatusForbidden, err.Error()
}

// who says who asks and from where, and why he may not.
func (s *Server) who(r *http.Request, cred *syscall.Ucred) (name, from string, err error) {
	if cred == nil {
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

// ServeHTTP runs the command of one request that came by TLS. The connection is
// taken over: frames go out, input comes in, and its end ends the command.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/run" {
		http.Error(w, "POST /run only", http.StatusNotFound)
		return
	}
	a, status, why := s.hear(r, nil)
	if a == nil {
		http.Error(w, why, status)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	defer conn.Close()
	s.command(r.Context(), conn, rw.Reader, a)
}

// command reads what a has run, and runs it.
func (s *Server) command(ctx context.Context, conn net.Conn, r *bufio.Reader, a *asker) {
	const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: margay\r\n\r\n"
	conn.SetDeadline(time.Time{})
	// A client that has sent its command already waits for nothing: it is told
	// together with the command's first words.
	first := []byte(upgraded)
	if r.Buffered() == 0 {
		if _, err := conn.Write(first); err != nil {
			return
		}
		first = nil
	}
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	if !in.Scan() {
		return
	}
	var req Request
	if err := json.Unmarshal(in.Bytes(), &req); err != nil {
		return
	}
	req.User, req.From = a.name, a.from
	s.run(ctx, conn, in, &req, first)
}

// run runs a command, whose client is told first before all else.
func (s *Server) run(ctx context.Context, w io.Writer, in *bufio.Scanner, req *Request, first []byte) {
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel() // the client has gone: the command ends
		pump(in, pw)
	})
	c := newConn(w, pr, req.JSON, first)
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
