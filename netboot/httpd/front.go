package httpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot"
)

// A front reads what nearly every machine asks, GET or HEAD of a file of ours by
// HTTP/1.1, without what net/http does around it: a goroutine that listens for
// the end of the connection beside each answer, a context and buffers of its
// own. A small file costs a fifth less so. All else, and what is not in order,
// is net/http's: the first such request takes its connection there. To net/http
// it is the listener of those connections, and of TLS's.
type front struct {
	net.Listener
	s    *Server
	ctx  context.Context // of requests
	rest chan net.Conn   // for net/http
	done chan struct{}   // closed once nothing is accepted
	err  error           // why that is; to be read once done is closed

	stopping atomic.Bool
	left     sync.WaitGroup // connections that are in conns

	mu    sync.Mutex // guards conns
	conns map[*quick]struct{}
}

func newFront(s *Server, l net.Listener) *front {
	return &front{Listener: l, s: s, rest: make(chan net.Conn), done: make(chan struct{}), conns: make(map[*quick]struct{})}
}

// Accept returns a connection that is for net/http.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.rest:
		return c, nil
	case <-f.done:
		return nil, f.err
	}
}

// accept takes connections until the listener is closed, or fails. What fails
// for a moment, since no more files may be open, is tried again.
func (f *front) accept() {
	defer close(f.done)
	for pause := time.Duration(0); ; {
		c, err := f.Listener.Accept()
		if err == nil {
			pause = 0
			f.take(c)
			continue
		}
		if !passes(err) {
			f.err = err
			return
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		f.s.log().Warn("http: no connection can be accepted; tried again", "in", pause, "err", err)
		time.Sleep(pause)
	}
}

func passes(err error) bool {
	for _, no := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

func (f *front) take(c net.Conn) {
	if _, ok := c.(*tls.Conn); ok {
		f.pass(c)
		return
	}
	q := newQuick(c)
	q.open = &f.s.open
	f.mu.Lock()
	stopping := f.stopping.Load()
	if !stopping {
		f.conns[q] = struct{}{}
		f.left.Add(1)
	}
	f.mu.Unlock()
	if stopping {
		c.Close()
		return
	}
	go f.serve(q)
}

// pass gives a connection to net/http.
func (f *front) pass(c net.Conn) {
	select {
	case f.rest <- c:
	case <-f.done:
		c.Close()
		f.s.leave(c)
	}
}

func (f *front) serve(c *quick) {
	rest := false
	defer func() {
		if why := recover(); why != nil {
			f.s.log().Error("http: fault while answering", "addr", c.RemoteAddr(), "fault", why, "stack", string(debug.Stack()))
			rest = false
		}
		f.mu.Lock()
		delete(f.conns, c)
		f.mu.Unlock()
		f.left.Done()
		if rest {
			f.pass(c)
			return
		}
		c.Close()
		f.s.leave(c)
	}()
	rest = f.s.enter(c) && f.requests(c)
}

// headRoom is the most that a request has which a front reads.
const headRoom = 4 << 10

// requests answers what comes by c, and says whether what has come now is for
// net/http.
func (f *front) requests(c *quick) (rest bool) {
	ctx := context.WithValue(withQuick(f.ctx, c), http.LocalAddrContextKey, c.LocalAddr())
	peer := c.RemoteAddr().String()
	buf := make([]byte, headRoom)
	var last asked
	n := 0
	for patience := headerTime; ; patience = idleTime {
		read, end, ok := f.head(c, buf, n, patience)
		if !ok {
			return false
		}
		r, name := f.s.plain(buf[:end], &last)
		if r == nil {
			c.ahead = buf[:read]
			_ = c.SetReadDeadline(time.Time{})
			return true
		}
		if r.RemoteAddr == "" {
			r.RemoteAddr = peer
			r = r.WithContext(ctx)
			last.r, last.m = r, machine(r)
		}
		last.m.Head = r.Method == http.MethodHead
		if !f.answer(c, r, last.m, name) {
			return false
		}
		n = copy(buf, buf[end:read])
	}
}

// head reads until buf, of which n bytes are read, has the head of a request up
// to end, or is full of what has no end: then end is 0. Patience is for the
// first byte of it; all of it may take headerTime.
func (f *front) head(c *quick, buf []byte, n int, patience time.Duration) (read, end int, ok bool) {
	if n > 0 {
		patience = headerTime
	}
	for reads := 0; ; reads++ {
		if end = headEnd(buf[:n]); end > 0 || n == len(buf) {
			return n, end, true
		}
		switch {
		case reads == 0:
			ok = f.await(c, patience)
		case reads == 1 && patience != headerTime:
			ok = f.await(c, headerTime)
		}
		if !ok {
			return n, 0, false
		}
		k, err := c.Read(buf[n:])
		if err != nil {
			return n, 0, false
		}
		n += k
	}
}

// await gives the client so long for what it is to say, or up to a second less;
// false if the server stops.
func (f *front) await(c *quick, patience time.Duration) bool {
	end := time.Now().Add(patience)
	if more := end.Sub(c.awaited); more < 0 || more > time.Second {
		c.awaited = end
		if c.SetReadDeadline(end) != nil {
			return false
		}
	}
	return !f.stopping.Load()
}

func (f *front) answer(c *quick, r *http.Request, m netboot.Machine, name string) (again bool) {
	w := newReply(c, m.Head, r.Close)
	defer w.free()
	f.s.file(w, r, m, name)
	return w.end()
}

// headEnd is where the head of a request ends, 0 if it does not yet.
func headEnd(p []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		switch rest := p[at:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return at + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return at + 2
		}
	}
}

var heads = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, headRoom) }}

// An asked is the request that a connection had last. The next one mostly has the
// same header, to the letter, and is read by its first line alone.
type asked struct {
	r      *http.Request
	m      netboot.Machine // who asked it
	header []byte          // what follows the first line
}

// plain returns the request of a head, and the file that it asks for; nil if
// net/http is to read it. Last is the one before by the same connection.
func (s *Server) plain(head []byte, last *asked) (r *http.Request, name string) {
	line, header, _ := bytes.Cut(head, []byte("\r\n"))
	if last.r != nil && bytes.Equal(header, last.header) {
		r = last.next(line)
	}
	if r == nil {
		if r = read(head); r == nil {
			return nil, ""
		}
		last.r, last.header = r, append(last.header[:0], header...)
	}
	name, err := cleanPath(r.URL)
	if err != nil || !s.ours(name) {
		return nil, ""
	}
	if first, _, _ := strings.Cut(name, "/"); first == callbacks && s.Receiver != nil {
		return nil, ""
	}
	return r, withQuery(name, r.URL)
}

// next makes of the request one that has the same header, and another first
// line; nil if that is to be read anew. No one keeps a request beyond its answer.
func (a *asked) next(line []byte) *http.Request {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, ok := bytes.CutSuffix(rest, []byte(" HTTP/1.1"))
	if !ok || len(target) == 0 || target[0] != '/' || !words(target, "/-_.~") {
		return nil
	}
	r := a.r
	switch string(method) {
	case http.MethodGet:
		r.Method = http.MethodGet
	case http.MethodHead:
		r.Method = http.MethodHead
	default:
		return nil
	}
	if r.RequestURI != string(target) {
		r.RequestURI = string(target)
	}
	*r.URL = url.URL{Path: r.RequestURI}
	return r
}

// read has net/http read a head that has no body; nil if it is out of order.
func read(head []byte) *http.Request {
	if !inOrder(head) {
		return nil
	}
	in := heads.Get().(*bufio.Reader)
	defer heads.Put(in)
	in.Reset(bytes.NewReader(head))
	r, err := http.ReadRequest(in)
	if err != nil || r.Method != http.MethodGet && r.Method != http.MethodHead || r.RequestURI[0] != '/' || r.Host == "" ||
		r.ContentLength != 0 || r.TransferEncoding != nil {
		return nil
	}
	for _, more := range []string{"Content-Length", "Expect", "Upgrade", "Trailer"} {
		if _, ok := r.Header[more]; ok {
			return nil
		}
	}
	return r
}

// inOrder says whether a head is of HTTP/1.1 and has nothing in it that one
// reader may take otherwise than another: lines that end or begin oddly, bytes
// beyond ASCII's, two hosts.
func inOrder(head []byte) bool {
	hosts := 0
	for no := 0; ; no++ {
		i := bytes.IndexByte(head, '\n')
		if i < 1 || head[i-1] != '\r' {
			return false
		}
		line := head[:i-1]
		head = head[i+1:]
		switch {
		case bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }):
			return false
		case no == 0 && !bytes.HasSuffix(line, []byte(" HTTP/1.1")):
			return false
		case len(line) == 0:
			return no > 0 && hosts == 1 && len(head) == 0
		case no == 0:
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !words(name, "-_") {
			return false
		}
		if bytes.EqualFold(name, []byte("host")) {
			if hosts++; !words(bytes.TrimSpace(value), "-_.:[]") {
				return false
			}
		}
	}
}

// words says whether p is one word of letters, digits and what else is named.
func words(p []byte, more string) bool {
	for _, c := range p {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return len(p) > 0
}

// shutdown ends connections that wait for a request at once, others when they
// have their answer, and all when ctx is done.
func (f *front) shutdown(ctx context.Context) {
	f.mu.Lock()
	f.stopping.Store(true)
	for c := range f.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
	f.mu.Unlock()
	all := make(chan struct{})
	go func() {
		f.left.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-ctx.Done():
		f.mu.Lock()
		defer f.mu.Unlock()
		for c := range f.conns {
			c.Close()
		}
	}
}
