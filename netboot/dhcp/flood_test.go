package dhcp

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"runtime"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
	"margay/netboot/netboottest"
)

// A flood of broken requests leaves the server serving and no larger.
func TestFlood(t *testing.T) {
	s := &Server{Planner: planFunc(func(_ context.Context, m netboot.Machine) (*netboot.Plan, error) {
		p := testPlan
		p.File = file(&m)
		return &p, nil
	})}
	r := newRelay(t, start(t, s))
	rnd := rand.New(rand.NewPCG(1, 2))
	good := [][]byte{made(t, biosROM, viaRelay), made(t, xnba, viaRelay), captured(t, "ovmf-http-request")}
	var before, after runtime.MemStats
	for i := range 30000 {
		if i == 5000 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		b := append([]byte(nil), good[i%len(good)]...)
		for range 1 + rnd.IntN(8) {
			b[rnd.IntN(len(b))] = byte(rnd.Uint32())
		}
		r.Write(b[:rnd.IntN(len(b)+1)])
	}
	last := discover(t, viaRelay)
	last.TransactionID = dhcpv4.TransactionID{0xfe, 0xed}
	for got := r.ask(last); got.TransactionID != last.TransactionID; got = r.ask(last) {
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("grown by %d octets", grown)
	}
	if c := s.Counts(); c.Malformed == 0 {
		t.Errorf("counts %+v", c)
	}
}

// A server goes on when its interface has been down.
func TestInterfaceDownAndUp(t *testing.T) {
	ip := netboottest.Binary(t, "ip")
	lan := netboottest.NewLAN(t)
	us, client := lan.NewHost(t, "10.1.0.1/16"), lan.NewHost(t)
	s := &Server{Planner: planFunc(func(context.Context, netboot.Machine) (*netboot.Plan, error) {
		p := testPlan
		return &p, nil
	})}
	serveOn(t, us, s, Authoritative)
	for _, state := range []string{"down", "up"} {
		if err := us.Run(exec.Command(ip, "link", "set", "eth0", state)); err != nil {
			t.Fatal(err)
		}
	}
	if err := us.Up("eth0"); err != nil {
		t.Fatal(err)
	}
	client.Do(func() {
		found, err := Probe(t.Context(), "eth0", 2*again)
		if err != nil || len(found) != 1 || found[0].Server != netip.MustParseAddr("10.1.0.1") {
			t.Errorf("found %+v, %v", found, err)
		}
	})
}
