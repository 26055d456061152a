package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serve runs a server whose commands run does.
func serve(t *testing.T, run Runner) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v %v, want 0600", fi.Mode(), err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	s := &Server{Run: run, Log: slog.New(slog.DiscardHandler)}
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &Client{Socket: path}
}

func TestRun(t *testing.T) {
	c := serve(t, func(_ context.Context, r *Request, c *Conn) int {
		c.Send(Frame{Kind: FrameOut, Node: "n1", Label: "dir", Text: r.Dir})
		c.Send(Frame{Kind: FrameErr, Node: "n1", Level: "Error", Text: strings.Join(r.Args, " ") + " for " + r.From})
		c.Send(Frame{Kind: FrameRaw, Text: "a\nb\n"})
		c.Send(Frame{Kind: FrameProgress, Text: "half"})
		return 3
	})
	var out, errs bytes.Buffer
	code, err := c.Run(t.Context(), &Request{Args: []string{"nodels", "all"}, Dir: "/here"}, nil, &out, &errs)
	if err != nil || code != 3 {
		t.Fatalf("code %d, %v; want 3", code, err)
	}
	if out.String() != "n1: dir: /here\na\nb\n" {
		t.Errorf("out %q", out.String())
	}
	if errs.String() != "n1: Error: nodels all for unix\n" {
		t.Errorf("err %q", errs.String())
	}
	c.JSON = true
	out.Reset()
	if _, err := c.Run(t.Context(), &Request{}, nil, &out, &errs); err != nil || !strings.HasPrefix(out.String(), `{"k":"out","node":"n1","label":"dir"`) {
		t.Errorf("as JSON: %q %v", out.String(), err)
	}
}

// TestStdin: input is shipped when a command asks for it, and not before.
func TestStdin(t *testing.T) {
	c := serve(t, func(_ context.Context, r *Request, c *Conn) int {
		if r.Args[0] == "deaf" {
			return 0
		}
		text, err := io.ReadAll(c)
		if err != nil {
			return 1
		}
		c.Send(Frame{Kind: FrameRaw, Text: string(text)})
		return 0
	})
	big := strings.Repeat("0123456789abcdef", 20_000)
	var out bytes.Buffer
	if code, err := c.Run(t.Context(), &Request{Args: []string{"cat"}}, strings.NewReader(big), &out, io.Discard); err != nil || code != 0 || out.String() != big {
		t.Errorf("code %d, %v, %d bytes of %d", code, err, out.Len(), len(big))
	}
	forever, w := io.Pipe()
	defer w.Close()
	if code, err := c.Run(t.Context(), &Request{Args: []string{"deaf"}}, forever, io.Discard, io.Discard); err != nil || code != 0 {
		t.Errorf("a command that wants no input: code %d, %v", code, err)
	}
}

// TestGone: a client that goes away ends its command.
func TestGone(t *testing.T) {
	began, ended := make(chan bool), make(chan bool)
	c := serve(t, func(ctx context.Context, _ *Request, _ *Conn) int {
		close(began)
		<-ctx.Done()
		close(ended)
		return 1
	})
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-began
		leave()
	}()
	if code, err := c.Run(ctx, &Request{Args: []string{"watch"}}, nil, io.Discard, io.Discard); err != nil || code != 130 {
		t.Errorf("code %d, %v; want 130", code, err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the command goes on")
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another margay") {
		t.Errorf("a live socket: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close() // as a killed daemon leaves it
	if l, err = Listen(path); err != nil {
		t.Fatalf("a dead socket: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path+"x", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path + "x"); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}

func TestRefused(t *testing.T) {
	_, err := (&Client{Socket: filepath.Join(t.TempDir(), "none")}).Run(t.Context(), &Request{}, nil, io.Discard, io.Discard)
	if !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), "margay serve") {
		t.Errorf("no daemon: %v", err)
	}
	// not over a unix socket, and nobody authorizes
	s := httptest.NewServer(&Server{Run: func(context.Context, *Request, *Conn) int {
		t.Error("a command ran")
		return 0
	}, Log: slog.New(slog.DiscardHandler)})
	defer s.Close()
	c := &Client{Dial: func(ctx context.Context) (net.Conn, error) { return net.Dial("tcp", s.Listener.Addr().String()) }}
	var refused *Error
	if _, err := c.Run(t.Context(), &Request{}, nil, io.Discard, io.Discard); !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
		t.Errorf("from afar: %v, want 403", err)
	}
	resp, err := http.Get(s.URL + "/anything")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("another path: %v %v", resp, err)
	}
}

// TestSilent: a client that sent its command at once is heard while the command
// says nothing, and later told what it says.
func TestSilent(t *testing.T) {
	heard := make(chan bool)
	c := serve(t, func(_ context.Context, r *Request, c *Conn) int {
		<-heard
		c.Send(Frame{Kind: FrameOut, Text: "at last"})
		return 0
	})
	conn, err := net.Dial("unix", c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /run HTTP/1.1\r\nHost: margay\r\nContent-Length: 0\r\n\r\n{\"args\":[\"a\"]}\n")
	conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 101 ") {
		t.Errorf("%q, %v", line, err)
	}
	close(heard)
	if got, err := io.ReadAll(in); err != nil || !strings.Contains(string(got), "at last") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestBreakdown: a command that panics ends alone.
func TestBreakdown(t *testing.T) {
	c := serve(t, func(_ context.Context, r *Request, c *Conn) int {
		if r.Args[0] == "bad" {
			panic("out of order")
		}
		return 7
	})
	if _, err := c.Run(t.Context(), &Request{Args: []string{"bad"}}, nil, io.Discard, io.Discard); err == nil {
		t.Error("a command that broke down ended well")
	}
	if code, err := c.Run(t.Context(), &Request{Args: []string{"good"}}, nil, io.Discard, io.Discard); err != nil || code != 7 {
		t.Errorf("the next one: code %d, %v", code, err)
	}
}

// TestRefusals: what is no command is answered as HTTP has it, and a client that
// waits to be heard before it sends its command is.
func TestRefusals(t *testing.T) {
	c := serve(t, func(_ context.Context, r *Request, c *Conn) int {
		c.Send(Frame{Kind: FrameOut, Text: strings.Join(r.Args, " ")})
		return 0
	})
	dial := func() net.Conn {
		conn, err := net.Dial("unix", c.Socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(time.Minute))
		return conn
	}
	for _, tt := range []struct{ send, want string }{
		{"GET /run HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found"},
		{"POST /else HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found"},
		{"\x16\x03\x01 what\r\n\r\n", "HTTP/1.1 400 Bad Request"},
		{"POST /run HTTP/1.1\r\nA: " + strings.Repeat("a", 2<<20), "HTTP/1.1 400 Bad Request"},
	} {
		conn := dial()
		go io.WriteString(conn, tt.send) // of what is too long the rest is not read
		got, err := io.ReadAll(conn)
		if !strings.HasPrefix(string(got), tt.want) || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%.40q: %q, %v; want %s", tt.send, got, err, tt.want)
		}
	}

	conn := dial()
	io.WriteString(conn, "POST /run HTTP/1.1\r\nHost: margay\r\nContent-Length: 0\r\n\r\n")
	in := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(conn, `{"args":["a","b"]}`+"\n")
	if got, err := io.ReadAll(in); err != nil || !strings.Contains(string(got), "a b") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDenied: who is neither root nor the daemon's user is told of with his name.
func TestDenied(t *testing.T) {
	var told []string
	s := &Server{Log: slog.New(slog.DiscardHandler), Denied: func(name, from, why string) { told = append(told, name, from, why) }}
	uid := uint32(os.Geteuid() + 4_000_000)
	a, status, why := s.hear(httptest.NewRequest(http.MethodPost, "/run", nil), &syscall.Ucred{Uid: uid})
	want := []string{fmt.Sprint(uid), "unix", fmt.Sprintf("Permission denied for request: user id %d is neither root nor the daemon's", uid)}
	if a != nil || status != http.StatusForbidden || why != want[2] || !slices.Equal(told, want) {
		t.Errorf("%v, %d %q, told %q, want %q", a, status, why, told, want)
	}
}

func TestMetrics(t *testing.T) {
	h := Metrics(func() []Sample {
		return []Sample{{Name: "margay_x_total", Help: "X.", Labels: []string{"kind", `a"b`}, Value: 2, Counter: true}, {Name: "margay_y", Help: "Y.", Value: 1.5}}
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`margay_x_total{kind="a\"b"} 2`, "margay_y 1.5", "# TYPE margay_x_total counter", "# TYPE margay_y gauge"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in\n%s", want, w.Body)
		}
	}
}
