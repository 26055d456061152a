package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// upstream plays a resolver elsewhere: it answers by a function, by UDP and
// TCP, and counts.
type upstream struct {
	addr  netip.AddrPort
	asked atomic.Int32
}

func newUpstream(t *testing.T, answer func(network string, q *miekg.Msg) *miekg.Msg) *upstream {
	t.Helper()
	u := new(upstream)
	handler := func(w miekg.ResponseWriter, q *miekg.Msg) {
		u.asked.Add(1)
		if m := answer(w.LocalAddr().Network(), q); m != nil {
			w.WriteMsg(m)
		}
	}
	ln, pc := bothWays(t)
	u.addr = ln.Addr().(*net.TCPAddr).AddrPort()
	for _, s := range []*miekg.Server{{Listener: ln}, {PacketConn: pc}} {
		s.Handler = miekg.HandlerFunc(handler)
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go s.ActivateAndServe()
		<-up
		t.Cleanup(func() { s.Shutdown() })
	}
	return u
}

// bothWays listens at a port of loopback by TCP and UDP: one that is free for the
// one may not be so for the other.
func bothWays(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for try := 1; ; try++ {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			return ln, pc
		}
		ln.Close()
		if try == 20 {
			t.Fatal(err)
		}
	}
}

// says is an upstream's answer with one record, or none.
func says(q *miekg.Msg, rcode int, records ...string) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetRcode(q, rcode)
	for _, r := range records {
		rr, err := miekg.NewRR(r)
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype == miekg.TypeSOA {
			m.Ns = append(m.Ns, rr)
			continue
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

func forwarding(t *testing.T, upstreams ...netip.AddrPort) (*Server, netip.AddrPort) {
	s := &Server{Names: always(cluster(1)), Policy: func() *Policy { return &Policy{Upstreams: upstreams} }}
	return s, serve(t, s)
}

func TestForward(t *testing.T) {
	up := newUpstream(t, func(_ string, q *miekg.Msg) *miekg.Msg {
		switch strings.ToLower(q.Question[0].Name) {
		case "www.example.com.":
			return says(q, miekg.RcodeSuccess, "www.example.com. 300 IN A 192.0.2.1")
		case "none.example.com.":
			return says(q, miekg.RcodeNameError, "example.com. 300 IN SOA ns.example.com. x.example.com. 1 2 3 4 120")
		}
		return says(q, miekg.RcodeServerFailure)
	})
	s, at := forwarding(t, up.addr)
	for range 2 {
		for _, network := range []string{"udp", "tcp"} {
			m := ask("WWW.example.com.", "A")
			got := exchange(t, network, at, m)
			if text(got) != "NOERROR | www.example.com. 300 IN A 192.0.2.1; | |" || !got.RecursionAvailable || got.Question[0].Name != "WWW.example.com." {
				t.Errorf("%s: %s", network, got)
			}
		}
	}
	if got := text(exchange(t, "udp", at, ask("none.example.com.", "A"))); !strings.HasPrefix(got, "NXDOMAIN | |") {
		t.Error(got)
	}
	exchange(t, "udp", at, ask("none.example.com.", "A"))
	if n := up.asked.Load(); n != 2 {
		t.Errorf("the upstream was asked %d times, want once a name", n)
	}
	if got := text(exchange(t, "udp", at, ask("broken.example.com.", "A"))); got != "SERVFAIL | | |" {
		t.Error(got)
	}
	// Our own names are never asked for elsewhere.
	before := up.asked.Load()
	if got := exchange(t, "udp", at, ask("esx9.cluster.test.", "A")); got.Rcode != miekg.RcodeNameError || !got.RecursionAvailable {
		t.Error(got)
	}
	m := ask("www.example.com.", "A")
	m.RecursionDesired = false
	if got := exchange(t, "udp", at, m); got.Rcode != miekg.RcodeRefused {
		t.Errorf("not asked to recurse: %s", text(got))
	}
	if n := up.asked.Load(); n != before {
		t.Errorf("the upstream was asked %d times more", n-before)
	}
	if c := s.Counts(); c.Hits < 4 || c.Failed != 0 {
		t.Errorf("counts %+v", c)
	}
}

// An alias of ours for a name elsewhere is followed for those whom we serve:
// their resolvers do not.
func TestForwardAlias(t *testing.T) {
	up := newUpstream(t, func(_ string, q *miekg.Msg) *miekg.Msg {
		return says(q, miekg.RcodeSuccess, q.Question[0].Name+" 300 IN A 192.0.2.1")
	})
	_, at := forwarding(t, up.addr)
	const want = "NOERROR aa | out.cluster.test. 86400 IN CNAME www.example.com.; www.example.com. 300 IN A 192.0.2.1; | |"
	for _, network := range []string{"udp", "tcp"} {
		if got := text(exchange(t, network, at, ask("out.cluster.test.", "A"))); got != want {
			t.Errorf("%s: %s", network, got)
		}
	}
	if got := exchange(t, "udp", at, ask("www.example.com.", "A")); got.Authoritative || len(got.Answer) != 1 {
		t.Error(text(got))
	}
	m := ask("out.cluster.test.", "A")
	m.RecursionDesired = false
	if got := text(exchange(t, "udp", at, m)); got != "NOERROR aa | out.cluster.test. 86400 IN CNAME www.example.com.; | |" {
		t.Error(got)
	}
	if n := up.asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// One that is dead or out of order is passed over for the next, and rests.
func TestUpstreams(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	refuses := newUpstream(t, func(_ string, q *miekg.Msg) *miekg.Msg { return says(q, miekg.RcodeRefused) })
	good := newUpstream(t, func(_ string, q *miekg.Msg) *miekg.Msg {
		return says(q, miekg.RcodeSuccess, q.Question[0].Name+" 300 IN A 192.0.2.1")
	})
	_, at := forwarding(t, silent.LocalAddr().(*net.UDPAddr).AddrPort(), refuses.addr, good.addr)
	for _, name := range []string{"a.example.com.", "b.example.com."} {
		if got := exchange(t, "udp", at, ask(name, "A")); got.Rcode != miekg.RcodeSuccess || len(got.Answer) != 1 {
			t.Errorf("%s: %s", name, text(got))
		}
	}
	silent.SetReadDeadline(time.Now())
	asked := 0
	for buf := make([]byte, 512); ; asked++ {
		if _, _, err := silent.ReadFrom(buf); err != nil {
			break
		}
	}
	if asked > 1 {
		t.Errorf("the dead one was asked %d times", asked)
	}
}

func TestNoUpstreamAnswers(t *testing.T) {
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := dead.LocalAddr().(*net.UDPAddr).AddrPort()
	dead.Close() // the kernel says so at once
	s, at := forwarding(t, addr)
	if got := exchange(t, "udp", at, ask("www.example.com.", "A")); got.Rcode != miekg.RcodeServerFailure {
		t.Error(text(got))
	}
	if c := s.Counts(); c.Failed != 1 {
		t.Errorf("counts %+v", c)
	}
}

// What does not fit UDP comes from the upstream by TCP, and goes to the asker
// by the way that it can take.
func TestForwardLong(t *testing.T) {
	up := newUpstream(t, func(network string, q *miekg.Msg) *miekg.Msg {
		if network == "udp" {
			m := says(q, miekg.RcodeSuccess)
			m.Truncated = true
			return m
		}
		m := says(q, miekg.RcodeSuccess)
		for i := range 200 {
			rr, _ := miekg.NewRR(q.Question[0].Name + " 300 IN A 192.0.2." + string(rune('1'+i%9)))
			rr.(*miekg.A).A = net.IPv4(192, 0, 2, byte(i))
			m.Answer = append(m.Answer, rr)
		}
		return m
	})
	_, at := forwarding(t, up.addr)
	if got := exchange(t, "udp", at, ask("long.example.com.", "A")); !got.Truncated || compressed(got) > 512 {
		t.Errorf("by UDP: %d octets, truncated %v", compressed(got), got.Truncated)
	}
	if got := exchange(t, "tcp", at, ask("long.example.com.", "A")); got.Truncated || len(got.Answer) != 200 {
		t.Errorf("by TCP: %d records", len(got.Answer))
	}
}

// A server that is told to ask itself, and two that ask each other.
func TestForwardLoop(t *testing.T) {
	var self netip.AddrPort
	var ready sync.WaitGroup
	ready.Add(1)
	s := &Server{Names: always(cluster(1)), Policy: func() *Policy {
		ready.Wait()
		return &Policy{Upstreams: []netip.AddrPort{self}}
	}}
	self = serve(t, s)
	ready.Done()
	if got := exchange(t, "udp", self, ask("www.example.com.", "A")); got.Rcode != miekg.RcodeServerFailure {
		t.Errorf("asked itself: %s", text(got))
	}
	if n := s.Counts().Queries; n != 1 {
		t.Errorf("%d questions came of one", n)
	}

	var ask1, ask2 atomic.Pointer[Policy]
	s1 := &Server{Names: always(cluster(1)), Policy: ask1.Load}
	s2 := &Server{Names: always(cluster(1)), Policy: ask2.Load}
	one, two := serve(t, s1), serve(t, s2)
	ask1.Store(&Policy{Upstreams: []netip.AddrPort{two}})
	ask2.Store(&Policy{Upstreams: []netip.AddrPort{one}})
	if got := exchange(t, "udp", one, ask("www.example.com.", "A")); got.Rcode != miekg.RcodeServerFailure {
		t.Errorf("asked each other: %s", text(got))
	}
	if n := s1.Counts().Queries + s2.Counts().Queries; n > 8 {
		t.Errorf("%d questions came of one", n)
	}
}

func TestLoopByAddress(t *testing.T) {
	s := &Server{Policy: func() *Policy {
		return &Policy{Upstreams: []netip.AddrPort{netip.MustParseAddrPort("10.1.0.254:53"), netip.MustParseAddrPort("127.0.0.53:53")}}
	}}
	for addr, want := range map[string]bool{
		"10.1.0.254": false, "::ffff:10.1.0.254": false, "10.1.0.11": true, "127.0.0.53": true, "127.0.0.1": true,
		"192.0.2.1": false, "fd00::1": true, "fe80::1%eth0": true, "2001:db8::1": false,
	} {
		if got := s.policy().forwards(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	p := &Policy{Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("fe80::/10")}}
	for addr, want := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.1": true, "10.1.0.1": false, "fe80::1%eth0": true} {
		if got := p.serves(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
}

// Many who ask the same at once are one question to the upstream.
func TestForwardOnce(t *testing.T) {
	release := make(chan struct{})
	up := newUpstream(t, func(_ string, q *miekg.Msg) *miekg.Msg {
		<-release
		return says(q, miekg.RcodeSuccess, q.Question[0].Name+" 0 IN A 192.0.2.1") // and not to be remembered
	})
	s, at := forwarding(t, up.addr)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			c := &miekg.Client{Timeout: time.Minute}
			if got, _, err := c.Exchange(ask("www.example.com.", "A"), at.String()); err != nil || len(got.Answer) != 1 {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	together := func() bool {
		s.forward.mu.Lock()
		defer s.forward.mu.Unlock()
		fl := s.forward.flights[question{name: "www.example.com.", qtype: miekg.TypeA}]
		return fl != nil && fl.others == 19
	}
	for end := time.Now().Add(time.Minute); (s.Counts().Forwarded < 20 || !together()) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	close(release)
	all.Wait()
	if n := up.asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestCache(t *testing.T) {
	q := ask("www.example.com.", "A")
	key := question{name: "www.example.com.", qtype: miekg.TypeA}
	begin := time.Unix(1000, 0)
	c := newCache()
	c.put(key, says(q, miekg.RcodeSuccess, "www.example.com. 60 IN A 192.0.2.1", "www.example.com. 30 IN A 192.0.2.2"), begin)
	if _, age, ok := c.get(key, begin.Add(29*time.Second)); !ok || age != 29 {
		t.Errorf("after 29 s: %v, age %d", ok, age)
	}
	if _, _, ok := c.get(key, begin.Add(30*time.Second)); ok {
		t.Error("older than its TTL")
	}
	if _, _, ok := c.get(key, begin); ok {
		t.Error("what was too old came back")
	}
	c.put(key, says(q, miekg.RcodeSuccess, "www.example.com. 60 IN A 192.0.2.1"), begin)
	if _, _, ok := c.get(key, begin.Add(-time.Hour)); ok {
		t.Error("remembered from the future")
	}
	used := question{name: "n", qtype: 3}
	for i := range cacheSize + 10 {
		if _, _, ok := c.get(used, begin); i > 3 && !ok {
			t.Fatalf("what is used was forgotten, with %d entries", i)
		}
		c.put(question{name: "n", qtype: uint16(i)}, says(q, miekg.RcodeSuccess, "n. 60 IN A 192.0.2.1"), begin)
	}
	if n := c.order.Len(); n != cacheSize || len(c.items) != n {
		t.Errorf("%d entries in order, %d by name", n, len(c.items))
	}
	if _, _, ok := c.get(question{name: "n", qtype: 0}, begin); ok {
		t.Error("the oldest is still there")
	}
}

func TestLifetime(t *testing.T) {
	q := ask("www.example.com.", "A")
	soa := "example.com. 300 IN SOA ns.example.com. x.example.com. 1 2 3 4 120"
	tests := []struct {
		name string
		m    *miekg.Msg
		want uint32
	}{
		{"the shortest", says(q, 0, "a. 60 IN A 192.0.2.1", "a. 30 IN A 192.0.2.2"), 30},
		{"bounded", says(q, 0, "a. 999999 IN A 192.0.2.1"), longestTTL},
		{"not at all", says(q, 0, "a. 0 IN A 192.0.2.1"), 0},
		{"no such record", says(q, 0, soa), 120},
		{"no such name", says(q, miekg.RcodeNameError, soa), 120},
		{"no such name, bounded", says(q, miekg.RcodeNameError, strings.ReplaceAll(strings.ReplaceAll(soa, "120", "99999"), "300", "99999")), longestNone},
		{"no such name, no word how long", says(q, miekg.RcodeNameError), 0},
		{"failure", says(q, miekg.RcodeServerFailure), failureTTL},
		{"refused", says(q, miekg.RcodeRefused), 0},
	}
	for _, tt := range tests {
		if got := lifetime(tt.m); got != tt.want {
			t.Errorf("%s: %d s, want %d", tt.name, got, tt.want)
		}
	}
}

// TTLs count down while an answer is remembered.
func TestAge(t *testing.T) {
	q := ask("www.example.com.", "A")
	b := finish(q, nil, says(q, 0, "www.example.com. 60 IN A 192.0.2.1", "www.example.com. 10 IN A 192.0.2.2"), 20, 0)
	m := new(miekg.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	if got := text(m); got != "NOERROR | www.example.com. 40 IN A 192.0.2.1; www.example.com. 0 IN A 192.0.2.2; | |" {
		t.Error(got)
	}
}

// An answer to another question, as a forger would send it, is not taken.
func TestForged(t *testing.T) {
	up := newUpstream(t, func(_ string, q *miekg.Msg) *miekg.Msg {
		other := q.Copy()
		other.Question[0].Name = "evil.example.com."
		return says(other, 0, "evil.example.com. 60 IN A 192.0.2.66")
	})
	_, err := askOne(t.Context(), up.addr, question{name: "www.example.com.", qtype: miekg.TypeA})
	if err == nil {
		t.Error("taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := askOne(ctx, up.addr, question{name: "www.example.com.", qtype: miekg.TypeA}); err == nil || errors.Is(err, nil) {
		t.Error("asked after the end")
	}
}

func compressed(m *miekg.Msg) int {
	m.Compress = true
	return m.Len()
}
