package udp

import (
	"os/exec"
	"slices"
	"testing"

	"margay/netboot/netboottest"
)

// run is datagrams that lie one behind the other, all of a size but the last.
func run(n, size, last int) (p []byte, want []int) {
	for i := range n {
		if i == n-1 {
			size = last
		}
		p = append(p, sized(size, i)...)
		want = append(want, i)
	}
	return p, want
}

// A run arrives as the datagrams that it is, in order, however long it is and
// whether or not the kernel cuts it.
func TestOutbox(t *testing.T) {
	h := netboottest.NewHost(t)
	s, a := sender(t, h), addressee(t, h)
	out := NewOutbox(s)
	for _, whole := range []bool{false, true} {
		for _, tt := range []struct{ n, size, last, messages int }{
			{1, 500, 500, 1}, {2, 500, 1, 1}, {44, 1472, 600, 1}, {45, 1472, 1472, 2}, {64, 100, 100, 1}, {130, 100, 3, 3},
		} {
			s.whole.Store(whole)
			p, want := run(tt.n, tt.size, tt.last)
			w := a.way("127.0.0.2")
			out.Add(p, tt.size, &w)
			if !whole && out.n != tt.messages {
				t.Errorf("%d of %d octets: %d messages, want %d", tt.n, tt.size, out.n, tt.messages)
			}
			if err := out.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := a.arrive(t, "127.0.0.2", tt.n); !slices.Equal(got, want) {
				t.Errorf("%d of %d octets, whole %v: came %v", tt.n, tt.size, whole, got)
			}
		}
	}
}

// More runs than fit leave on the way.
func TestOutboxFull(t *testing.T) {
	h := netboottest.NewHost(t)
	s, a := sender(t, h), addressee(t, h)
	out := NewOutbox(s)
	w := a.way("")
	var want []int
	for i := range Batch + 3 {
		if full := out.Full(); full != (i == Batch) {
			t.Errorf("full at %d: %v", i, full)
		}
		out.Add(sized(10, i), 10, &w)
		want = append(want, i)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := a.arrive(t, "127.0.0.1", len(want)); !slices.Equal(got, want) {
		t.Errorf("came %v", got)
	}
}

// Packets that do not fit the way are sent one by one, and the next runs are cut
// all the same.
func TestOutboxRefused(t *testing.T) {
	h := netboottest.NewHost(t)
	if err := h.Run(exec.Command("ip", "link", "set", "lo", "mtu", "600")); err != nil {
		t.Fatal(err)
	}
	s, a := sender(t, h), addressee(t, h)
	out := NewOutbox(s)
	long, want := run(5, 900, 30)
	short, _ := run(3, 100, 100)
	w, v := a.way("127.0.0.2"), a.way("127.0.0.3")
	out.Add(long, 900, &w)
	out.Add(short, 100, &v)
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	a.receives(t, "127.0.0.2", want...)
	a.receives(t, "127.0.0.3", 0, 1, 2)
	if !s.Cuts() {
		t.Error("nothing is cut any more")
	}
}

// A kernel that does not know UDP_SEGMENT would send a run as one long packet:
// it is asked first, and its runs are sent packet by packet.
func TestOldKernel(t *testing.T) {
	h := netboottest.NewHost(t)
	a := addressee(t, h)
	conn := open(t, h, "0.0.0.0:0")
	var s *Socket
	var err error
	netboottest.WithoutSegment(t, func() { s, err = New(conn) })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Cuts() {
		t.Fatal("it is taken to cut")
	}
	out := NewOutbox(s)
	p, want := run(10, 400, 40)
	w := a.way("")
	out.Add(p, 400, &w)
	if out.n != 10 {
		t.Errorf("%d messages, want one for each of 10 packets", out.n)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := a.arrive(t, "127.0.0.1", 10); !slices.Equal(got, want) {
		t.Errorf("came %v", got)
	}
}
