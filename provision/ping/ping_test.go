package ping

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// dead is an address that nobody may have: RFC 5737 keeps it for documents.
// Loopback has no dead one.
const dead = "192.0.2.77"

func TestSweep(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		if c, err := open(false); err == nil {
			c.Close()
		} else if !tcp {
			t.Logf("ICMP is not ours to send (%v); TCP in its place", err)
		}
		got := map[netip.Addr]bool{}
		began := time.Now()
		s := Sweep{Wait: 3 * time.Second, TCP: tcp}
		for a, up := range s.All(t.Context(), []netip.Addr{addr("127.0.0.1"), addr("127.0.0.7"), addr("::1"), addr(dead), addr("127.0.0.1")}) {
			if _, twice := got[a]; twice {
				t.Errorf("tcp %v: %v came twice", tcp, a)
			}
			got[a] = up
		}
		if !got[addr("127.0.0.1")] || !got[addr("127.0.0.7")] || got[addr(dead)] || len(got) != 4 {
			t.Errorf("tcp %v: %v", tcp, got)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("tcp %v: took %v", tcp, took)
		}
	}
}

// TestSweepMany: a thousand that answer are heard without waiting for the end.
func TestSweepMany(t *testing.T) {
	var addrs []netip.Addr
	for a := addr("127.1.0.1"); len(addrs) < 1000; a = a.Next() {
		addrs = append(addrs, a)
	}
	up := 0
	for _, ok := range (Sweep{Wait: time.Minute}).All(t.Context(), addrs) {
		if ok {
			up++
		}
	}
	if up != 1000 {
		t.Errorf("%d of 1000 answer", up)
	}
}

func TestSweepEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for a, up := range (Sweep{Wait: time.Minute}).All(ctx, []netip.Addr{addr(dead)}) {
		t.Errorf("%v %v after the end", a, up)
	}
	for range (Sweep{Wait: time.Minute}).All(t.Context(), []netip.Addr{addr(dead), addr("127.0.0.1")}) {
		break // the first that answers; the rest is not waited for
	}
}

func TestIsAnswer(t *testing.T) {
	cookie := []byte("0123456789abcdef")
	reply := slices.Concat([]byte{0, 0, 0, 0, 1, 2, 0, 1}, cookie)
	tests := []struct {
		name string
		b    []byte
		want bool
	}{
		{"ours", reply, true},
		{"a request", slices.Concat([]byte{8, 0, 0, 0, 1, 2, 0, 1}, cookie), false},
		{"another's", slices.Concat([]byte{0, 0, 0, 0, 1, 2, 0, 1}, []byte("fedcba9876543210")), false},
		{"unreachable", slices.Concat([]byte{3, 1, 0, 0, 0, 0, 0, 0}, reply), false},
		{"cut", reply[:6], false},
		{"nothing", nil, false},
	}
	for _, tt := range tests {
		if got := isAnswer(tt.b, false, cookie); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if a := addrOf(&net.UDPAddr{IP: net.ParseIP("10.0.0.1")}); a != addr("10.0.0.1") {
		t.Errorf("%v", a)
	}
}

func FuzzIsAnswer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 2, 0, 1, 'x'}, false)
	f.Add([]byte{129, 0, 0, 0, 1, 2, 0, 1, 'x'}, true)
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		if isAnswer(b, six, []byte("0123456789abcdef")) && len(b) < 8+16 {
			t.Errorf("%x is no answer", b)
		}
	})
}
