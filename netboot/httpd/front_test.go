package httpd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot"
)

// shelves is a world whose clock stands, on disk and in memory.
func shelves(t testing.TB) *world {
	dir := t.TempDir()
	for name, n := range map[string]int{"boot/mod": 300_000, "boot/small": 2500, "boot/none": 0} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, noise(n), 0o600),
			os.Chtimes(name, time.Time{}, time.Unix(1_700_000_000, 0))); err != nil {
			t.Fatal(err)
		}
	}
	return &world{dir: dir, files: map[string][]byte{"boot/x": []byte("hello"), "boot/made": noise(100_000)}}
}

// exchange sends text by a connection of its own and returns the answers to n
// requests.
func exchange(t testing.TB, addr, text string, methods ...string) (answers []string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for _, method := range methods {
		a, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return append(answers, err.Error())
		}
		body, err := io.ReadAll(a.Body)
		a.Header.Del("Date")
		var b strings.Builder
		b.WriteString(a.Status + "\n")
		a.Header.Write(&b)
		if _, bounds, ok := strings.Cut(a.Header.Get("Content-Type"), "boundary="); ok {
			body = bytes.ReplaceAll(body, []byte(bounds), []byte("-"))
			b.Reset()
			b.WriteString(a.Status + "\n")
		}
		answers = append(answers, b.String()+string(body)+errText(err))
	}
	return answers
}

func errText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// What a front answers is what net/http answers, header by header.
func TestFrontAgrees(t *testing.T) {
	w := shelves(t)
	s := &Server{Opener: w, Receiver: w}
	own := strings.TrimPrefix(serve(t, s), "http://")
	other := httptest.NewServer(s)
	defer other.Close()
	theirs := strings.TrimPrefix(other.URL, "http://")
	const host = "Host: a\r\n"
	for _, tt := range []struct {
		ask   string
		front bool
	}{
		{"GET /boot/mod HTTP/1.1\r\n" + host, true},
		{"GET /boot/small HTTP/1.1\r\n" + host, true},
		{"GET /boot/none HTTP/1.1\r\n" + host, true},
		{"GET /boot/x?t=1 HTTP/1.1\r\n" + host, true},
		{"GET /boot/made HTTP/1.1\r\n" + host, true},
		{"GET //boot/./y/../x HTTP/1.1\r\n" + host, true},
		{"GET /boot/%78 HTTP/1.1\r\n" + host, true},
		{"HEAD /boot/mod HTTP/1.1\r\n" + host, true},
		{"HEAD /boot/made HTTP/1.1\r\n" + host, true},
		{"HEAD /boot/missing HTTP/1.1\r\n" + host, true},
		{"GET /boot/missing HTTP/1.1\r\n" + host, true},
		{"GET /boot/refused HTTP/1.1\r\n" + host, true},
		{"GET /boot/broken HTTP/1.1\r\n" + host, true},
		{"GET /boot/refused HTTP/1.1\r\nhost:a\r\nUser-Agent: iPXE/1.21.1\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "Connection: close\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "Range: bytes=5-99\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "Range: bytes=100000-\r\n", true},
		{"HEAD /boot/mod HTTP/1.1\r\n" + host + "Range: bytes=100000-\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "Range: bytes=0-1,200000-299998\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "Range: bytes=400000-\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "Range: lines=4\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n", true},
		{"HEAD /boot/mod HTTP/1.1\r\n" + host + "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "If-Modified-Since: Tue, 14 Nov 2023 22:13:19 GMT\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT\r\n", true},
		{"GET /boot/mod HTTP/1.1\r\n" + host + "Range: bytes=5-99\r\nIf-Range: Tue, 14 Nov 2023 22:13:20 GMT\r\n", true},

		{"GET /boot/x HTTP/1.0\r\n", false},
		{"GET /boot/x HTTP/1.1\r\n", false},
		{"GET /boot/x HTTP/1.1\r\n" + host + "Host: b\r\n", false},
		{"GET http://a/boot/x HTTP/1.1\r\n" + host, false},
		{"GET /../x HTTP/1.1\r\n" + host, false},
		{"GET /boot/%5cx HTTP/1.1\r\n" + host, false},
		{"GET /boot/\u00e9 HTTP/1.1\r\n" + host, false},
		{"GET /boot/x HTTP/1.1\r\n" + host + "X: a\r\n b\r\n", false},
		{"GET /boot/x HTTP/1.1\r\n" + host + "X: \x01\r\n", false},
		{"GET /boot/x HTTP/1.1\r\n" + host + "X : a\r\n", false},
		{"GET /boot/x HTTP/1.1\r\nHost: a b\r\n", false},
		{"GET /boot/x HTTP/1.1\r\nHost: a/b\r\n", false},
		{"GET /boot/x HTTP/1.1\n" + "Host: a\n", false},
		{"GET /boot/x HTTP/1.1\r\n" + host + "Content-Length: 0\r\n", false},
		{"GET /boot/x HTTP/1.1\r\n" + host + "Upgrade: h2c\r\nConnection: upgrade\r\n", false},
		{"GET /boot/x HTTP/1.1\r\n" + host + "Expect: 200-fine\r\n", false},
		{"GET /boot/x  HTTP/1.1\r\n" + host, false},
		{"GET /boot/x HTTP/1.1\r\n" + host + "A: " + strings.Repeat("a", headRoom) + "\r\n", false},
		{"get /boot/x HTTP/1.1\r\n" + host, false},
		{"POST /boot/x HTTP/1.1\r\n" + host, false},
		{"GET /callback/t/state HTTP/1.1\r\n" + host, false},
		{"FETCH\r\n", false},
	} {
		ask := tt.ask + "\r\n"
		if strings.HasSuffix(tt.ask, "a\n") {
			ask = tt.ask + "\n"
		}
		head := []byte(ask)
		r, _ := s.plain(head[:min(len(head), headEnd(head))], new(asked))
		if len(head) > headRoom {
			r = nil
		}
		if (r != nil) != tt.front {
			t.Errorf("%.60q: read by the front %v, want %v", tt.ask, r != nil, tt.front)
		}
		method, _, _ := strings.Cut(tt.ask, " ")
		// The second tells whether the connection goes on.
		twice := []string{method, "GET"}
		got := exchange(t, own, ask+"GET /boot/x HTTP/1.1\r\nHost: a\r\n\r\n", twice...)
		want := exchange(t, theirs, ask+"GET /boot/x HTTP/1.1\r\nHost: a\r\n\r\n", twice...)
		if len(got) != len(want) {
			t.Errorf("%.60q: %d answers, want %d", tt.ask, len(got), len(want))
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%.60q: answer %d is\n%.300s\nwant\n%.300s", tt.ask, i, got[i], want[i])
			}
		}
	}
}

// A connection serves requests that come in one piece, in many, and among them
// some that are net/http's.
func TestFrontConnection(t *testing.T) {
	w := shelves(t)
	s := &Server{Opener: w, Receiver: w}
	addr := strings.TrimPrefix(serve(t, s), "http://")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	answer := func(method, want string) {
		t.Helper()
		a, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(a.Body); err != nil || string(body) != want {
			t.Fatalf("%d bytes, %v; want %d", len(body), err, len(want))
		}
	}
	const ask = "GET /boot/x HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, c1 := range ask {
		io.WriteString(c, string(c1))
	}
	answer("GET", "hello")
	io.WriteString(c, ask+"HEAD /boot/mod HTTP/1.1\r\nHost: a\r\n\r\n"+strings.Replace(ask, "x", "mod", 1)+ask[:10])
	answer("GET", "hello")
	answer("HEAD", "")
	answer("GET", string(noise(300_000)))
	io.WriteString(c, ask[10:])
	answer("GET", "hello")
	io.WriteString(c, "POST /callback/t/state HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\ndone"+ask)
	answer("POST", "ok\n")
	answer("GET", "hello")
	if w.posted["t/state"] != "done" && w.posted["callback/t/state"] != "done" {
		t.Errorf("posted %v", w.posted)
	}
	if l := s.Load(); l.Conns != 1 {
		t.Errorf("load %+v", l)
	}
}

// A request that waits for its turn is given up once its client has gone.
func TestFrontWatches(t *testing.T) {
	if raced {
		t.Skip("a connection is not watched under the race detector")
	}
	w := shelves(t)
	big := noise(largeFile)
	w.files["boot/big"] = big
	s := &Server{Opener: w, Sends: 1}
	addr := strings.TrimPrefix(serve(t, s), "http://")
	g := s.turns()
	own := g.pass(netip.Addr{})
	if own == nil {
		t.Fatal("no turn is free")
	}
	waiting := func(n int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); s.Load().Waiting != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d wait, want %d", s.Load().Waiting, n)
			}
		}
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET /boot/big HTTP/1.1\r\nHost: a\r\n\r\n")
		return c
	}
	gone := dial()
	waiting(1)
	gone.Close()
	waiting(0)
	c := dial()
	defer c.Close()
	waiting(1)
	io.WriteString(c, "GET /boot/x HTTP/1.1\r\nHost: a\r\n\r\n")
	g.leave(own)
	in := bufio.NewReader(c)
	for _, want := range []string{string(big), "hello"} {
		a, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(a.Body); err != nil || string(body) != want {
			t.Errorf("%d bytes, %v; want %d", len(body), err, len(want))
		}
	}
}

// A server that stops ends at once what waits for a request, and gives an answer
// under way its moment.
func TestFrontStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{files: map[string][]byte{"boot/x": noise(100_000)}}
		l := &pipes{conns: make(chan net.Conn)}
		s := &Server{Opener: w, Observer: w}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, l) }()
		idle, busy, stuck := l.dial(), l.dial(), l.dial()
		for _, c := range []net.Conn{busy, stuck} {
			io.WriteString(c, "GET /boot/x HTTP/1.1\r\nHost: x\r\n\r\n")
			io.CopyN(io.Discard, c, 100)
		}
		synctest.Wait()
		began := time.Now()
		cancel()
		if _, err := idle.Read(make([]byte, 1)); err == nil || time.Since(began) > 0 {
			t.Errorf("idle: %v after %v", err, time.Since(began))
		}
		time.Sleep(goodbyeTime / 2)
		if n, err := io.Copy(io.Discard, busy); err != nil || n < 100_000 || time.Since(began) > goodbyeTime/2 {
			t.Errorf("busy: %d bytes, %v after %v", n, err, time.Since(began))
		}
		if err := <-done; err != nil || time.Since(began) > goodbyeTime {
			t.Errorf("stopped after %v: %v", time.Since(began), err)
		}
		if n, err := io.Copy(io.Discard, stuck); n >= 100_000 {
			t.Errorf("stuck: %d bytes, %v", n, err)
		}
		synctest.Wait()
		if l := s.Load(); l.Conns != 0 {
			t.Errorf("load %+v", l)
		}
	})
}

// A client has headerTime for a request, idleTime between two.
func TestFrontPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{files: map[string][]byte{"boot/x": []byte("hello")}}
		l := &pipes{conns: make(chan net.Conn)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- (&Server{Opener: w}).Serve(ctx, l) }()
		const ask = "GET /boot/x HTTP/1.1\r\nHost: x\r\n\r\n"
		c := l.dial()
		in := bufio.NewReader(c)
		for range 2 {
			io.WriteString(c, ask)
			a, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, a.Body)
			time.Sleep(idleTime - time.Second)
		}
		began := time.Now()
		for i := range ask { // a byte a second
			if _, err := io.WriteString(c, ask[i:i+1]); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took < headerTime || took > headerTime+2*time.Second {
			t.Errorf("hung up on after %v", took)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// flaky fails to accept a few times.
type flaky struct {
	net.Listener
	errs []error
}

func (l *flaky) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

// What passes is waited for; what does not ends the server.
func TestFrontAccepts(t *testing.T) {
	w := shelves(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := serveOn(t, &Server{Opener: w}, &flaky{l, []error{
		&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", unix.EMFILE)},
		&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", unix.ECONNABORTED)},
	}})
	if _, body := get(t, "GET", at+"/boot/x"); body != "hello" {
		t.Errorf("%q", body)
	}
	broken := errors.New("the socket broke")
	l, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Server{Opener: w}).Serve(t.Context(), &flaky{l, []error{broken}}); err == nil || !strings.Contains(err.Error(), broken.Error()) {
		t.Errorf("ended with %v", err)
	}
}

// A fault in what opens files ends one connection, and is logged.
func TestFrontFault(t *testing.T) {
	log := &text{}
	at := serve(t, &Server{Log: slog.New(slog.NewTextHandler(log, nil)), Opener: openerFunc(func(name string) (*netboot.File, error) {
		if name == "boot/bad" {
			panic("out of order")
		}
		return &netboot.File{Body: inMemory{bytes.NewReader([]byte("hello"))}, Size: 5}, nil
	})})
	if got := exchange(t, strings.TrimPrefix(at, "http://"), "GET /boot/bad HTTP/1.1\r\nHost: a\r\n\r\n", "GET"); len(got) != 1 || !strings.Contains(got[0], "EOF") {
		t.Errorf("answered %q", got)
	}
	if _, body := get(t, "GET", at+"/boot/x"); body != "hello" {
		t.Errorf("%q", body)
	}
	if got := log.String(); !strings.Contains(got, "out of order") {
		t.Errorf("logged %q", got)
	}
}

// A text is what was logged.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type openerFunc func(name string) (*netboot.File, error)

func (o openerFunc) Open(_ context.Context, _ netboot.Machine, name string) (*netboot.File, error) {
	return o(name)
}

// Whatever a head is, it is read as net/http reads it or left to net/http.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		"GET /boot/x HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /boot/x?t=1 HTTP/1.1\r\nhost: a\r\nRange: bytes=1-\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "GET //a HTTP/1.1\nHost: a\n\n", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	s := &Server{}
	read := func(t *testing.T, text []byte, last *asked) {
		r, name := s.plain(text, last)
		if r == nil {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil || want.ContentLength != 0 || !reflect.DeepEqual(r.WithContext(t.Context()), want.WithContext(t.Context())) {
			t.Errorf("%q is read as %+v, want %+v, %v", text, r, want, err)
		}
		if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\\x00") {
			t.Errorf("%q: name %q", text, name)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		end := headEnd(text)
		if end > len(text) || end > 0 && headEnd(text[:end]) != end || end > 0 && headEnd(text[:end-1]) != 0 {
			t.Fatalf("%q ends at %d", text, end)
		}
		text = text[:end]
		read(t, text, new(asked))
		// The same after another with the same header.
		_, header, _ := bytes.Cut(text, []byte("\r\n"))
		var last asked
		read(t, append([]byte("HEAD /before?q HTTP/1.1\r\n"), header...), &last)
		read(t, text, &last)
	})
}
