package dhcp

import (
	"net/netip"
)

const (
	serverPort = 67
	clientPort = 68
	proxyPort  = 4011 // PXE 2.1, 2.2.3
)

// broadcastAddr is everybody on the interface's own network.
var broadcastAddr = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// destination is where a reply of a kind goes; the zero AddrPort if it can go
// nowhere. Src is where the request came from.
//
// RFC 2131, 4.1 has a client without an address take a unicast to the one it
// is being given, unless it sets the broadcast flag. Many ROMs can take none
// and do not say so; it would also need an ARP entry made by hand. We
// broadcast to them all.
func destination(r *request, src netip.AddrPort, kind byte) netip.AddrPort {
	if r.giaddr.IsValid() {
		return netip.AddrPortFrom(r.giaddr, relayPort(r, src))
	}
	if kind != msgNak && r.ciaddr.IsValid() {
		return netip.AddrPortFrom(r.ciaddr, clientPort)
	}
	if r.kind == msgInform && !src.Addr().IsUnspecified() {
		return netip.AddrPortFrom(src.Addr(), clientPort)
	}
	return netip.AddrPortFrom(broadcastAddr, clientPort)
}

// relayPort is 67, or the port that the relay sent from where it says so
// (RFC 8357, 4).
func relayPort(r *request, src netip.AddrPort) uint16 {
	if v, ok := sub(r.relay, relaySourcePort); ok && len(v) == 0 {
		return src.Port()
	}
	return serverPort
}
