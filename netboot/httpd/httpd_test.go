package httpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"margay/netboot"
)

// world is an opener, a receiver and an observer.
type world struct {
	files map[string][]byte
	dir   string // what is not in files is read from here

	mu       sync.Mutex
	asked    []string
	machines []netboot.Machine
	posted   map[string]string
	events   []netboot.Event
}

func (w *world) Open(_ context.Context, m netboot.Machine, name string) (*netboot.File, error) {
	w.mu.Lock()
	w.asked = append(w.asked, name)
	w.machines = append(w.machines, m)
	w.mu.Unlock()
	name, _, _ = strings.Cut(name, "?")
	switch name {
	case "boot/refused":
		return nil, &netboot.Refusal{Node: "n1", Reason: "node n1 is held; run nodeset n1 install"}
	case "boot/broken":
		return nil, errors.New("disk on fire")
	case "boot/ignored":
		return nil, netboot.ErrIgnore
	}
	if data, ok := w.files[name]; ok {
		return &netboot.File{Node: "n1", Body: inMemory{bytes.NewReader(data)}, Size: int64(len(data)), Type: "text/plain"}, nil
	}
	f, err := os.Open(filepath.Join(w.dir, filepath.FromSlash(name)))
	if err != nil || w.dir == "" {
		return nil, netboot.ErrNotFound
	}
	info, err := f.Stat()
	return &netboot.File{Node: "n1", Name: name, Body: f, Size: info.Size(), ModTime: info.ModTime()}, err
}

func (w *world) Receive(_ context.Context, m netboot.Machine, name string, body io.Reader) error {
	if strings.HasSuffix(name, "/spent") {
		return &netboot.Refusal{Node: "n1", Reason: "this attempt is over"}
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.posted == nil {
		w.posted = make(map[string]string)
	}
	w.posted[name] = string(data)
	return nil
}

func (w *world) Observe(e netboot.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// over waits until n answers are over for the server too, which the client has
// whole a little before.
func (w *world) over(t testing.TB, n int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		done := 0
		w.mu.Lock()
		for _, e := range w.events {
			if e.Done {
				done++
			}
		}
		w.mu.Unlock()
		if done >= n {
			return
		}
	}
	t.Fatalf("not %d answers are over", n)
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// serve runs s on loopback until the end of the test.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, s, l)
}

func serveOn(t testing.TB, s *Server, l net.Listener) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// get asks and returns the answer with its body read.
func get(t testing.TB, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	if err != nil {
		t.Errorf("%s %s: %v", method, url, err)
	}
	return a, string(data)
}

func TestAnswers(t *testing.T) {
	big := string(noise(3 << 20))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big"), []byte(big), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := strings.Repeat("modules=a.b00 --- ", 500)
	w := &world{dir: dir, files: map[string][]byte{"boot/n1/boot.cfg": []byte(cfg), "install/a b": []byte("x"), "boot/empty": {}}}
	at := serve(t, &Server{Opener: w, Observer: w})
	tests := []struct {
		method, path string
		header       []string
		status       int
		body         string
		length       int64
	}{
		{"GET", "/boot/n1/boot.cfg", nil, 200, cfg, int64(len(cfg))},
		{"GET", "/boot/n1/boot.cfg?t=secret", nil, 200, cfg, int64(len(cfg))},
		{"GET", "//boot///n1/./x/../boot.cfg", nil, 200, cfg, int64(len(cfg))},
		{"GET", "/boot/n1/boot.cfg/", nil, 200, cfg, int64(len(cfg))},
		{"GET", "/install/a%20b", nil, 200, "x", 1},
		{"GET", "/boot/empty", nil, 200, "", 0},
		{"HEAD", "/boot/n1/boot.cfg", nil, 200, "", int64(len(cfg))},
		{"HEAD", "/big", nil, 200, "", int64(len(big))},
		{"GET", "/big", nil, 200, big, int64(len(big))},
		{"GET", "/big", []string{"Range", "bytes=10-19"}, 206, big[10:20], 10},
		{"GET", "/big", []string{"Range", "bytes=2000000-"}, 206, big[2000000:], int64(len(big)) - 2000000},
		{"GET", "/big", []string{"Range", "bytes=-5"}, 206, big[len(big)-5:], 5},
		{"GET", "/big", []string{"Range", "bytes=9999999-"}, 416, "invalid range: failed to overlap\n", 33},
		{"GET", "/big", []string{"If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}, 304, "", -1},
		{"GET", "/nothing", nil, 404, "no such file\n", 13},
		{"GET", "/boot/ignored", nil, 404, "no such file\n", 13},
		{"HEAD", "/nothing", nil, 404, "", 13},
		{"GET", "/../../etc/passwd", nil, 404, "no such file\n", 13},
		{"GET", "/%2e%2e/%2e%2e/etc/passwd", nil, 404, "no such file\n", 13},
		{"GET", "/boot/..%2f..%2f../etc/passwd", nil, 404, "no such file\n", 13},
		{"GET", "/boot%5cn1", nil, 404, "no such file\n", 13},
		{"GET", "/boot/n1%00", nil, 404, "no such file\n", 13},
		{"GET", "/boot/n1/boot.cfg%3Ft=x", nil, 404, "no such file\n", 13},
		{"GET", "/" + strings.Repeat("a", 5000), nil, 404, "no such file\n", 13},
		{"GET", "/boot/refused", nil, 403, "node n1 is held; run nodeset n1 install\n", 40},
		{"GET", "/boot/broken", nil, 500, "server error; see the server's log\n", 35},
		{"POST", "/boot/n1/boot.cfg", nil, 405, "files are only read\n", 20},
		{"GET", "/callback/tok/installed", nil, 404, "no such file\n", 13}, // no receiver
	}
	for _, tt := range tests {
		a, body := get(t, tt.method, at+tt.path, tt.header...)
		if a.StatusCode != tt.status || body != tt.body {
			t.Errorf("%s %.60s: %d %.60q, want %d %.60q", tt.method, tt.path, a.StatusCode, body, tt.status, tt.body)
		}
		if tt.length >= 0 && (a.ContentLength != tt.length || a.TransferEncoding != nil) {
			t.Errorf("%s %.60s: length %d %v, want %d", tt.method, tt.path, a.ContentLength, a.TransferEncoding, tt.length)
		}
	}
	for _, name := range w.asked {
		if strings.HasPrefix(name, "/") || strings.Contains(name, "..") {
			t.Errorf("the opener was asked for %q", name)
		}
	}
	if !strings.Contains(strings.Join(w.asked, " "), "boot/n1/boot.cfg?t=secret") {
		t.Error("the opener did not see the query")
	}
}

func TestMachine(t *testing.T) {
	w := &world{files: map[string][]byte{"boot/x": nil}}
	at := serve(t, &Server{Opener: w})
	get(t, "HEAD", at+"/boot/x", "User-Agent", "UefiHttpBoot/1.0", "Margay-Probe", "s3")
	m := w.machines[0]
	here := netip.MustParseAddr("127.0.0.1")
	if m.Addr != here || m.Local != here || m.Agent != "UefiHttpBoot/1.0" || !m.Head || m.Probe != "s3" {
		t.Errorf("%+v", m)
	}
}

func TestEventsAndLogHoldNoSecret(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mod.v00"), noise(100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	w := &world{dir: dir, files: map[string][]byte{"boot/n1/ks.cfg": []byte("rootpw")}}
	s := &Server{Opener: w, Receiver: w, Observer: w, Body: 10,
		Log: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	at := serve(t, s)
	get(t, "GET", at+"/boot/n1/ks.cfg?t=SECRET")
	get(t, "HEAD", at+"/mod.v00")
	get(t, "GET", at+"/mod.v00")
	get(t, "GET", at+"/boot/refused?t=SECRET")
	get(t, "GET", at+"/nothing?t=SECRET")
	get(t, "GET", at+"/boot/broken?t=SECRET")
	get(t, "GET", at+"/callback/SECRET/spent")
	if a, err := http.Post(at+"/callback/SECRET/installed", "", strings.NewReader("far too much")); err != nil || a.StatusCode != 413 {
		t.Errorf("%v %v, want 413", a, err)
	}
	want := []struct {
		step netboot.Step
		name string
		done bool
		sent int64
	}{
		{netboot.StepFile, "boot/n1/ks.cfg", false, 0},
		{netboot.StepFile, "boot/n1/ks.cfg", true, 6},
		{netboot.StepFile, "mod.v00", false, 0},
		{netboot.StepFile, "mod.v00", true, 100_000},
		{netboot.StepRefused, "boot/refused", false, 0},
		{netboot.StepRefused, "nothing", false, 0},
		{netboot.StepRefused, "boot/broken", false, 0},
		{netboot.StepRefused, "callback/spent", false, 0},
		{netboot.StepRefused, "callback/installed", false, 0},
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) != len(want) {
		t.Fatalf("%d events, want %d: %+v", len(w.events), len(want), w.events)
	}
	for i, e := range w.events {
		if e.Step != want[i].step || e.Name != want[i].name || e.Done != want[i].done || e.Bytes != want[i].sent || e.Proto != "http" {
			t.Errorf("event %d: %+v, want %+v", i, e, want[i])
		}
		if e.Step == netboot.StepRefused && e.Err == nil {
			t.Errorf("event %d tells no reason", i)
		}
	}
	if strings.Contains(text.String(), "SECRET") || strings.Contains(fmt.Sprint(w.events), "SECRET") {
		t.Errorf("a secret is shown:\n%s\n%v", text.String(), w.events)
	}
}

func TestCallback(t *testing.T) {
	w := &world{}
	at := serve(t, &Server{Opener: w, Receiver: w})
	if a, err := http.Post(at+"/callback/tok/installed?x=1", "", strings.NewReader("log text")); err != nil || a.StatusCode != 200 || a.ContentLength != 3 {
		t.Errorf("POST: %v %v", a, err)
	}
	if a, body := get(t, "GET", at+"/callback/tok/booted"); a.StatusCode != 200 || body != "ok\n" {
		t.Errorf("GET: %v", a)
	}
	if a, _ := get(t, "HEAD", at+"/callback/tok/probed"); a.StatusCode != 405 {
		t.Errorf("HEAD: %v, want 405: it must not count", a)
	}
	if a, body := get(t, "DELETE", at+"/callback/tok/probed"); a.StatusCode != 405 || body != "callbacks are posted\n" || a.Header.Get("Allow") != "GET, POST" {
		t.Errorf("DELETE: %v %q", a, body)
	}
	if a, body := get(t, "GET", at+"/callback/tok/spent"); a.StatusCode != 403 || body != "this attempt is over\n" {
		t.Errorf("refused: %v %q", a, body)
	}
	want := map[string]string{"callback/tok/installed?x=1": "log text", "callback/tok/booted": ""}
	if fmt.Sprint(w.posted) != fmt.Sprint(want) {
		t.Errorf("received %v, want %v", w.posted, want)
	}
}

// TestWords: what is refused for its form is refused in words to who asks, and in
// an event, which says what was asked.
func TestWords(t *testing.T) {
	w := &world{files: map[string][]byte{"boot/x": nil}}
	at := serve(t, &Server{Opener: w, Receiver: w, Observer: w, Body: 10})
	for _, tt := range []struct {
		method, path, send string
		status             int
		body, allow, why   string
	}{
		{"POST", "/boot/x", "", 405, "files are only read\n", "GET, HEAD", "POST: files are only read"},
		{"PUT", "/boot/x", "", 405, "files are only read\n", "GET, HEAD", "PUT: files are only read"},
		{"PUT", "/callback/tok/installed", "", 405, "callbacks are posted\n", "GET, POST", "PUT: callbacks are posted"},
		{"POST", "/callback/tok/installed", "12345678901", 413, "body too large; 10 bytes are taken\n", "", "what is posted has more than 10 bytes"},
	} {
		req, err := http.NewRequest(tt.method, at+tt.path, strings.NewReader(tt.send))
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || a.StatusCode != tt.status || string(body) != tt.body || a.Header.Get("Allow") != tt.allow {
			t.Errorf("%s %s: %d %q, Allow %q, %v; want %d %q, %q", tt.method, tt.path, a.StatusCode, body, a.Header.Get("Allow"), err, tt.status, tt.body, tt.allow)
		}
		w.mu.Lock()
		if n := len(w.events); n == 0 || w.events[n-1].Step != netboot.StepRefused || w.events[n-1].Err == nil || w.events[n-1].Err.Error() != tt.why {
			t.Errorf("%s %s: events %+v, want one that says %q", tt.method, tt.path, w.events, tt.why)
		}
		w.mu.Unlock()
	}
}

func TestFallback(t *testing.T) {
	w := &world{files: map[string][]byte{"boot/x": []byte("boot")}}
	other := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page "+r.URL.Path) })
	at := serve(t, &Server{Opener: w, Receiver: w, Fallback: other})
	for path, want := range map[string]string{"/": "page /", "/metrics": "page /metrics", "/boot/x": "boot", "/bootx": "page /bootx", "/callback/t/x": "ok\n"} {
		if _, body := get(t, "GET", at+path); body != want {
			t.Errorf("%s: %q, want %q", path, body, want)
		}
	}
}

// A spy is a listener whose connections tell what they are asked to send whole.
type spy struct {
	net.Listener
	files atomic.Int64 // bytes that came from an *os.File
}

type spyConn struct {
	*net.TCPConn
	spy *spy
}

func (l *spy) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &spyConn{c.(*net.TCPConn), l}, nil
}

func (c *spyConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	if lr, ok := r.(*io.LimitedReader); ok {
		if _, ok := lr.R.(*os.File); ok {
			c.spy.files.Add(n)
		}
	}
	return n, err
}

// net.TCPConn.ReadFrom uses sendfile for an *os.File behind one LimitedReader,
// and for nothing that wraps it further.
func TestFilesReachSendfile(t *testing.T) {
	const size = 5<<20 + 7
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mod"), noise(size), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sp := &spy{Listener: l}
	w := &world{dir: dir}
	at := serveOn(t, &Server{Opener: w, Observer: w, Sends: 1}, sp)
	if _, body := get(t, "GET", at+"/mod"); body != string(noise(size)) {
		t.Error("content differs")
	}
	w.over(t, 1)
	if n := sp.files.Load(); n < size-512 { // the first bytes leave with the header
		t.Errorf("%d of %d bytes went straight from the file", n, size)
	}
	sp.files.Store(0)
	get(t, "GET", at+"/mod", "Range", "bytes=1000000-2999999")
	w.over(t, 2)
	if n := sp.files.Load(); n < 2_000_000-512 {
		t.Errorf("%d of a range of 2000000 bytes went straight from the file", n)
	}
}

func TestOldClients(t *testing.T) {
	w := &world{files: map[string][]byte{"boot/x": []byte("hello")}}
	at := strings.TrimPrefix(serve(t, &Server{Opener: w}), "http://")
	tests := []struct{ ask, first, last string }{
		{"GET /boot/x HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", "hello"},
		{"HEAD /boot/x HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", "\r\n\r\n"},
		{"GET //boot//x HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", "hello"},
		{"GET http://any/boot/x HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", "hello"},
	}
	for _, tt := range tests {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, tt.ask)
		got, err := io.ReadAll(c)
		c.Close()
		if err != nil || !strings.HasPrefix(string(got), tt.first) || !strings.HasSuffix(string(got), tt.last) ||
			!strings.Contains(string(got), "Content-Length: 5") {
			t.Errorf("%q: %q %v", tt.ask, got, err)
		}
	}
}

func TestPerAddressLimit(t *testing.T) {
	w := &world{files: map[string][]byte{"boot/x": []byte("hello")}}
	told := make(chan netboot.Event, 10)
	s := &Server{Opener: w, PerAddr: 2, Observer: observerFunc(func(e netboot.Event) {
		if e.Step == netboot.StepRefused {
			told <- e
		}
	})}
	at := strings.TrimPrefix(serve(t, s), "http://")
	ask := func(c net.Conn) string {
		io.WriteString(c, "GET /boot/x HTTP/1.1\r\nHost: x\r\n\r\n")
		buf := make([]byte, 512)
		n, _ := c.Read(buf)
		return string(buf[:n])
	}
	var open []net.Conn
	for i := range 3 {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
		if got := ask(c); strings.HasPrefix(got, "HTTP/1.1 200") != (i < 2) {
			t.Errorf("connection %d: %q", i, got)
		}
	}
	if l := s.Load(); l.Conns != 2 || l.Closed != 1 {
		t.Errorf("load %+v", l)
	}
	if e := <-told; e.Machine.Addr != netip.MustParseAddr("127.0.0.1") || !strings.Contains(e.Err.Error(), "2 connections are open from it") {
		t.Errorf("told %+v", e)
	}
	_ = open
}

func TestClientGoesAway(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mod"), noise(50<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan netboot.Event, 1)
	w := &world{dir: dir}
	at := serve(t, &Server{Opener: w, Observer: observerFunc(func(e netboot.Event) {
		if e.Done {
			ended <- e
		}
	})})
	c, err := net.Dial("tcp", strings.TrimPrefix(at, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET /mod HTTP/1.1\r\nHost: x\r\n\r\n")
	io.CopyN(io.Discard, c, 1000)
	c.Close()
	if e := <-ended; e.Err == nil || e.Bytes >= e.Size || e.Size != 50<<20 {
		t.Errorf("%+v", e)
	}
}

type observerFunc func(netboot.Event)

func (f observerFunc) Observe(e netboot.Event) { f(e) }

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		ctx, a := t.Context(), netip.MustParseAddr("10.1.0.11")
		first := g.pass(a)
		if first == nil {
			t.Fatal("no turn is free")
		}
		if own, err := g.enter(ctx, a, time.Second); own != nil || !errors.Is(err, errTurn) {
			t.Errorf("second: %v, %v, want %v", own, err, errTurn)
		}
		in := make(chan *turn, 1)
		go func() {
			own, _ := g.enter(ctx, a, slowTime/2)
			in <- own
		}()
		synctest.Wait()
		if len(g.waiting) != 1 {
			t.Fatalf("%d wait, want 1", len(g.waiting))
		}
		g.leave(first)
		third := <-in
		if third == nil {
			t.Error("third: no turn")
		}
		g.leave(third)
		g.leave(third)
		g.leave(nil)
		if g.free != 1 || len(g.waiting) != 0 || len(g.turns) != 0 || len(g.byAddr) != 0 {
			t.Errorf("left with %+v", g)
		}
	})
}

// An address has all turns as long as no other one asks, and then its share; those
// behind it in the queue need not wait for it.
func TestGateShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(8)
		greedy := netip.MustParseAddr("10.1.0.11")
		var own []*turn
		for range 8 {
			own = append(own, g.pass(greedy))
		}
		if own[7] == nil || g.pass(greedy) != nil {
			t.Fatalf("one address has %d turns of 8", g.byAddr[greedy])
		}
		got := make(chan *turn)
		go func() {
			own, _ := g.enter(t.Context(), greedy, time.Hour)
			got <- own
		}()
		synctest.Wait()
		for other, n := netip.MustParseAddr("10.1.0.12"), 1; n <= 6; other, n = other.Next(), n+1 {
			if own, err := g.enter(t.Context(), other, time.Second); err != nil {
				t.Errorf("address %d: %v, %v", n, own, err)
			}
		}
		if own, err := g.enter(t.Context(), netip.MustParseAddr("10.1.0.20"), time.Second); own != nil || !errors.Is(err, errTurn) || g.byAddr[greedy] != g.share {
			t.Errorf("one more: %v, %v, and the first has %d turns", own, err, g.byAddr[greedy])
		}
		for _, own := range own {
			g.leave(own)
		}
		if own := <-got; own == nil || g.byAddr[greedy] != 1 || g.free != 1 || g.over != 0 {
			t.Errorf("once its own have left: %v, %+v", own, g)
		}
	})
}

// Who is slow has his turn taken when another one waits, and not before.
func TestGateTakesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		a := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, 0, n}) }
		slow := g.pass(a(1))
		time.Sleep(slowTime)
		slow.took(time.Now())
		time.Sleep(slowTime)
		if own, err := g.enter(t.Context(), a(2), 0); own != nil || err == nil {
			t.Errorf("%v, %v, though the turn is used", own, err)
		}
		own, err := g.enter(t.Context(), a(2), time.Second)
		if own == nil || err != nil {
			t.Fatalf("%v, %v, though nothing has moved for %v", own, err, slowTime)
		}
		g.leave(slow) // it has none
		if g.pass(a(3)) != nil || g.free != 0 {
			t.Errorf("a turn is given twice: %+v", g)
		}
	})
}

func TestBusy(t *testing.T) {
	w := &world{}
	s := &Server{Sends: 1, Observer: w}
	s.turns().free = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
	if _, err := s.wait(nil, r, netboot.Machine{Agent: "iPXE/1.21.1"}); !errors.Is(err, errTurn) {
		t.Errorf("iPXE: %v, want to be told to come back", err)
	}
	if own, err := s.wait(nil, r, netboot.Machine{Agent: "esx-boot/2.0"}); own != nil || err != nil {
		t.Errorf("mboot: %v, %v, want to be served without a turn", own, err)
	}
	rec := httptest.NewRecorder()
	s.retry(rec, netboot.Machine{}, &netboot.File{Node: "n1"}, "x")
	if rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%+v", rec)
	}
	if len(w.events) != 1 || w.events[0].Node != "n1" || !strings.Contains(w.events[0].Err.Error(), "1 large files are on their way already; told to ask again in 5 s") {
		t.Errorf("told %+v", w.events)
	}
}

func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{"/", "/boot/n1", "//a//b", "/a/../../b", "/%2e%2e/x", "\\\\srv\\share", "/..", "..", "/a/.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		name, err := cleanPath(u)
		if err != nil {
			return
		}
		if strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\?#\x00") {
			t.Errorf("%q: %q", raw, name)
		}
		for _, part := range strings.Split(name, "/") {
			if part == ".." {
				t.Errorf("%q leads out: %q", raw, name)
			}
		}
		if s := shown(withQuery(name, u)); strings.Contains(s, "?") {
			t.Errorf("%q is shown as %q", raw, s)
		}
	})
}
