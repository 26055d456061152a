package udp

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"margay/netboot/netboottest"
)

// receiver is a socket that tells where datagrams come in.
func receiver(t *testing.T, h *netboottest.Host, at string) *Socket {
	t.Helper()
	conn := open(t, h, at)
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = WantOrigin(int(fd), netip.MustParseAddrPort(at).Addr().Is6()) })
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Whatever comes, alone or in crowds, is received once, whoever reads.
func TestReceive(t *testing.T) {
	h := netboottest.NewHost(t)
	for _, tt := range []struct {
		readers int
		nap     time.Duration
	}{{1, 0}, {1, 50 * time.Microsecond}, {3, 0}, {3, 50 * time.Microsecond}} {
		s := receiver(t, h, "0.0.0.0:0")
		s.Nap = tt.nap
		got := make(chan int, 4*Batch)
		var readers sync.WaitGroup
		for range tt.readers {
			readers.Go(func() {
				in := NewInbox(100)
				for !errors.Is(s.Receive(in), net.ErrClosed) {
					for i := range in.Len() {
						got <- int(in.Message(i)[0])
					}
				}
			})
		}
		c := open(t, h, "127.0.0.1:0")
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.LocalAddr().Port())
		for range 20 {
			for _, n := range []int{1, 2, Crowd, 3, Batch, Batch + 1, 2, 1} {
				var want, came []int
				for i := range n {
					want = append(want, i)
					if _, err := c.WriteToUDPAddrPort(sized(10, i), to); err != nil {
						t.Fatal(err)
					}
				}
				for range n {
					select {
					case i := <-got:
						came = append(came, i)
					case <-time.After(30 * time.Second):
						t.Fatalf("%d readers, nap %v: of %d came %v", tt.readers, tt.nap, n, came)
					}
				}
				if slices.Sort(came); !slices.Equal(came, want) {
					t.Fatalf("%d readers, nap %v: came %v, want %v", tt.readers, tt.nap, came, want)
				}
			}
		}
		s.Wake()
		readers.Wait()
		if len(got) > 0 {
			t.Errorf("%d more came", len(got))
		}
	}
}

// An answer goes back to who sent, from the address that he sent to.
func TestBack(t *testing.T) {
	h := netboottest.NewHost(t)
	for _, tt := range []struct{ at, to, client string }{
		{"0.0.0.0:0", "127.0.0.7", "127.0.0.1:0"},
		{"0.0.0.0:0", "127.0.0.1", "127.0.0.9:0"},
		{"[::]:0", "::1", "[::1]:0"},
		{"[::]:0", "::ffff:127.0.0.7", "127.0.0.1:0"},
	} {
		s, c := receiver(t, h, tt.at), open(t, h, tt.client)
		to := netip.AddrPortFrom(netip.MustParseAddr(tt.to), s.LocalAddr().Port())
		to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		if _, err := c.WriteToUDPAddrPort(sized(300, 7), to); err != nil {
			t.Fatal(err)
		}
		in := NewInbox(200)
		for in.Len() == 0 {
			if err := s.Receive(in); err != nil {
				t.Fatal(err)
			}
		}
		me := c.LocalAddr().(*net.UDPAddr).AddrPort()
		me = netip.AddrPortFrom(me.Addr().Unmap(), me.Port())
		local, index := in.Origin(0)
		if !in.Cut(0) || len(in.Message(0)) != 200 || in.Sender(0).AddrPort() != me || local != to.Addr() || index != 1 {
			t.Errorf("to %s came %d octets, cut: %v, from %s at %s by interface %d", to, len(in.Message(0)), in.Cut(0), in.Sender(0).AddrPort(), local, index)
		}
		w := in.Back(0).Clone()
		for _, w := range []Way{w, {NewAddress(me, to.Addr().Is6() || tt.at != "0.0.0.0:0"), Source(local, 0, tt.at != "0.0.0.0:0")}} {
			if err := s.Send(sized(20, 8), w); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			c.SetReadDeadline(time.Now().Add(30 * time.Second))
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatalf("to %s: %v", to, err)
			}
			if from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()); n != 20 || from != to {
				t.Errorf("%d octets came back from %s, want 20 from %s", n, from, to)
			}
		}
	}
}

// A socket that is woken takes nothing more but can send; one that is closed
// can do neither, and says so.
func TestClose(t *testing.T) {
	h := netboottest.NewHost(t)
	s, a := sender(t, h), addressee(t, h)
	ended := make(chan error)
	go func() { ended <- s.Receive(NewInbox(100)) }()
	s.Wake()
	s.Wake()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("who waits is told %v", err)
	}
	if err := s.Receive(NewInbox(100)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("who comes later is told %v", err)
	}
	if err := s.Send(sized(10, 1), a.way("")); err != nil {
		t.Fatal(err)
	}
	a.receives(t, "127.0.0.1", 1)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	out := NewOutbox(s)
	w := a.way("")
	out.Add(sized(10, 1), 10, &w)
	for what, err := range map[string]error{"Send": s.Send(sized(10, 1), w), "Flush": out.Flush(), "Receive": s.Receive(NewInbox(100))} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

// Close waits for who receives and who sends.
func TestCloseAtWork(t *testing.T) {
	h := netboottest.NewHost(t)
	a := addressee(t, h)
	for range 20 {
		s := sender(t, h)
		var all sync.WaitGroup
		began := make(chan bool, 2)
		all.Go(func() {
			began <- true
			for !errors.Is(s.Receive(NewInbox(100)), net.ErrClosed) {
			}
		})
		all.Go(func() {
			w := a.way("")
			began <- true
			for !errors.Is(s.Send(sized(10, 1), w), net.ErrClosed) {
			}
		})
		<-began
		<-began
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	}
}

// What finds no room in the socket waits as long as it is patient, and is lost.
func TestPatience(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[1])
	if cuts(ends[0]) {
		t.Error("a socket that is none of UDP is taken to cut")
	}
	s := &Socket{fd: ends[0], Patience: glance}
	defer s.Close()
	out := NewOutbox(s)
	flush := func() error { // of a message to the other end, which has no address
		out.n, out.used, out.segments[0] = 1, 1, 100
		point(&out.iovs[0], sized(100, 1))
		out.heads[0].Hdr.Iov = &out.iovs[0]
		out.heads[0].Hdr.SetIovlen(1)
		return out.Flush()
	}
	for err == nil {
		err = flush()
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Errorf("no room, and Flush says %v", err)
	}
	s.Patience = time.Hour
	done := make(chan error)
	go func() { done <- flush() }()
	if _, err := unix.Read(ends[1], make([]byte, 200)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("there is room, and Flush says %v", err)
	}
	go func() { done <- flush() }()
	s.woken.Store(true)
	if err := <-done; !errors.Is(err, unix.EAGAIN) {
		t.Errorf("it is to be closed, and Flush says %v", err)
	}
}
