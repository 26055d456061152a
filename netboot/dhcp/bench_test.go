package dhcp

import (
	"context"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
)

// BenchmarkExchange is DISCOVER, OFFER, REQUEST, ACK by one client over
// loopback, one after the other.
func BenchmarkExchange(b *testing.B) {
	s := &Server{Planner: planFunc(func(context.Context, netboot.Machine) (*netboot.Plan, error) {
		p := testPlan
		p.File = "xcat/xnba.efi"
		return &p, nil
	})}
	r := newRelay(b, start(b, s))
	disc := made(b, biosROM, viaRelay)
	offer := r.ask(discover(b, biosROM, viaRelay))
	req, err := dhcpv4.NewRequestFromOffer(offer, biosROM, viaRelay)
	if err != nil {
		b.Fatal(err)
	}
	ask := req.ToBytes()
	buf := make([]byte, 2048)
	b.ReportAllocs()
	for b.Loop() {
		for _, raw := range [][]byte{disc, ask} {
			if _, err := r.Write(raw); err != nil {
				b.Fatal(err)
			}
			if _, err := r.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkCrowd is 64 exchanges at a time through one relay, for a planner that
// never waits and says so, and for one that does not say so.
func BenchmarkCrowd(b *testing.B) {
	plan := planFunc(func(context.Context, netboot.Machine) (*netboot.Plan, error) {
		p := testPlan
		p.File = "xcat/xnba.efi"
		return &p, nil
	})
	for name, p := range map[string]netboot.Planner{"prompt": prompt{plan}, "any": plan} {
		b.Run(name, func(b *testing.B) {
			r := newRelay(b, start(b, &Server{Planner: p}))
			disc := made(b, biosROM, viaRelay)
			buf := make([]byte, 2048)
			b.ReportAllocs()
			for b.Loop() {
				for range 64 {
					if _, err := r.Write(disc); err != nil {
						b.Fatal(err)
					}
				}
				for range 64 {
					if _, err := r.Read(buf); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkReply is the work on one request, less the socket's.
func BenchmarkReply(b *testing.B) {
	raw := made(b, biosROM)
	k := &sock{mode: Authoritative}
	plan := testPlan
	plan.File = "xcat/xnba.kpxe"
	x := new(exchange)
	x.local = ourAddr
	x.src = netip.MustParseAddrPort("0.0.0.0:68")
	b.ReportAllocs()
	for b.Loop() {
		x.n = copy(x.in[:], raw)
		if err := x.parse(k); err != nil {
			b.Fatal(err)
		}
		m := x.machine(k)
		if kind, _, _ := x.reply(k, &m, &plan); kind == 0 {
			b.Fatal("no reply")
		}
	}
}
