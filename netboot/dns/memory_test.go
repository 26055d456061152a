package dns

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	miekg "github.com/miekg/dns"
)

// oddly is a question that an asker could send: any of these names, in
// letters of any height, of any type, with or without what may come along.
func oddly(t testing.TB, rnd *rand.Rand) []byte {
	t.Helper()
	names := []string{
		"esx1.cluster.test.", "dual.cluster.test.", "www.cluster.test.", "web.cluster.test.", "gone.cluster.test.", "out.cluster.test.",
		"loop.cluster.test.", "rack.cluster.test.", "a.rack.cluster.test.", "mail.cluster.test.", "cluster.test.", "nobody.cluster.test.",
		"11.0.1.10.in-addr.arpa.", "0.1.10.in-addr.arpa.", "99.0.1.10.in-addr.arpa.", "1.10.in-addr.arpa.", "www.example.com.", ".", `es\.x1.cluster.test.`,
		"2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", fmt.Sprintf("n%d.cluster.test.", rnd.IntN(1000)),
	}
	types := []uint16{miekg.TypeA, miekg.TypeAAAA, miekg.TypePTR, miekg.TypeSOA, miekg.TypeNS, miekg.TypeMX, miekg.TypeCNAME, miekg.TypeANY, miekg.TypeTXT, miekg.TypeAXFR}
	m := new(miekg.Msg)
	m.SetQuestion(names[rnd.IntN(len(names))], types[rnd.IntN(len(types))])
	m.Id = uint16(rnd.Uint32())
	m.RecursionDesired, m.CheckingDisabled = rnd.IntN(2) == 0, rnd.IntN(4) == 0
	if rnd.IntN(8) == 0 {
		m.Question[0].Qclass = miekg.ClassCHAOS
	}
	if rnd.IntN(2) == 0 {
		m.SetEdns0([]uint16{0, 512, 1232, 4096}[rnd.IntN(4)], rnd.IntN(2) == 0)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for i := headerSize; i < len(b) && b[i] != 0; i += 1 + int(b[i]) {
		for j := i + 1; j <= i+int(b[i]); j++ {
			if 'a' <= b[j] && b[j] <= 'z' && rnd.IntN(3) == 0 {
				b[j] -= 'a' - 'A'
			}
		}
	}
	return b
}

// What is remembered is what would be written anew, to the octet: for any
// question, by UDP and TCP, for those who may have others asked and those who
// may not.
func TestMemory(t *testing.T) {
	names := cluster(1)
	for i := range 60 { // too long for UDP
		h := names.hosts["rack.cluster.test"]
		h.Addrs = append(h.Addrs, netip.AddrFrom4([4]byte{10, 1, 9, byte(i)}))
		names.hosts["rack.cluster.test"] = h
	}
	policy := &Policy{Upstreams: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}}
	s := &Server{Names: always(names), Policy: func() *Policy { return policy }}
	fresh := &Server{Names: always(names), Policy: s.Policy}
	rnd := rand.New(rand.NewPCG(1, 2))
	hits := 0
	for range 50000 {
		msg := oddly(t, rnd)
		from := netip.MustParseAddr([]string{"10.1.0.11", "198.51.100.7"}[rnd.IntN(2)])
		limit := []int{0, maxMessage}[rnd.IntN(2)]
		fresh.tables.Add(1)
		fresh.table.Store(nil) // what it remembers is dead
		var q, fq query
		got, v := s.reply(s.moment(), nil, msg, from, limit, &q)
		want, fv := fresh.reply(fresh.moment(), nil, msg, from, limit, &fq)
		if v != fv || !bytes.Equal(got, want) {
			t.Fatalf("%x from %s: verdict %d\n%x, remembered\n%x, anew", msg, from, v, got, want)
		}
		if q.name == "" && fq.name != "" {
			hits++
		}
	}
	if hits < 10000 {
		t.Errorf("%d of 50,000 answers were remembered", hits)
	}
}

// FuzzMemory: likewise, for questions as they come.
func FuzzMemory(f *testing.F) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		f.Add(oddly(f, rnd))
	}
	names := cluster(1)
	s, fresh := &Server{Names: always(names)}, &Server{Names: always(names)}
	from := netip.MustParseAddr("10.1.0.11")
	f.Fuzz(func(t *testing.T, msg []byte) {
		fresh.table.Store(nil)
		var q query
		want, fv := fresh.reply(fresh.moment(), nil, msg, from, 0, &q)
		for range 2 {
			if got, v := s.reply(s.moment(), nil, msg, from, 0, &q); v != fv || !bytes.Equal(got, want) {
				t.Fatalf("%x: verdict %d\n%x, remembered\n%x, anew", msg, v, got, want)
			}
		}
	})
}

// Names that nobody has fill the memory and no more, and what they push out is
// answered all the same.
func TestMemoryBounded(t *testing.T) {
	s := &Server{Names: always(cluster(1))}
	good := raw(t, "esx1.cluster.test.", "A")
	want, _ := s.reply(s.moment(), nil, good, netip.Addr{}, 0, new(query))
	used := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	flood := func(n int) {
		msg := raw(t, "aaaaa.cluster.test.", "A")
		var q query
		var buf []byte
		for i := range n {
			for j := range 5 {
				msg[headerSize+1+j] = 'a' + byte(i>>(4*j)&15)
			}
			buf, _ = s.reply(s.moment(), buf, msg, netip.Addr{}, 0, &q)
		}
	}
	flood(1 << 17)
	before := used()
	flood(1 << 18)
	if grown := used() - before; grown > 8<<20 {
		t.Errorf("names that are not there took %d octets more", grown)
	}
	if got, _ := s.reply(s.moment(), nil, good, netip.Addr{}, 0, new(query)); !bytes.Equal(got, want) {
		t.Errorf("%x after the flood, %x before", got, want)
	}
}

// A change is seen by the next question, though its answer was remembered, and
// one that is taken back is forgotten as well.
func TestMemoryChange(t *testing.T) {
	one, two := cluster(1), cluster(2)
	two.hosts["esx1.cluster.test"] = host("10.1.0.99")
	delete(two.hosts, "a.rack.cluster.test")
	var now Names = one
	s := &Server{Names: func() Names { return now }}
	answer := func(name string) string {
		got, _ := s.reply(s.moment(), nil, raw(t, name, "A"), netip.Addr{}, 0, new(query))
		var m miekg.Msg
		if err := m.Unpack(got); err != nil {
			t.Fatal(err)
		}
		return text(&m)
	}
	for range 3 {
		for _, tt := range []struct {
			names Names
			fresh *Server
		}{{one, &Server{Names: always(one)}}, {two, &Server{Names: always(two)}}} {
			now = tt.names
			for _, name := range []string{"esx1.cluster.test.", "www.cluster.test.", "a.rack.cluster.test.", "nobody.cluster.test."} {
				got, _ := tt.fresh.reply(tt.fresh.moment(), nil, raw(t, name, "A"), netip.Addr{}, 0, new(query))
				var m miekg.Msg
				if err := m.Unpack(got); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if a := answer(name); a != text(&m) {
						t.Errorf("%s: %s, want %s", name, a, text(&m))
					}
				}
			}
		}
	}
}

// Many ask while the names change under them: no answer is of a table that is
// gone (run with -race).
func TestMemoryTogether(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	serials := make(chan Names)
	go func() {
		for i := uint32(1); ; i++ {
			select {
			case serials <- cluster(i):
			case <-ctx.Done():
				return
			}
		}
	}()
	s := &Server{Names: func() Names { return <-serials }}
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			msg := raw(t, "cluster.test.", "SOA")
			var last uint32
			for range 200 {
				got, _ := s.reply(s.moment(), nil, msg, netip.Addr{}, 0, new(query))
				var m miekg.Msg
				if err := m.Unpack(got); err != nil || len(m.Answer) != 1 {
					t.Errorf("%x: %v", got, err)
					return
				}
				serial := m.Answer[0].(*miekg.SOA).Serial
				if serial <= last {
					t.Errorf("serial %d after %d", serial, last)
				}
				last = serial
			}
		}()
	}
	for range 4 {
		<-done
	}
}
