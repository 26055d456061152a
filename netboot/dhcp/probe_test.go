package dhcp

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
	"margay/netboot/netboottest"
)

func TestProbe(t *testing.T) {
	lan := netboottest.NewLAN(t)
	other, proxy, us := lan.NewHost(t, "10.1.0.2/16"), lan.NewHost(t, "10.1.0.3/16"), lan.NewHost(t, "10.1.0.1/16")
	everybody := planFunc(func(_ context.Context, m netboot.Machine) (*netboot.Plan, error) {
		p := testPlan
		p.File = "xcat/xnba.efi"
		return &p, nil
	})
	serveOn(t, other, &Server{Planner: everybody}, Authoritative)
	serveOn(t, proxy, &Server{Planner: everybody}, Proxy)
	serveOn(t, us, &Server{Planner: everybody}, Authoritative)

	var found []Foreign
	var err error
	us.Do(func() { found, err = Probe(t.Context(), "eth0", 3*time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	want := map[netip.Addr]Foreign{}
	for _, f := range []Foreign{
		{Interface: "eth0", Server: netip.MustParseAddr("10.1.0.2"), Addr: netip.MustParseAddr("10.1.0.2"), Offered: netip.MustParseAddr("10.1.0.11")},
		{Interface: "eth0", Server: netip.MustParseAddr("10.1.0.3"), Addr: netip.MustParseAddr("10.1.0.3"), Proxy: true},
	} {
		want[f.Server] = f
	}
	for _, f := range found {
		if want[f.Server] != f {
			t.Errorf("found %+v", f)
		}
		delete(want, f.Server)
	}
	if len(want) > 0 {
		t.Errorf("did not find %v", want)
	}
}

func TestProbeDnsmasq(t *testing.T) {
	lan := netboottest.NewLAN(t)
	other, us := lan.NewHost(t, "10.1.0.2/16"), lan.NewHost(t, "10.1.0.1/16")
	dnsmasqOn(t, other)
	var found []Foreign
	var err error
	us.Do(func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for len(found) == 0 && err == nil && ctx.Err() == nil { // until it has started
			found, err = Probe(ctx, "eth0", time.Second)
		}
	})
	if err != nil || len(found) != 1 || found[0].Server != netip.MustParseAddr("10.1.0.2") || found[0].Proxy {
		t.Errorf("found %+v, %v", found, err)
	}
}

func TestProbeNobody(t *testing.T) {
	us := netboottest.NewLAN(t).NewHost(t) // and no address either
	us.Do(func() {
		if found, err := Probe(t.Context(), "eth0", 100*time.Millisecond); err != nil || len(found) > 0 {
			t.Errorf("found %+v, %v", found, err)
		}
		if _, err := Probe(t.Context(), "eth7", time.Second); err == nil {
			t.Error("probed an interface that is not there")
		}
	})
}

// A server that machines prefer is reported when they say so, and the machine
// with it; our own addresses and those that the site knows are not.
func TestForeignNoticed(t *testing.T) {
	told, ev := make(chan Foreign, 8), make(events, 8)
	s := &Server{
		Workers:  1,
		Observer: ev,
		Foreign: func(f Foreign) bool {
			told <- f
			return f.Server != netip.MustParseAddr("10.1.0.8")
		},
		Planner: planFunc(func(context.Context, netboot.Machine) (*netboot.Plan, error) { return nil, netboot.ErrIgnore }),
	}
	k := &sock{ifname: "eth0", mode: Authoritative}
	for _, server := range []string{"10.1.0.1", "10.1.0.8", "10.1.0.9"} {
		x := new(exchange)
		x.n = copy(x.in[:], made(t, request54(netip.MustParseAddr(server).AsSlice(), []byte{10, 1, 0, 11}), dhcpv4.WithBroadcast(true)))
		x.src, x.local = netip.MustParseAddrPort("0.0.0.0:68"), ourAddr
		if s.take(k, x) {
			s.serve(t.Context(), k, x)
		}
	}
	close(told)
	close(ev)
	var got []string
	for f := range told {
		got = append(got, f.Interface+" "+f.Server.String()+" "+f.Offered.String())
	}
	if want := []string{"eth0 10.1.0.8 10.1.0.11", "eth0 10.1.0.9 10.1.0.11"}; !slices.Equal(got, want) {
		t.Errorf("told of %q, want %q", got, want)
	}
	e := <-ev
	if e.Step != netboot.StepForeign || e.Machine.Server != netip.MustParseAddr("10.1.0.9") || len(ev) > 0 {
		t.Errorf("%+v, and %d more", e, len(ev))
	}
}

// TestForeignLogged: where nobody is to be told, it is logged, once for each.
func TestForeignLogged(t *testing.T) {
	var said bytes.Buffer
	s := &Server{
		Log:     slog.New(slog.NewTextHandler(&said, nil)),
		Planner: planFunc(func(context.Context, netboot.Machine) (*netboot.Plan, error) { return nil, netboot.ErrIgnore }),
	}
	k := &sock{ifname: "eth0", mode: Authoritative}
	for _, server := range []string{"10.1.0.1", "127.0.0.1", "10.1.0.9", "10.1.0.9"} {
		x := new(exchange)
		x.n = copy(x.in[:], made(t, request54(netip.MustParseAddr(server).AsSlice(), []byte{10, 1, 0, 11}), dhcpv4.WithBroadcast(true)))
		x.src, x.local = netip.MustParseAddrPort("0.0.0.0:68"), ourAddr
		if s.take(k, x) {
			s.serve(t.Context(), k, x)
		}
	}
	if n := strings.Count(said.String(), "another server"); n != 1 || !strings.Contains(said.String(), "server=10.1.0.9") {
		t.Errorf("it says\n%s", said.String())
	}
}
