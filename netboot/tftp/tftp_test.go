package tftp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pin "github.com/pin/tftp/v3"

	"margay/netboot"
)

// files is an opener of what it holds.
type files map[string][]byte

func (f files) Open(_ context.Context, m netboot.Machine, name string) (*netboot.File, error) {
	switch name {
	case "refused":
		return nil, &netboot.Refusal{Node: "n1", Reason: "node n1 is held; run nodeset n1 install"}
	case "broken":
		return nil, errors.New("disk on fire")
	case "ignored":
		return nil, netboot.ErrIgnore
	}
	data, ok := f[name]
	if !ok {
		return nil, netboot.ErrNotFound
	}
	return &netboot.File{Name: name, Node: "n1", Body: inMemory{bytes.NewReader(data)}, Size: int64(len(data))}, nil
}

// events is an observer that keeps what it is told.
type events struct {
	mu   sync.Mutex
	all  []netboot.Event
	more chan struct{}
}

func newEvents() *events { return &events{more: make(chan struct{}, 10000)} }

func (e *events) Observe(ev netboot.Event) {
	e.mu.Lock()
	e.all = append(e.all, ev)
	e.mu.Unlock()
	e.more <- struct{}{}
}

// wait returns the first n events, once there are so many.
func (e *events) wait(t *testing.T, n int) []netboot.Event {
	t.Helper()
	for {
		e.mu.Lock()
		all := e.all
		e.mu.Unlock()
		if len(all) >= n {
			return all
		}
		select {
		case <-e.more:
		case <-time.After(time.Minute):
			t.Fatalf("%d events, want %d: %+v", len(all), n, all)
		}
	}
}

// serve runs s at a free port of an address and ends it with the test.
func serve(t testing.TB, s *Server, at string) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if l := s.Load(); l.Transfers != 0 || len(s.byAddr) != 0 {
			t.Errorf("left behind: %+v, %v", l, s.byAddr)
		}
	})
	return unmapped(conn.LocalAddr().(*net.UDPAddr).AddrPort())
}

func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

func TestLibraryClient(t *testing.T) {
	f := files{"empty": {}, "one": []byte("x"), "block": noise(512), "blocks": noise(512 * 4), "some": noise(100_001), "wraps": noise(512*65_600 + 3)}
	for _, single := range []bool{false, true} {
		addr := serve(t, &Server{Opener: f, SinglePort: single}, "127.0.0.1:0")
		for name, want := range f {
			for _, block := range []int{0, 512, 1428, 65464} {
				if name == "wraps" && block > 0 {
					continue
				}
				c, err := pin.NewClient(addr.String())
				if err != nil {
					t.Fatal(err)
				}
				c.RequestTSize(true)
				if block > 0 {
					c.SetBlockSize(block)
				}
				w, err := c.Receive(name, "octet")
				if err != nil {
					t.Errorf("single %v, block %d, %s: %v", single, block, name, err)
					continue
				}
				if n, ok := w.(pin.IncomingTransfer).Size(); !ok || n != int64(len(want)) {
					t.Errorf("%s: tsize %d %v, want %d", name, n, ok, len(want))
				}
				h := sha256.New()
				if _, err := w.WriteTo(h); err != nil || [32]byte(h.Sum(nil)) != sha256.Sum256(want) {
					t.Errorf("single %v, block %d, %s: %v, or content differs", single, block, name, err)
				}
			}
		}
	}
}

func TestNetascii(t *testing.T) {
	text := strings.Repeat("line\nreturn\r end\n", 1000)
	addr := serve(t, &Server{Opener: files{"text": []byte(text)}}, "127.0.0.1:0")
	c := dial(t, addr)
	c.send("\x00\x01text\x00netascii\x00tsize\x000\x00")
	want := strings.ReplaceAll(strings.ReplaceAll(text, "\r", "\r\x00"), "\n", "\r\n")
	if got := c.expect(opOACK); got != fmt.Sprintf("tsize\x00%d\x00", len(want)) {
		t.Errorf("OACK %q, want %d", got, len(want))
	}
	if got := c.load(0, 512, 1); got != want {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

// A client is a socket that plays a TFTP client packet by packet.
type client struct {
	t    testing.TB
	conn *net.UDPConn
	to   netip.AddrPort // the server's port, of requests and then of the transfer
	got  int            // packets
	buf  [70000]byte
}

func dial(t testing.TB, to netip.AddrPort) *client {
	t.Helper()
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, to: to}
}

func (c *client) send(p string) {
	c.t.Helper()
	if _, err := c.conn.WriteToUDPAddrPort([]byte(p), c.to); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) ack(n uint16) {
	c.t.Helper()
	c.send(string(binary.BigEndian.AppendUint16([]byte{0, opACK}, n)))
}

// receive returns the next packet, or "" after d.
func (c *client) receive(d time.Duration) string {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(d))
	n, from, err := c.conn.ReadFromUDPAddrPort(c.buf[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.to = unmapped(from)
	c.got++
	return string(c.buf[:n])
}

// expect returns what follows the type of the next packet.
func (c *client) expect(op byte) string {
	c.t.Helper()
	p := c.receive(time.Minute)
	if len(p) < 2 || p[1] != op {
		c.t.Fatalf("got %.60q, want a packet of type %d", p, op)
	}
	return p[2:]
}

// block expects DATA of block n and returns the data.
func (c *client) block(n uint16) string {
	c.t.Helper()
	p := c.expect(opDATA)
	if got := binary.BigEndian.Uint16([]byte(p)); got != n {
		c.t.Fatalf("block %d, want %d", got, n)
	}
	return p[2:]
}

// fresh expects DATA of block n, after copies of what came before it: on a busy
// machine the server's timer runs out before we answer. Such copies may leave no
// room in our socket for what follows, so that n is lost and comes again.
func (c *client) fresh(n uint16) string {
	c.t.Helper()
	for {
		p := c.receive(time.Minute)
		if n == 1 && len(p) > 2 && p[1] == opOACK {
			continue
		}
		if len(p) < 4 || p[1] != opDATA {
			c.t.Fatalf("got %.60q, want block %d", p, n)
		}
		p = p[2:]
		if got := binary.BigEndian.Uint16([]byte(p)); got == n {
			return p[2:]
		} else if d := int16(got - n); d < -1000 || d > 1000 {
			c.t.Fatalf("block %d, want %d", got, n)
		}
	}
}

// load acknowledges block n and takes the rest of the file.
func (c *client) load(n uint16, size, window int) string {
	c.t.Helper()
	var all strings.Builder
	for {
		c.ack(n)
		for range window {
			n++
			data := c.fresh(n)
			all.WriteString(data)
			if len(data) < size {
				c.ack(n)
				return all.String()
			}
		}
	}
}

func TestWindows(t *testing.T) {
	want := string(noise(1_000_000))
	addr := serve(t, &Server{Opener: files{"f": []byte(want)}}, "127.0.0.1:0")
	for _, window := range []int{1, 4, 16, 64} {
		for _, block := range []int{512, 1468} {
			c := dial(t, addr)
			c.send(fmt.Sprintf("\x00\x01f\x00octet\x00blksize\x00%d\x00windowsize\x00%d\x00", block, window))
			if got, want := c.expect(opOACK), fmt.Sprintf("blksize\x00%d\x00windowsize\x00%d\x00", block, window); got != want {
				t.Fatalf("OACK %q, want %q", got, want)
			}
			if c.load(0, block, window) != want {
				t.Errorf("window %d, block %d: content differs", window, block)
			}
		}
	}
}

func TestGapStartsWindowAnew(t *testing.T) {
	addr := serve(t, &Server{Opener: files{"f": noise(512 * 20)}}, "127.0.0.1:0")
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00windowsize\x004\x00")
	c.expect(opOACK)
	c.ack(0)
	for n := uint16(1); n <= 4; n++ {
		c.fresh(n)
	}
	c.ack(2) // as if 3 were lost
	for n := uint16(3); n <= 6; n++ {
		c.fresh(n)
	}
	c.got = 0
	for range 100 { // late copies of the complaint: a window for each would be 400 packets
		c.ack(2)
	}
	c.ack(6)
	c.fresh(7)
	if c.got > 100 {
		t.Errorf("%d packets for 100 copies of one acknowledgement", c.got)
	}
}

func TestLossIsRepaired(t *testing.T) {
	s := &Server{Opener: files{"f": noise(512*2 + 5)}}
	addr := serve(t, s, "127.0.0.1:0")
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00")
	c.block(1)
	c.block(1) // nothing was acknowledged
	c.ack(1)
	c.fresh(2)
	c.block(2)
	c.ack(2)
	c.fresh(3)
	c.block(3)
	c.ack(3)
	loaded(t, s, 0)
	for c.receive(time.Millisecond) != "" { // copies from before the end
	}
	if p := c.receive(100 * time.Millisecond); p != "" {
		t.Errorf("after the end: %.20q", p)
	}
}

// loaded waits until so many transfers run.
func loaded(t *testing.T, s *Server, transfers int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); s.Load().Transfers != transfers; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("load %+v, want %d transfers", s.Load(), transfers)
		}
	}
}

func TestRequestTwice(t *testing.T) {
	addr := serve(t, &Server{Opener: files{"f": noise(512*2 + 5), "g": noise(3)}}, "127.0.0.1:0")
	c := dial(t, addr)
	front := c.to
	c.send("\x00\x01f\x00octet\x00")
	c.block(1)
	first := c.to
	c.ack(1)
	c.fresh(2)
	c.to = front
	c.send("\x00\x01g\x00octet\x00") // begins anew, from the same port
	for {
		c.to = netip.AddrPort{}
		p := c.expect(opDATA)
		if c.to != first { // what is left of the first transfer may still come
			if len(p) != 2+3 {
				t.Errorf("%d bytes of the second file, want 3", len(p)-2)
			}
			break
		}
	}
	c.ack(1)
}

// A copy of the request that comes late, as networks make them, ends nothing; a
// client that was silent and asks again is answered from the start.
func TestRequestComesLate(t *testing.T) {
	addr := serve(t, &Server{Opener: files{"f": noise(512*2 + 5)}}, "127.0.0.1:0")
	c := dial(t, addr)
	front := c.to
	const request = "\x00\x01f\x00octet\x00"
	c.send(request)
	c.block(1)
	first := c.to
	c.ack(1)
	c.fresh(2)
	c.to = front
	c.send(request)
	if p := c.receive(100 * time.Millisecond); strings.HasPrefix(p, "\x00\x03\x00\x01") {
		t.Fatal("a late copy of the request began anew")
	}
	c.to = first
	c.ack(2)
	c.fresh(3)

	deadline := time.Now().Add(time.Minute)
	for again := false; !again; {
		if time.Now().After(deadline) {
			t.Fatal("never begun anew")
		}
		c.to = front
		c.send(request)
		for {
			c.to = netip.AddrPort{}
			p := c.receive(100 * time.Millisecond)
			if p == "" {
				break
			}
			again = again || c.to != first && strings.HasPrefix(p, "\x00\x03\x00\x01")
		}
	}
}

func TestErrors(t *testing.T) {
	e := newEvents()
	addr := serve(t, &Server{Opener: files{}, Observer: e}, "127.0.0.1:0")
	tests := []struct{ send, want string }{
		{"\x00\x01missing\x00octet\x00", "\x00\x01no such file\x00"},
		{"\x00\x01refused\x00octet\x00", "\x00\x02node n1 is held; run nodeset n1 install\x00"},
		{"\x00\x01broken\x00octet\x00", "\x00\x00server error; see the server's log\x00"},
		{"\x00\x01../x\x00octet\x00", "\x00\x02file name leads out of what is served\x00"},
		{"\x00\x01" + strings.Repeat("n", maxName+1) + "\x00octet\x00", fmt.Sprintf("\x00\x02file name of %d bytes: %d are the most\x00", maxName+1, maxName)},
		{"\x00\x01a\tb\x00octet\x00", "\x00\x02file name has characters that none has\x00"},
		{"\x00\x01f\x00mail\x00", "\x00\x04mode not supported; use octet or netascii\x00"},
		{"\x00\x02f\x00octet\x00", "\x00\x02this server is read only\x00"},
	}
	for _, tt := range tests {
		c := dial(t, addr)
		c.send(tt.send)
		if got := c.expect(opERROR); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.send, got, tt.want)
		}
	}
	for _, ev := range e.wait(t, 3) {
		if ev.Step != netboot.StepRefused || ev.Err == nil || ev.Proto != "tftp" || ev.Machine.Addr != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("event %+v", ev)
		}
	}
	for _, quiet := range []string{"\x00\x01ignored\x00octet\x00", "\x00\x01f", "\x00\x04\x00\x00", "\x00\x09zz"} {
		c := dial(t, addr)
		c.send(quiet)
		if p := c.receive(50 * time.Millisecond); p != "" {
			t.Errorf("%q was answered %q", quiet, p)
		}
	}
}

func TestProbeIsNoFailure(t *testing.T) {
	e := newEvents()
	addr := serve(t, &Server{Opener: files{"f": noise(1000)}, Observer: e}, "127.0.0.1:0")
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00tsize\x000\x00blksize\x001468\x00")
	c.expect(opOACK)
	c.send("\x00\x05\x00\x08User aborted the transfer\x00")

	c = dial(t, addr)
	c.send("\x00\x01f\x00octet\x00blksize\x001468\x00")
	c.expect(opOACK)
	c.load(0, 1468, 1)
	all := e.wait(t, 2)
	if all[0].Done || all[0].Size != 1000 || all[0].Node != "n1" || all[0].Machine.Local != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("first event %+v, want the start of the second transfer", all[0])
	}
	if !all[1].Done || all[1].Bytes != 1000 || all[1].Err != nil {
		t.Errorf("second event %+v, want its end", all[1])
	}
}

func TestBrokenOff(t *testing.T) {
	e := newEvents()
	addr := serve(t, &Server{Opener: files{"f": noise(5000)}, Observer: e}, "127.0.0.1:0")
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00")
	c.block(1)
	c.ack(1)
	c.fresh(2)
	c.send("\x00\x05\x00\x03disk full\x00")
	all := e.wait(t, 2)
	if all[1].Err == nil || !strings.Contains(all[1].Err.Error(), "disk full") || all[1].Bytes != 512 {
		t.Errorf("event %+v", all[1])
	}
}

func TestAnswersFromWhereItWasAsked(t *testing.T) {
	e := newEvents()
	addr := serve(t, &Server{Opener: files{"f": noise(10)}, Observer: e}, "0.0.0.0:0")
	for _, host := range []string{"127.0.0.1", "127.0.0.7"} {
		c := dial(t, netip.AddrPortFrom(netip.MustParseAddr(host), addr.Port()))
		c.send("\x00\x01f\x00octet\x00")
		c.block(1)
		if got := c.to.Addr().String(); got != host {
			t.Errorf("asked %s, answered from %s", host, got)
		}
		c.ack(1)
	}
	told := map[string]bool{}
	for _, ev := range e.wait(t, 4) {
		told[ev.Machine.Local.String()] = true
	}
	if !told["127.0.0.1"] || !told["127.0.0.7"] {
		t.Errorf("told of %v", told)
	}
}

func TestIPv6(t *testing.T) {
	addr := serve(t, &Server{Opener: files{"f": noise(100_000)}}, "[::1]:0")
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00windowsize\x008\x00")
	c.expect(opOACK)
	if c.load(0, 512, 8) != string(noise(100_000)) {
		t.Error("content differs")
	}
}

func TestLimits(t *testing.T) {
	s := &Server{Opener: files{"f": noise(5000)}, PerAddr: 2}
	addr := serve(t, s, "127.0.0.1:0")
	for range 2 {
		c := dial(t, addr)
		c.send("\x00\x01f\x00octet\x00")
		c.block(1)
	}
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00")
	for end := time.Now().Add(time.Minute); s.Load().Dropped == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if l := s.Load(); l.Transfers != 2 || l.Dropped != 1 {
		t.Errorf("load %+v", l)
	}
	if p := c.receive(50 * time.Millisecond); p != "" {
		t.Errorf("a third transfer was answered %.20q", p)
	}
}

func TestVanishedClient(t *testing.T) {
	e := newEvents()
	addr := serve(t, &Server{Opener: files{"f": noise(5000)}, Observer: e, Silence: 2 * time.Second}, "127.0.0.1:0")
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00")
	c.block(1)
	c.ack(1)
	c.fresh(2)
	if ev := e.wait(t, 2)[1]; ev.Err == nil || !ev.Done || ev.Bytes != 512 {
		t.Errorf("event %+v", ev)
	}

	c = dial(t, addr) // this one took all, but its last acknowledgement is lost
	c.send("\x00\x01f\x00octet\x00blksize\x008192\x00")
	c.expect(opOACK)
	c.ack(0)
	c.fresh(1)
	if ev := e.wait(t, 4)[3]; ev.Err != nil || ev.Bytes != 5000 {
		t.Errorf("event %+v", ev)
	}
}

func TestDiskFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, noise(300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan *os.File, 1)
	o := openerFunc(func(string) (*netboot.File, error) {
		f, err := os.Open(name)
		opened <- f
		return &netboot.File{Body: f, Size: 300_000}, err
	})
	e := newEvents()
	addr := serve(t, &Server{Opener: o, Observer: e}, "127.0.0.1:0")
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00windowsize\x0016\x00blksize\x001468\x00")
	c.expect(opOACK)
	if c.load(0, 1468, 16) != string(noise(300_000)) {
		t.Error("content differs")
	}
	e.wait(t, 2)
	if _, err := (<-opened).Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("file still open: %v", err)
	}
}

type openerFunc func(name string) (*netboot.File, error)

func (o openerFunc) Open(_ context.Context, _ netboot.Machine, name string) (*netboot.File, error) {
	return o(name)
}

func TestSeekOnly(t *testing.T) {
	o := openerFunc(func(string) (*netboot.File, error) {
		return &netboot.File{Body: seekOnly{strings.NewReader(strings.Repeat("abc", 5000))}, Size: 15000}, nil
	})
	addr := serve(t, &Server{Opener: o}, "127.0.0.1:0")
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00windowsize\x004\x00")
	c.expect(opOACK)
	if c.load(0, 512, 4) != strings.Repeat("abc", 5000) {
		t.Error("content differs")
	}
}

type seekOnly struct{ io.ReadSeeker }

func (seekOnly) Close() error { return nil }

func TestTruncatedFile(t *testing.T) {
	e := newEvents()
	o := openerFunc(func(string) (*netboot.File, error) {
		return &netboot.File{Body: inMemory{bytes.NewReader(noise(600))}, Size: 5000}, nil
	})
	addr := serve(t, &Server{Opener: o, Observer: e}, "127.0.0.1:0")
	c := dial(t, addr)
	c.send("\x00\x01f\x00octet\x00")
	c.block(1)
	c.ack(1)
	for p := "\x00\x03"; p[1] == opDATA; { // copies of the block
		if p = c.receive(time.Minute); len(p) < 2 || p[1] != opDATA && p[1] != opERROR {
			t.Fatalf("got %.60q, want an error", p)
		}
	}
	if ev := e.wait(t, 2)[1]; ev.Err == nil {
		t.Errorf("event %+v", ev)
	}
}

func TestRTT(t *testing.T) {
	var r rtt
	if got := r.rto(0, longestRTO); got != firstRTO {
		t.Errorf("before any answer: %v", got)
	}
	for range 100 {
		r.sample(time.Millisecond)
	}
	if got := r.rto(0, longestRTO); got != leastRTO {
		t.Errorf("near: %v, want %v", got, leastRTO)
	}
	for range 100 {
		r.sample(100 * time.Millisecond)
	}
	if got := r.rto(0, longestRTO); got < 100*time.Millisecond || got > 150*time.Millisecond {
		t.Errorf("far: %v, want a little over 100 ms", got)
	}
	if got := r.rto(60, longestRTO); got != longestRTO {
		t.Errorf("after many tries: %v, want %v", got, longestRTO)
	}
}

// unmapped spells an IPv4 address one way.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
