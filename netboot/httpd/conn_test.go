package httpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot"
)

// pair returns the two ends of a connection.
func pair(t *testing.T) (q *quick, peer net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if peer, err = net.Dial("tcp4", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newQuick(c), peer
}

// A quick connection does what net's does: ends, deadlines, files by sendfile.
func TestQuick(t *testing.T) {
	if raced {
		t.Skip("under the race detector connections are net's own")
	}
	q, peer := pair(t)

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
	}()
	want := append(append([]byte("head"), body...), body...)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v; want %d", n, err, len(want))
	}

	q.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := q.ReadFrom(io.LimitReader(forever{f}, 1<<40)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("sent %d bytes of a file that nobody reads, %v", n, err)
	}
	if n, err := q.Write(body); !errors.Is(err, os.ErrDeadlineExceeded) {
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

// A connection is watched for its end, and what comes meanwhile stays to be read.
func TestWatch(t *testing.T) {
	if raced {
		t.Skip("under the race detector connections are net's own")
	}
	q, peer := pair(t)

	ctx, stop := q.watch(t.Context())
	if err := ctx.Err(); err != nil {
		t.Errorf("watched: %v", err)
	}
	stop() // nothing came
	_, stop = q.watch(t.Context())
	io.WriteString(peer, "more")
	stop()
	q.SetReadDeadline(time.Time{})
	var buf [8]byte
	if n, err := io.ReadFull(q, buf[:4]); err != nil || string(buf[:n]) != "more" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	ctx, stop = q.watch(t.Context())
	peer.Close()
	<-ctx.Done()
	stop()
}

// A connection that the kernel has given much room is given the rest at once; one
// that has little, and one of a server without the right to, stay as they are.
func TestWiden(t *testing.T) {
	if raced {
		t.Skip("under the race detector connections are net's own")
	}
	for _, tt := range []struct{ room, want int }{{wide / 2, wide / 2}, {2 * wide, wider}} {
		q, _ := pair(t)
		var forced, err2 error
		var got int
		q.raw.Control(func(fd uintptr) {
			forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, tt.room/2)
		})
		q.widen()
		q.raw.Control(func(fd uintptr) { got, err2 = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF) })
		if forced != nil {
			t.Skip("no right to widen: ", forced)
		}
		if err2 != nil || got != tt.want {
			t.Errorf("room of %d: %d, %v, want %d", tt.room, got, err2, tt.want)
		}
	}
}

// forever is a body without an end, in one file.
type forever struct{ f *os.File }

func (b forever) Read([]byte) (int, error)       { return 0, errors.New("read, not sent") }
func (b forever) Seek(int64, int) (int64, error) { return 0, nil }
func (b forever) Extent(off int64) (f *os.File, at, n int64) {
	return b.f, off % (1 << 20), 1 << 20
}

// A medium is a body of which some lies in a file, in pieces, and some nowhere.
type medium struct {
	*io.SectionReader
	pieces []piece
	read   atomic.Int64 // what was not sent from a file
}

type piece struct {
	f     *os.File
	at, n int64
}

func (m *medium) Extent(off int64) (f *os.File, at, n int64) {
	for _, p := range m.pieces {
		if off < p.n {
			return p.f, p.at + off, p.n - off
		}
		off -= p.n
	}
	return nil, 0, 0
}

func (m *medium) Read(p []byte) (int, error) {
	n, err := m.SectionReader.Read(p)
	m.read.Add(int64(n))
	return n, err
}

func (m *medium) Close() error { return nil }

// What lies in pieces of a file goes straight from there, ranges too, and what
// lies in none, or beyond its end, is read.
func TestExtents(t *testing.T) {
	const size = 5 << 20
	disk := noise(size)
	name := filepath.Join(t.TempDir(), "iso")
	if err := os.WriteFile(name, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		name   string
		pieces []piece
		read   int64 // most, for all of it and for a range
	}{
		{"one piece", []piece{{f, 4097, 3_000_001}}, 0},
		{"pieces", []piece{{f, 2 << 20, 1 << 20}, {f, 7, 100}, {f, 100_000, 2_500_000}}, 0},
		{"zeros between", []piece{{f, 0, 1_200_000}, {nil, 0, 50_000}, {f, 3 << 20, 1_200_000}}, 2 * slice},
		{"nowhere", []piece{{nil, 0, 2 << 20}}, 4 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			var whole []byte
			for _, p := range c.pieces {
				if p.f == nil {
					whole = append(whole, make([]byte, p.n)...)
					continue
				}
				whole = append(whole, disk[p.at:p.at+p.n]...)
			}
			m := &medium{SectionReader: io.NewSectionReader(bytes.NewReader(whole), 0, int64(len(whole))), pieces: c.pieces}
			at := serve(t, &Server{Opener: opener(func() *netboot.File { return &netboot.File{Body: m, Size: int64(len(whole)), ModTime: time.Now()} })})
			if _, got := get(t, "GET", at+"/boot/mod"); got != string(whole) {
				t.Errorf("%d bytes differ from the %d", len(got), len(whole))
			}
			if _, got := get(t, "GET", at+"/boot/mod", "Range", "bytes=1000000-1999999"); got != string(whole[1_000_000:2_000_000]) {
				t.Errorf("%d bytes of a range differ", len(got))
			}
			if n := m.read.Load(); n > c.read && !raced {
				t.Errorf("%d bytes were read", n)
			}
		})
	}
}

// A file that ends before its time is no longer sent, and says so.
func TestExtentsCutShort(t *testing.T) {
	name := filepath.Join(t.TempDir(), "iso")
	if err := os.WriteFile(name, noise(100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &world{}
	m := &medium{SectionReader: io.NewSectionReader(f, 0, 200_000), pieces: []piece{{f, 0, 200_000}}}
	at := serve(t, &Server{Observer: w, Opener: opener(func() *netboot.File { return &netboot.File{Body: m, Size: 200_000} })})
	a, err := http.Get(at + "/boot/mod")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	got, err := io.ReadAll(a.Body)
	if len(got) != 100_000 || err == nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Where a body says that no byte lies, none is looked for again and again.
func TestExtentsOfNothing(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := &medium{SectionReader: io.NewSectionReader(strings.NewReader(""), 0, 0), pieces: []piece{{f, 0, 0}}}
	n, err := (&quick{}).sendPieces(nowhere{m}, 0, 1<<20, nil)
	if n != 0 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

type nowhere struct{ *medium }

func (w nowhere) Extent(off int64) (*os.File, int64, int64) { return w.pieces[0].f, off, -off }

// What cannot be read is not put down to the client.
func TestUnreadable(t *testing.T) {
	for _, size := range []int64{100, 100_000} {
		for _, how := range []string{"HTTP/1.1", "HTTP/1.0"} { // read here, and by net/http
			w := &world{}
			at := serve(t, &Server{Observer: w, Opener: opener(func() *netboot.File {
				return &netboot.File{Body: &badDisk{SectionReader: io.NewSectionReader(nil, 0, size)}, Size: size}
			})})
			exchange(t, strings.TrimPrefix(at, "http://"), "GET /boot/mod "+how+"\r\nHost: a\r\n\r\n", "GET")
			w.over(t, 1)
			e := lastEvent(w)
			if !e.Done || e.Bytes != 0 || e.Err == nil || !strings.Contains(e.Err.Error(), "cannot be read") {
				t.Errorf("%d bytes, %s: %+v", size, how, e)
			}
		}
	}
}

type badDisk struct{ *io.SectionReader }

func (badDisk) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: "/install/mod", Err: unix.EIO}
}
func (badDisk) Close() error { return nil }

type opener func() *netboot.File

func (o opener) Open(context.Context, netboot.Machine, string) (*netboot.File, error) {
	return o(), nil
}
