package dhcp

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"margay/netboot/netboottest"
)

func TestListenRefuses(t *testing.T) {
	for _, mode := range []Mode{Off, Mode(9)} {
		if c, err := ListenInterface(t.Context(), "lo", mode); err == nil {
			c.Close()
			t.Errorf("listens in mode %v", mode)
		}
	}
	if c, err := ListenInterface(t.Context(), "nosuch0", Authoritative); err == nil {
		c.Close()
		t.Error("listens on an interface that is not there")
	}
	c, err := ListenAddr(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := ListenAddr(t.Context(), c.Addr()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port that is taken: %v", err)
	}
}

// Two interfaces of one host are two servers, and each hears its own.
func TestTwoInterfaces(t *testing.T) {
	one, two := netboottest.NewLAN(t), netboottest.NewLAN(t)
	us := one.NewHost(t, "10.1.0.1/16")
	if err := two.Attach(us, "eth1", "10.2.0.1/16"); err != nil {
		t.Fatal(err)
	}
	for _, ifname := range []string{"eth0", "eth1"} {
		us.Do(func() {
			c, err := ListenInterface(t.Context(), ifname, Proxy)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if c, err = ListenInterface(t.Context(), ifname, Authoritative); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		})
	}
}
