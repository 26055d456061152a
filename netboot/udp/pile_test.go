package udp

import (
	"net/netip"
	"os/exec"
	"testing"

	"margay/netboot/netboottest"
)

// Datagrams that go the same way are one message, as the kernel can cut it.
func TestPile(t *testing.T) {
	h := netboottest.NewHost(t)
	s, a, b := sender(t, h), addressee(t, h), addressee(t, h)
	letters := []letter{
		{sized(50, 0), a.way("")}, {sized(60, 1), a.way("")}, {sized(50, 2), b.way("")}, {sized(40, 3), a.way("")},
		{sized(50, 4), a.way("127.0.0.2")}, {sized(50, 5), a.way("")}, {sized(60, 6), b.way("")}, {sized(50, 7), a.way("")},
		{sized(50, 8), a.way("127.0.0.2")},
	}
	pile := NewPile(s)
	for _, tt := range []struct {
		whole bool
		want  int
	}{{false, 4}, {true, len(letters)}} {
		s.whole.Store(tt.whole)
		for _, l := range letters {
			pile.Add(l.msg, l.Way)
		}
		pile.pack()
		if got := pile.out.n; got != tt.want {
			t.Errorf("%d messages, want %d", got, tt.want)
		}
		pile.out.n, pile.out.used = 0, 0
		if err := pile.Flush(); err != nil {
			t.Fatal(err)
		}
		a.receives(t, "127.0.0.1", 0, 1, 3, 5, 7)
		a.receives(t, "127.0.0.2", 4, 8)
		b.receives(t, "127.0.0.1", 2, 6)
	}
}

// Where packets do not fit the way, they are sent one by one and the kernel
// makes fragments.
func TestPileRefused(t *testing.T) {
	h := netboottest.NewHost(t)
	if err := h.Run(exec.Command("ip", "link", "set", "lo", "mtu", "600")); err != nil {
		t.Fatal(err)
	}
	s, a, b := sender(t, h), addressee(t, h), addressee(t, h)
	pile := NewPile(s)
	for i := range 4 {
		pile.Add(sized(900, i), a.way("127.0.0.1"))
		pile.Add(sized(100, 4+i), b.way(""))
	}
	if err := pile.Flush(); err != nil {
		t.Fatal(err)
	}
	a.receives(t, "127.0.0.1", 0, 1, 2, 3)
	b.receives(t, "127.0.0.1", 4, 5, 6, 7)
	if !s.Cuts() {
		t.Error("nothing is cut any more")
	}
}

// A full pile, of which each datagram goes a way of its own or all go one.
func TestPileFull(t *testing.T) {
	h := netboottest.NewHost(t)
	s, a := sender(t, h), addressee(t, h)
	pile := NewPile(s)
	for _, ways := range []int{1, 7, Batch} {
		want := map[string][]int{}
		for i := range Batch {
			from := netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i%ways)}).String()
			want[from] = append(want[from], i)
			pile.Add(sized(100+i/2, i), a.way(from))
		}
		if pile.Len() != Batch {
			t.Errorf("%d datagrams, want %d", pile.Len(), Batch)
		}
		if err := pile.Flush(); err != nil {
			t.Fatal(err)
		}
		if pile.Len() != 0 {
			t.Errorf("%d are left", pile.Len())
		}
		for from, all := range want {
			a.receives(t, from, all...)
		}
	}
}
