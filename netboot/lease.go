package netboot

import (
	"net"
	"net/netip"
	"time"
)

// A LeaseQuery asks who has an address, or what a machine has (RFC 4388). One
// of its fields but Relay is set.
type LeaseQuery struct {
	Addr     netip.Addr
	MAC      net.HardwareAddr
	ClientID []byte
	Relay    netip.Addr // who asks
}

// A Holding is what is known of an address that machines may be given.
type Holding struct {
	Addr   netip.Addr
	MAC    net.HardwareAddr // who has it now; nil: nobody
	Ends   time.Duration    // from now
	Others []netip.Addr     // further addresses of the same machine
}
