package command

import (
	"net/netip"
	"testing"
)

func TestParseARP(t *testing.T) {
	got := parseARP(`IP address       HW type     Flags       HW address            Mask     Device
10.0.0.5         0x1         0x2         52:54:00:00:00:05     *        eth0
10.0.0.6         0x1         0x0         00:00:00:00:00:00     *        eth0
10.0.0.7         0x1         0x6         52:54:00:00:00:07     *        eth1
nonsense
`)
	if len(got) != 2 || got[netip.MustParseAddr("10.0.0.5")].String() != "52:54:00:00:00:05" || got[netip.MustParseAddr("10.0.0.7")] == nil {
		t.Errorf("%v", got)
	}
}
