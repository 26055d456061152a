package vspc_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/vm/vmtest"
	"margay/vm/vspc"
)

// A switchboard takes lines and hands them to the test.
type switchboard struct {
	addr  string
	lines chan taken
}

type taken struct {
	vspc.Guest
	io.ReadWriteCloser
	end chan struct{}
}

func serve(t *testing.T, allow func(netip.Addr) bool) *switchboard {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &switchboard{addr: l.Addr().String(), lines: make(chan taken, 8)}
	ctx, cancel := context.WithCancel(context.Background())
	s := &vspc.Server{Allow: allow, Line: func(g vspc.Guest, line io.ReadWriteCloser) {
		end := make(chan struct{})
		b.lines <- taken{g, line, end}
		select {
		case <-end:
		case <-ctx.Done():
		}
	}}
	var over sync.WaitGroup
	over.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); over.Wait() })
	return b
}

func (b *switchboard) take(t *testing.T) taken {
	t.Helper()
	select {
	case l := <-b.lines:
		return l
	case <-time.After(time.Minute):
		t.Fatal("no line")
		return taken{}
	}
}

func read(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLine(t *testing.T) {
	b := serve(t, nil)
	p, err := vmtest.CallSerial(b.addr, "vm1", "52 54 00 12", "vm1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	said := "login: \xff\xff\xf0 100%\r\n" // bytes that telnet has a meaning for, too
	go p.Say(said)
	l := b.take(t)
	if l.Name != "vm1" || l.URI != "vm1" || l.Host != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("the line is of %+v", l.Guest)
	}
	if got := read(t, l, len(said)); got != said {
		t.Errorf("the guest said %q, came %q", said, got)
	}
	keys := "root\xff\r"
	go l.Write([]byte(keys))
	for i := range keys {
		if k, err := p.ReadKey(); err != nil || k != keys[i] {
			t.Fatalf("key %d: %q, %v", i, k, err)
		}
	}
	p.Close()
	if _, err := l.Read(make([]byte, 1)); err == nil {
		t.Error("a line that has ended is read on")
	}
	close(l.end)
}

// A guest that moves keeps its line: the host that it goes to names the secret
// that the one it comes from was told.
func TestMove(t *testing.T) {
	b := serve(t, nil)
	from, err := vmtest.CallSerial(b.addr, "vm1", "u", "vm1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	l := b.take(t)
	go io.Copy(io.Discard, l) // telnet is answered while the line is read
	secret, err := from.BeginMove()
	if err != nil || len(secret) < 8 {
		t.Fatalf("%x, %v", secret, err)
	}
	wrong := bytes.Clone(secret)
	wrong[len(wrong)-1] ^= 1
	if _, err := vmtest.CallSerial(b.addr, "vm1", "u", "vm1", wrong); err == nil {
		t.Error("a guessed secret passes")
	}
	to, err := vmtest.CallSerial(b.addr, "vm1", "u", "vm1", secret)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	select {
	case <-b.lines:
		t.Error("the line has moved before the guest has")
	default:
	}
	to.EndMove()
	moved := b.take(t)
	if moved.Name != "vm1" {
		t.Errorf("the line is of %+v", moved.Guest)
	}
	to.Say("here")
	if got := read(t, moved, 4); got != "here" {
		t.Errorf("%q", got)
	}
	if _, err := vmtest.CallSerial(b.addr, "vm1", "u", "vm1", secret); err == nil {
		t.Error("a secret passes twice")
	}
}

func TestRefuses(t *testing.T) {
	b := serve(t, func(a netip.Addr) bool { return a != netip.MustParseAddr("127.0.0.1") })
	if _, err := vmtest.CallSerial(b.addr, "vm1", "u", "vm1", nil); err == nil {
		t.Error("an address that is no host's is let in")
	}
	b = serve(t, nil)
	for _, odd := range []string{
		"\xff\xfa\xe8\x46X\xff\xf0",                          // wants to be neither end
		"\xff\xfa\xe8\x2c\x00\xff\xf0",                       // a move without its secret
		"\xff\xfa\xe8" + strings.Repeat("a", 5000),           // no end
		"\xff\xfa\xe8\xff\xfb",                               // a command within
		strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n", 400), // something else altogether
	} {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, odd)
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%.20q: the line stays open", odd)
		}
		c.Close()
	}
	select {
	case l := <-b.lines:
		t.Errorf("a line of %+v", l.Guest)
	default:
	}
}
