package dns

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"margay/netboot/netboottest"
)

// dig runs dig on h and gives its lines without blanks and comments.
func dig(t *testing.T, h *netboottest.Host, args ...string) string {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command(netboottest.Binary(t, "dig"), append([]string{"+tries=1", "+time=30"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Run(cmd); err != nil {
		t.Fatalf("dig %v: %v\n%s", args, err, out.String())
	}
	var lines []string
	for l := range strings.Lines(out.String()) {
		if l = strings.Join(strings.Fields(l), " "); l != "" && !strings.HasPrefix(l, ";") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// patient takes transfers of a server that has little of the machine.
func patient() *miekg.Transfer {
	return &miekg.Transfer{DialTimeout: time.Minute, ReadTimeout: time.Minute, WriteTimeout: time.Minute}
}

// listenIn serves on an address within a host.
func listenIn(t *testing.T, h *netboottest.Host, s *Server, addr string) netip.AddrPort {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var c *Conn
	var err error
	h.Do(func() { c, err = Listen(ctx, addr) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return c.Addr()
}

// A server on all addresses answers from the one that was asked: dig takes
// nothing from another.
func TestDig(t *testing.T) {
	netboottest.Binary(t, "dig")
	lan := netboottest.NewLAN(t)
	server := lan.NewHost(t, "10.1.0.1/16", "10.1.0.2/16", "fd00::1/64", "fd00::2/64")
	client := lan.NewHost(t, "10.1.0.11/16", "fd00::11/64")
	names := cluster(1)
	h := names.hosts["dual.cluster.test"]
	for i := range 100 {
		h.Addrs = append(h.Addrs, netip.AddrFrom4([4]byte{10, 1, 9, byte(i)}))
	}
	names.hosts["dual.cluster.test"] = h
	listenIn(t, server, &Server{Names: always(names)}, ":53")

	for _, at := range []string{"@10.1.0.1", "@10.1.0.2", "@fd00::1", "@fd00::2"} {
		for _, tt := range []struct{ args, want string }{
			{"+short esx1.cluster.test A", "10.1.0.11"},
			{"+short www.cluster.test A", "esx1.cluster.test.\n10.1.0.11"},
			{"+short -x 10.1.0.11", "esx1.cluster.test."},
			{"+short -x fd00::12", "dual.cluster.test."},
			{"+short +tcp esx1.cluster.test A", "10.1.0.11"},
			{"+short cluster.test SOA", "mn.cluster.test. hostmaster.cluster.test. 1 10800 3600 604800 60"},
			{"+noall +answer +noedns nobody.cluster.test", ""},
		} {
			if got := dig(t, client, append([]string{at}, strings.Fields(tt.args)...)...); got != tt.want {
				t.Errorf("dig %s %s: %q, want %q", at, tt.args, got, tt.want)
			}
		}
		// dig comes back by TCP for what was cut off.
		if got := strings.Count(dig(t, client, at, "+short", "dual.cluster.test"), "\n") + 1; got != 102 {
			t.Errorf("%s: %d addresses", at, got)
		}
	}
}

// What listens on all addresses answers at those that come later, and what
// listens on one answers when it is there again; by UDP and TCP, after the
// interface was down as well.
func TestAddressesChange(t *testing.T) {
	netboottest.Binary(t, "dig")
	lan := netboottest.NewLAN(t)
	server := lan.NewHost(t, "10.1.0.1/16", "10.1.0.2/16", "fd00::1/64")
	client := lan.NewHost(t, "10.1.0.11/16", "fd00::11/64")
	s := &Server{Names: always(cluster(1))}
	listenIn(t, server, s, ":53")
	listenIn(t, server, s, "10.1.0.2:5353")
	ip := func(words string) {
		t.Helper()
		if err := server.Run(exec.Command("ip", strings.Fields(words)...)); err != nil {
			t.Fatalf("ip %s: %v", words, err)
		}
	}
	answers := func(when string, at ...string) {
		t.Helper()
		for _, a := range at {
			for _, how := range []string{"+notcp", "+tcp"} {
				if got := dig(t, client, append(strings.Fields(a), how, "+short", "esx1.cluster.test")...); got != "10.1.0.11" {
					t.Errorf("%s, dig %s %s: %q", when, a, how, got)
				}
			}
		}
	}
	answers("at first", "@10.1.0.1", "@10.1.0.2", "@10.1.0.2 -p 5353", "@fd00::1")
	ip("address add 10.1.0.3/16 dev eth0")
	ip("-6 address add fd00::3/64 dev eth0 nodad")
	answers("with further addresses", "@10.1.0.1", "@10.1.0.3", "@fd00::3")
	ip("address flush dev eth0")
	ip("address add 10.1.0.4/16 dev eth0")
	ip("-6 address add fd00::4/64 dev eth0 nodad")
	answers("with other addresses", "@10.1.0.4", "@fd00::4")
	ip("link set eth0 down")
	ip("link set eth0 up")
	if err := server.Up("eth0"); err != nil {
		t.Fatal(err)
	}
	ip("address add 10.1.0.2/16 dev eth0")
	ip("-6 address replace fd00::4/64 dev eth0 nodad")
	answers("after the interface was down", "@10.1.0.4", "@10.1.0.2", "@10.1.0.2 -p 5353", "@fd00::4")
}

func TestTransfer(t *testing.T) {
	names := cluster(9)
	for i := range 3000 { // several messages
		n, a := fmt.Sprintf("n%04d.cluster.test", i), netip.AddrFrom4([4]byte{10, 1, byte(10 + i/250), byte(i % 250)})
		names.hosts[n] = Host{Addrs: []netip.Addr{a}}
		names.addrs[a] = []string{n}
	}
	var policy atomic.Pointer[Policy]
	policy.Store(&Policy{Secondaries: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	at := serve(t, &Server{Names: always(names), Policy: policy.Load})
	for zone, want := range map[string]int{"cluster.test.": 4 + 3000 + 14, "1.10.in-addr.arpa.": 4 + 3000 + 6, "2.10.in-addr.arpa.": 0} {
		for _, qtype := range []string{"AXFR", "IXFR"} {
			m := ask(zone, qtype)
			if qtype == "IXFR" {
				m.SetIxfr(zone, 1, "mn.cluster.test.", "hostmaster.cluster.test.")
			}
			in, err := patient().In(m, at.String())
			if err != nil {
				t.Fatal(err)
			}
			var got []miekg.RR
			for env := range in {
				if env.Error != nil && want > 0 {
					t.Fatalf("%s %s: %v", qtype, zone, env.Error)
				}
				got = append(got, env.RR...)
			}
			if len(got) != want {
				t.Errorf("%s %s: %d records, want %d", qtype, zone, len(got), want)
			}
			if want == 0 {
				continue
			}
			if first, last := got[0].String(), got[len(got)-1].String(); first != last || !strings.Contains(first, "SOA") {
				t.Errorf("%s %s: from %q to %q", qtype, zone, first, last)
			}
		}
	}
	for serial, want := range map[uint32]int{8: 4 + 3000 + 14, 9: 1, 10: 1} { // RFC 1995, 2
		m := ask("cluster.test.", "IXFR")
		m.SetIxfr("cluster.test.", serial, "mn.cluster.test.", "hostmaster.cluster.test.")
		in, err := patient().In(m, at.String())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for env := range in {
			n += len(env.RR)
		}
		if n != want {
			t.Errorf("who has serial %d gets %d records of serial 9, want %d", serial, n, want)
		}
	}
	policy.Store(&Policy{})
	in, err := patient().In(ask("cluster.test.", "AXFR"), at.String())
	if err != nil {
		t.Fatal(err)
	}
	if env := <-in; env.Error == nil {
		t.Errorf("transferred to one who is not listed: %v", env.RR)
	}
}

// What a transfer holds is what questions are answered with.
func TestTransferAgrees(t *testing.T) {
	names := cluster(9)
	p := &Policy{Secondaries: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}
	at := serve(t, &Server{Names: always(names), Policy: func() *Policy { return p }})
	for _, z := range names.zones {
		in, err := patient().In(ask(z.Name+".", "AXFR"), at.String())
		if err != nil {
			t.Fatal(err)
		}
		for env := range in {
			if env.Error != nil {
				t.Fatal(env.Error)
			}
			for _, rr := range env.RR {
				m := new(miekg.Msg)
				m.SetQuestion(rr.Header().Name, rr.Header().Rrtype)
				got := exchange(t, "udp", at, m)
				if !slices.ContainsFunc(got.Answer, func(a miekg.RR) bool { return a.String() == rr.String() }) {
					t.Errorf("transferred %s, answered %s", rr, text(got))
				}
			}
		}
	}
}
