package dhcp

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
)

// FuzzRequest throws whatever it likes at the server: no panic, and if there
// is a reply then a whole one, no longer than a datagram, to one host or to
// the broadcast address.
func FuzzRequest(f *testing.F) {
	reqs, err := filepath.Glob("testdata/*.req")
	if err != nil || len(reqs) == 0 {
		f.Fatalf("no requests to begin with: %v", err)
	}
	for _, path := range reqs {
		f.Add(captured(f, strings.TrimSuffix(filepath.Base(path), ".req")), false)
	}
	for _, raw := range [][]byte{made(f, biosROM), made(f, xnba), made(f, relayed), made(f, renewing), made(f, informing)} {
		f.Add(raw, false)
		f.Add(raw, true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, proxy bool) {
		k := &sock{mode: Authoritative}
		if proxy {
			k.mode = Proxy
		}
		x := new(exchange)
		x.n = copy(x.in[:], raw)
		x.src = netip.MustParseAddrPort("10.2.0.1:67")
		x.local = ourAddr
		if x.parse(k) != nil {
			return
		}
		m := x.machine(k)
		plan := testPlan
		plan.File = file(&m)
		for _, addr := range []netip.Addr{m.Requested, netip.MustParseAddr("10.1.0.11")} {
			if addr.IsValid() {
				plan.Addr = netip.PrefixFrom(addr, 16)
			}
			whole(t, k, x, &m, &plan)
			plan.Options = crowded().Options
			whole(t, k, x, &m, &plan)
			plan.Options = nil
		}
	})
}

func whole(t *testing.T, k *sock, x *exchange, m *netboot.Machine, plan *netboot.Plan) {
	kind, msg, _ := x.reply(k, m, plan)
	if kind == 0 {
		return
	}
	if len(msg) > 1500+255 || len(msg) < minSize {
		t.Errorf("a reply of %d octets", len(msg))
	}
	got, err := dhcpv4.FromBytes(msg)
	if err != nil {
		t.Fatalf("reply %x: %v", msg, err)
	}
	aggregate(t, msg)
	if byte(got.MessageType()) != kind {
		t.Errorf("reply of type %v, want %d", got.MessageType(), kind)
	}
	to := x.destination(k, kind).Addr()
	if !to.IsValid() || to.IsUnspecified() || to.IsMulticast() {
		t.Errorf("reply to %v", to)
	}
}
