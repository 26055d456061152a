package netboot

import (
	"net"
	"net/netip"
	"time"
)

// A LeaseQuery asks who has an address, or what a machine has (RFC 4388). One
// of its first three fields is set.
type LeaseQuery struct {
	Addr     netip.Addr
	MAC      net.HardwareAddr
	ClientID []byte
	Relay    netip.Addr // who asks
	Local    netip.Addr // our address as it reaches us
}

// A Holding is what is known of an address that machines may be given.
type Holding struct {
	Addr   netip.Addr
	MAC    net.HardwareAddr // who has it now; nil: nobody
	Ends   time.Duration    // from now
	Others []netip.Addr     // further addresses of the same machine

	Length    time.Duration // of the whole lease, from its last renewal; zero: not known
	Silent    time.Duration // since the machine last asked; below zero: not known
	ClientID  []byte        // as it last called itself; empty: not known, or by its MAC alone
	RelayInfo []byte        // option 82 of the last request that a relay passed on
	Told      *Plan         // what it is told beside its address; nil: not known
}
