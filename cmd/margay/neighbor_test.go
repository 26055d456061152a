package main

import (
	"net/netip"
	"strings"
	"testing"
)

func TestNeighbor(t *testing.T) {
	const table = `IP address       HW type     Flags       HW address            Mask     Device
10.1.0.11        0x1         0x2         52:54:00:00:00:01     *        eth1
10.1.0.12        0x1         0x0         00:00:00:00:00:00     *        eth1
`
	for addr, want := range map[string]string{"10.1.0.11": "52:54:00:00:00:01", "10.1.0.12": "", "10.1.0.1": "", "fe80::1": ""} {
		if got := neighborIn(strings.NewReader(table), netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	neighbor(netip.MustParseAddr("127.0.0.1"))
}
