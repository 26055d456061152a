package dhcp

import (
	"net/netip"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

func TestPing(t *testing.T) {
	lan := netboottest.NewLAN(t)
	us := lan.NewHost(t, "10.1.0.1/16")
	lan.NewHost(t, "10.1.0.7/16")
	us.Do(func() {
		if there, err := Ping(t.Context(), netip.MustParseAddr("10.1.0.7"), time.Minute); err != nil || !there {
			t.Errorf("one who is there: %v %v", there, err)
		}
		if there, err := Ping(t.Context(), netip.MustParseAddr("10.1.0.8"), 100*time.Millisecond); err != nil || there {
			t.Errorf("one who is not: %v %v", there, err)
		}
	})
}
