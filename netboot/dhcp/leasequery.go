package dhcp

import (
	"net"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
)

// A Holder knows which machine has which address. Nil: nothing is known of
// what is asked for, or who asks is not to be told.
type Holder interface {
	Holding(q netboot.LeaseQuery) *netboot.Holding
}

// RFC 4388's messages.
const (
	msgLeaseQuery      = 10
	msgLeaseUnassigned = 11
	msgLeaseUnknown    = 12
	msgLeaseActive     = 13

	optAssociatedIP = uint8(dhcpv4.OptionAssociatedIP)
)

// leaseQuery answers a relay that has forgotten who has what. One without
// giaddr has nowhere to be answered (RFC 4388, 6.3), and what it names is
// looked for in the RFC's order: address, MAC, client identifier.
func (s *Server) leaseQuery(k *sock, x *exchange) {
	r := &x.req
	if s.Holder == nil || !r.giaddr.IsValid() || !x.local.Is4() {
		s.count.ignored.Add(1)
		return
	}
	q := netboot.LeaseQuery{Relay: r.giaddr}
	switch {
	case r.ciaddr.IsValid():
		q.Addr = r.ciaddr
	case !allZero(r.raw[atCHAddr : atCHAddr+r.hlen]):
		q.MAC = net.HardwareAddr(r.raw[atCHAddr : atCHAddr+r.hlen])
	case len(r.clientID) > 0:
		q.ClientID = r.clientID
	default:
		s.count.malformed.Add(1)
		return
	}
	msg := leaseReply(x.out[:0], r, x.local.As4(), s.Holder.Holding(q))
	if err := x.send(k, msg, destination(r, x.src, msgLeaseActive)); err != nil {
		s.count.failed.Add(1)
		s.log().Warn("dhcp: cannot send", "to", r.giaddr, "err", err)
	}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// leaseReply is RFC 4388, 6.4.
func leaseReply(buf []byte, r *request, own [4]byte, h *netboot.Holding) []byte {
	var w writer
	w.start(buf, r.room(), nil)
	w.fixed(r)
	kind := byte(msgLeaseUnknown)
	switch {
	case h != nil && h.MAC != nil:
		kind = msgLeaseActive
	case h != nil:
		kind = msgLeaseUnassigned
	}
	w.addr(atCIAddr, r.ciaddr)
	w.putByte(optMessageType, kind)
	w.put(optServer, own[:])
	if kind == msgLeaseActive {
		w.addr(atCIAddr, h.Addr)
		w.buf[atHType], w.buf[atHLen] = ethernet, byte(len(h.MAC))
		clear(w.buf[atCHAddr:atSName])
		copy(w.buf[atCHAddr:atSName], h.MAC)
		w.lease(h.Ends)
		w.putAddrs(optAssociatedIP, h.Others)
	}
	return w.end(r.clientID, r.relay)
}
