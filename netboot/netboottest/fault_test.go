package netboottest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"margay/netboot"
	"margay/netboot/httpd"
	"margay/netboot/tftp"
)

// A tripwire is a file that tells when its middle is read, and then waits until
// it may go on.
type tripwire struct {
	*bytes.Reader
	middle int64
	read   chan struct{}
	goOn   chan struct{}
	once   sync.Once
}

func newTripwire(content []byte) *tripwire {
	return &tripwire{
		Reader: bytes.NewReader(content), middle: int64(len(content) / 2),
		read: make(chan struct{}), goOn: make(chan struct{}),
	}
}

func (w *tripwire) trip() {
	w.once.Do(func() {
		close(w.read)
		<-w.goOn
	})
}

func (w *tripwire) Close() error { return nil }

func (w *tripwire) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > w.middle {
		w.trip()
	}
	return w.Reader.ReadAt(p, off)
}

func (w *tripwire) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if w.Size()-int64(w.Len()) > w.middle {
		w.trip()
	}
	return n, err
}

// Open implements netboot.Opener.
func (w *tripwire) Open(context.Context, netboot.Machine, string) (*netboot.File, error) {
	return &netboot.File{Name: "f", Body: w, Size: w.Size()}, nil
}

// serveHTTP runs s on a host of the test's until its end.
func serveHTTP(t testing.TB, h *Host, s *httpd.Server) {
	t.Helper()
	var l net.Listener
	var err error
	h.Do(func() { l, err = net.Listen("tcp4", ":80") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// get fetches a file by HTTP over a connection of its own.
func get(conn net.Conn, name string) ([]byte, error) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	fmt.Fprintf(conn, "GET /%s HTTP/1.0\r\n\r\n", name)
	answer, err := io.ReadAll(conn)
	if err != nil {
		return nil, err
	}
	head, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !bytes.Contains(head, []byte(" 200 ")) {
		return nil, fmt.Errorf("%.60q", head)
	}
	return body, nil
}

func dial(h *Host, addr string) (conn net.Conn, err error) {
	h.Do(func() { conn, err = net.DialTimeout("tcp4", addr, 10*time.Second) })
	return conn, err
}

// The server's interface goes down in the middle of a file and comes up again:
// the machine that was loading has its file whole, and so has the next.
func TestInterfaceDownAndUp(t *testing.T) {
	want := noise(6 << 20)
	sum := crc32.ChecksumIEEE(want)
	fetches := map[string]func(t *testing.T, server, client *Host, w *tripwire) func() error{
		"tftp": func(t *testing.T, server, client *Host, w *tripwire) func() error {
			serveTFTP(t, server, &tftp.Server{Opener: w})
			return func() error {
				conn, err := listenUDP(client)
				if err != nil {
					return err
				}
				n, got, err := TFTPClient{Block: 1428, Window: 4, Tries: 60}.Fetch(conn, netip.MustParseAddrPort("10.1.0.1:69"), "f")
				if err == nil && (n != int64(len(want)) || got != sum) {
					err = fmt.Errorf("%d bytes, or they differ", n)
				}
				return err
			}
		},
		"http": func(t *testing.T, server, client *Host, w *tripwire) func() error {
			serveHTTP(t, server, &httpd.Server{Opener: w})
			return func() error {
				conn, err := dial(client, "10.1.0.1:80")
				if err != nil {
					return err
				}
				got, err := get(conn, "f")
				if err == nil && crc32.ChecksumIEEE(got) != sum {
					err = fmt.Errorf("%d bytes, or they differ", len(got))
				}
				return err
			}
		},
	}
	for name, start := range fetches {
		t.Run(name, func(t *testing.T) {
			lan := NewLAN(t)
			server, client := lan.NewHost(t, "10.1.0.1/24"), lan.NewHost(t, "10.1.0.2/24")
			w := newTripwire(want)
			goOn := sync.OnceFunc(func() { close(w.goOn) })
			defer goOn()
			fetch := start(t, server, client, w)
			done := make(chan error, 1)
			go func() { done <- fetch() }()
			select {
			case <-w.read:
			case err := <-done:
				t.Fatalf("before the middle: %v", err)
			}
			link(t, server, netlink.LinkSetDown)
			goOn()
			select {
			case err := <-done:
				t.Fatalf("without a wire: %v", err)
			case <-time.After(700 * time.Millisecond):
			}
			link(t, server, netlink.LinkSetUp)
			if err := <-done; err != nil {
				t.Errorf("over the break: %v", err)
			}
			if err := fetch(); err != nil {
				t.Errorf("after it: %v", err)
			}
		})
	}
}

func link(t *testing.T, h *Host, set func(netlink.Link) error) {
	t.Helper()
	var err error
	h.Do(func() {
		var l netlink.Link
		if l, err = netlink.LinkByName("eth0"); err == nil {
			err = set(l)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Many machines stop in the middle of their files and say nothing more: they
// are forgotten, and those that go on are served meanwhile.
func TestMachinesStop(t *testing.T) {
	lan := NewLAN(t)
	server, client := lan.NewHost(t, "10.1.0.1/24"), lan.NewHost(t, "10.1.0.2/24")
	want := noise(300_000)
	s := &tftp.Server{Opener: shelf{"f": want}, Silence: 2 * time.Second, PerAddr: 500}
	serveTFTP(t, server, s)
	for range 200 {
		conn, err := listenUDP(client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.WriteToUDP([]byte("\x00\x01f\x00octet\x00windowsize\x0016\x00"), &net.UDPAddr{IP: net.IPv4(10, 1, 0, 1), Port: 69})
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 600)
		_, from, err := conn.ReadFromUDP(buf)
		if err != nil {
			t.Fatal(err)
		}
		conn.WriteToUDP([]byte("\x00\x04\x00\x00"), from) // has the OACK, takes a window, and is gone
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { fetchWindows(t, client, TFTPClient{Block: 1428, Window: 8}, want) })
	}
	all.Wait()
	nothingLeft(t, s)
}

// Over a line that loses, delays and reorders, HTTP brings files whole.
func TestHTTPOnBadLines(t *testing.T) {
	for _, tt := range []struct {
		name string
		line line
	}{
		{"loss", line{delay: 2 * time.Millisecond, loss: 0.01}},
		{"reorder", line{delay: time.Millisecond, jitter: time.Millisecond, doubles: 0.02}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, client := tt.line.connect(t, "10.1.0.1/24", "10.1.0.2/24")
			want := noise(1 << 20)
			serveHTTP(t, server, &httpd.Server{Opener: shelf{"f": want, "small": want[:2500]}, Sends: 4})
			var all sync.WaitGroup
			for n := range 16 {
				all.Go(func() {
					name, want := "f", want
					if n%2 == 1 {
						name, want = "small", want[:2500]
					}
					conn, err := dial(client, "10.1.0.1:80")
					if err == nil {
						var got []byte
						if got, err = get(conn, name); err == nil && !bytes.Equal(got, want) {
							err = errors.New("they differ")
						}
					}
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			all.Wait()
		})
	}
}
