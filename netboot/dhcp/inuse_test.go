package dhcp

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

func TestInUse(t *testing.T) {
	lan := netboottest.NewLAN(t)
	us, other := lan.NewHost(t, "10.1.0.1/16"), lan.NewHost(t, "10.1.0.77/16")
	ask := func(addr string, wait time.Duration) (mac net.HardwareAddr, err error) {
		us.Do(func() { mac, err = InUse(t.Context(), "eth0", netip.MustParseAddr(addr), wait) })
		return mac, err
	}
	if mac, err := ask("10.1.0.77", time.Minute); err != nil || mac.String() != other.MAC("eth0").String() {
		t.Errorf("10.1.0.77: %v, %v; want %v", mac, err, other.MAC("eth0"))
	}
	if mac, err := ask("10.1.0.78", 50*time.Millisecond); err != nil || mac != nil {
		t.Errorf("10.1.0.78, which nobody has: %v, %v", mac, err)
	}
	if _, err := ask("fd00::1", time.Second); err == nil {
		t.Error("fd00::1: no error")
	}
	us.Do(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := InUse(ctx, "eth0", netip.MustParseAddr("10.1.0.78"), time.Hour); err == nil {
			t.Error("waited beyond its context")
		}
		if _, err := InUse(ctx, "eth7", netip.MustParseAddr("10.1.0.78"), time.Hour); err == nil {
			t.Error("eth7: no error")
		}
	})
}

func TestARPSender(t *testing.T) {
	mac, addr := net.HardwareAddr{2, 0, 0, 0, 0, 7}, netip.MustParseAddr("10.1.0.77")
	reply := arpProbe(mac, netip.MustParseAddr("10.1.0.1"))
	copy(reply[28:], []byte{10, 1, 0, 77})
	if got := arpSender(reply, addr); got.String() != mac.String() {
		t.Errorf("got %v", got)
	}
	for name, b := range map[string][]byte{
		"a probe":         arpProbe(mac, addr),
		"short":           reply[:41],
		"of another's":    append(append([]byte(nil), reply[:31]...), append([]byte{78}, reply[32:]...)...),
		"not of Ethernet": append(append([]byte(nil), reply[:15]...), append([]byte{6}, reply[16:]...)...),
		"empty":           nil,
	} {
		if got := arpSender(b, addr); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}
