package httpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A quick connection does what net's does: ends, deadlines, files by sendfile.
func TestQuick(t *testing.T) {
	if raced {
		t.Skip("under the race detector connections are net's own")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c, err := (quickListener{l}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q, ok := c.(*quick)
	if !ok {
		t.Fatalf("%T is not quick", c)
	}

	var buf [8]byte
	q.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := q.Read(buf[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read with nothing there: %v", err)
	}
	q.SetReadDeadline(time.Time{})
	io.WriteString(peer, "ask")
	if n, err := q.Read(buf[:]); err != nil || string(buf[:n]) != "ask" {
		t.Errorf("read %q, %v", buf[:n], err)
	}

	name := filepath.Join(t.TempDir(), "file")
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	if err := os.WriteFile(name, body, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	go func() {
		q.cork(true)
		io.WriteString(q, "head")
		var to io.ReaderFrom = q // as net/http looks for it
		to.ReadFrom(io.LimitReader(f, int64(len(body))))
		q.cork(false)
		q.Write(body) // more than the socket holds
		q.CloseWrite()
	}()
	got, err := io.ReadAll(peer)
	if want := append(append([]byte("head"), body...), body...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
	}

	q.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := q.Write(bytes.Repeat(body, 8)); err == nil {
		t.Errorf("wrote %d bytes that nobody reads, %v", n, err)
	}
	peer.Close()
	q.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := q.Read(buf[:]); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read of a closed connection: %v", err)
	}
	q.Close()
	if _, err := q.Read(buf[:]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}
