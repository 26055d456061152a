package api

import (
	"bufio"
	"bytes"
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
	// Looks says whether a command only looks at things: those go before others.
	// Nil: all are alike.
	Looks func(*Request) bool
	// Denied is told of who may not, before his command is heard; nil: nobody is.
	Denied func(name, from, why string)

	names sync.Map // of users, by number
	crew  crew
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
// is told so. It closes l.
//
// What comes is HTTP/1.1, as it is over TLS, but net/http's server would read
// on behind each request's back and hand the connection over when that ended:
// with many clients at once that costs more than most commands.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	unix, ok := l.(*net.UnixListener)
	if !ok {
		return s.serveAny(ctx, l)
	}
	d, err := newDoor(unix)
	if err != nil {
		l.Close()
		return fmt.Errorf("command socket: %v", err)
	}
	defer context.AfterFunc(ctx, d.close)()
	defer d.close()
	s.crew.fill, s.crew.room = func() { s.letIn(ctx, d) }, d.arm
	for {
		err := d.wait()
		if err == nil {
			err = s.letIn(ctx, d)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
		case isFull(err):
			s.waitFull(ctx, err)
		default:
			return err
		}
		if !s.crew.full() {
			d.arm()
		}
	}
}

// letIn takes in all who have come.
func (s *Server) letIn(ctx context.Context, d *door) error {
	for {
		conn, err := d.accept()
		if conn == nil {
			return err
		}
		s.welcome(ctx, conn)
	}
}

// serveAny answers commands that come by another listener than a unix socket's.
func (s *Server) serveAny(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			go s.serve(ctx, conn, peerCred(conn), nil)
		case ctx.Err() != nil:
			return nil
		case isFull(err):
			s.waitFull(ctx, err)
		default:
			return err
		}
	}
}

// isFull says whether nobody can come in because there are too many open files:
// commands that end give some back.
func isFull(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }

func (s *Server) waitFull(ctx context.Context, err error) {
	s.Log.Warn("command socket: no more files can be opened; raise the limit (LimitNOFILE= of the unit)", "err", err)
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

// A link is a client's connection.
type link interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// hello is how our client begins over a unix socket. What follows is its command.
const hello = "POST /run HTTP/1.1\r\nHost: margay\r\nConnection: Upgrade\r\nUpgrade: margay\r\nContent-Length: 0\r\n\r\n"

// upgraded is what he is told who may give commands.
const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: margay\r\n\r\n"

// helloMost is how long a command is that is taken in at once.
const helloMost = 4 << 10

// welcome takes in who has come. Our client has sent all by now; for what else
// comes there is serve.
func (s *Server) welcome(ctx context.Context, conn *sock) {
	var buf [helloMost]byte
	b := buf[:conn.there(buf[:])]
	cred := conn.cred()
	if line, ok := bytes.CutPrefix(b, []byte(hello)); ok && cred != nil {
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			s.take(ctx, conn, cred, line[:i], line[i+1:])
			return
		}
	}
	go s.serve(ctx, conn, cred, bytes.Clone(b))
}

// take has a command run that came whole. The bytes rest came behind it.
func (s *Server) take(ctx context.Context, conn *sock, cred *syscall.Ucred, line, rest []byte) {
	from, status, why := s.hear(nil, cred)
	if from == nil {
		answer(conn, status, why)
		conn.Close()
		return
	}
	req := new(Request)
	if json.Unmarshal(line, req) != nil {
		conn.Close()
		return
	}
	req.User, req.From = from.name, from.from
	var in io.Reader = conn
	if len(rest) > 0 {
		in = io.MultiReader(bytes.NewReader(bytes.Clone(rest)), conn)
	}
	s.crew.add(s.looks(req), func(t *turn) {
		defer conn.Close()
		defer s.survive()
		s.run(ctx, conn, func() *bufio.Scanner { return scanner(in) }, req, []byte(upgraded), t)
	})
}

func (s *Server) looks(req *Request) bool { return s.Looks != nil && s.Looks(req) }

// scanner reads what clients send, line by line.
func scanner(r io.Reader) *bufio.Scanner {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	return in
}

// survive keeps one command's fault from being the others'.
func (s *Server) survive() {
	if v := recover(); v != nil {
		s.Log.Error("command socket: a command broke down", "err", v, "stack", string(debug.Stack()))
	}
}

// serve answers one request, of which the bytes b have been read.
func (s *Server) serve(ctx context.Context, conn link, cred *syscall.Ucred, b []byte) {
	defer conn.Close()
	defer s.survive()
	conn.SetDeadline(time.Now().Add(headTime))
	limit := &io.LimitedReader{R: io.MultiReader(bytes.NewReader(b), conn), N: http.DefaultMaxHeaderBytes}
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
		if from, status, why = s.hear(r, cred); from != nil {
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

// command reads what a has run, and has it run.
func (s *Server) command(ctx context.Context, conn link, r *bufio.Reader, a *asker) {
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
	in := scanner(r)
	if !in.Scan() {
		return
	}
	req := new(Request)
	if err := json.Unmarshal(in.Bytes(), req); err != nil {
		return
	}
	req.User, req.From = a.name, a.from
	done := make(chan struct{})
	s.crew.add(s.looks(req), func(t *turn) {
		defer close(done)
		defer s.survive()
		s.run(ctx, conn, func() *bufio.Scanner { return in }, req, first, t)
	})
	<-done
}

// run runs a command, whose client is told first before all else.
func (s *Server) run(ctx context.Context, conn link, in func() *bufio.Scanner, req *Request, first []byte, t *turn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := newConn(conn, req.JSON, first)
	c.turn = t
	c.input.begin = func(w *io.PipeWriter) {
		defer cancel() // the client has gone: the command ends
		pump(in(), w)
	}
	// Of a command that is soon done nobody need know whether its client has
	// gone meanwhile.
	t.long = time.AfterFunc(turnLong, func() {
		t.end()
		c.attend()
	})
	defer c.input.end(conn) // also if it breaks down
	defer t.long.Stop()
	code := s.Run(ctx, req, c)
	c.Send(Frame{Kind: FrameExit, Code: code})
	c.end()
}

// A clientInput is a client's standard input, and his going away.
type clientInput struct {
	begin func(*io.PipeWriter) // reads what he sends, until he goes away

	mu     sync.Mutex
	reader *io.PipeReader // nil: nobody listens yet; guarded by mu
	over   bool           // guarded by mu
	wg     sync.WaitGroup
}

// listen begins to listen to the client, and returns what he sends as input;
// nil: the command has ended.
func (i *clientInput) listen() *io.PipeReader {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.reader == nil && !i.over {
		var w *io.PipeWriter
		i.reader, w = io.Pipe()
		i.wg.Go(func() { i.begin(w) })
	}
	return i.reader
}

// end closes the connection, and waits until nobody listens.
func (i *clientInput) end(conn io.Closer) {
	i.mu.Lock()
	i.over = true
	r := i.reader
	i.mu.Unlock()
	if r != nil {
		r.Close()
	}
	conn.Close()
	i.wg.Wait()
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
