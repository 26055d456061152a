package dhcp

import (
	"encoding/binary"
	"net"
	"time"

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

	optLastTransaction = uint8(dhcpv4.OptionClientLastTransactionTime)
	optAssociatedIP    = uint8(dhcpv4.OptionAssociatedIP)
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
	q := netboot.LeaseQuery{Relay: r.giaddr, Local: x.local}
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

// leaseReply is RFC 4388, 6.4. What it tells of a lease is what the relay asks
// for, all of it if it has no list; but option 82, which has a meaning of its
// own in a reply, only if it is asked for.
func leaseReply(buf []byte, r *request, own [4]byte, h *netboot.Holding) []byte {
	kind := byte(msgLeaseUnknown)
	switch {
	case h != nil && h.MAC != nil:
		kind = msgLeaseActive
	case h != nil:
		kind = msgLeaseUnassigned
	}
	id, relay := r.clientID, r.relay
	if kind == msgLeaseActive && len(id) == 0 && r.wants(optClientID) {
		id = h.ClientID
	}
	if kind == msgLeaseActive && r.wanted.has(optRelay) {
		relay = h.RelayInfo // the machine's, for the relay's own
	}
	var w writer
	w.start(buf, r.limit-1-optionSize(id)-optionSize(relay), nil)
	w.fixed(r)
	w.addr(atCIAddr, r.ciaddr)
	w.putByte(optMessageType, kind)
	w.put(optServer, own[:])
	if kind == msgLeaseActive {
		w.addr(atCIAddr, h.Addr)
		w.buf[atHType], w.buf[atHLen] = ethernet, byte(len(h.MAC))
		clear(w.buf[atCHAddr:atSName])
		copy(w.buf[atCHAddr:atSName], h.MAC)
		w.remaining(r, h)
		// The others are told whether they are asked for or not.
		w.putAddrs(optAssociatedIP, h.Others)
		w.told(r, h.Told)
	}
	return w.end(id, relay)
}

// remaining writes how long it is, as of now, until the lease ends and until the
// machine renews and rebinds, and since it last asked. What is past is left out.
func (w *writer) remaining(r *request, h *netboot.Holding) {
	if r.wants(optLease) {
		w.putSeconds(optLease, h.Ends)
	}
	length, gone := h.Length, h.Length-h.Ends
	if length == 0 {
		length, gone = h.Ends, 0
	}
	for _, t := range []struct {
		code uint8
		at   time.Duration
	}{{optRenewal, operators(h.Told, optRenewal, renewal(length))}, {optRebinding, operators(h.Told, optRebinding, rebinding(length))}} {
		if r.wants(t.code) && t.at > gone && seconds(length) != forever {
			w.putSeconds(t.code, t.at-gone)
		}
	}
	if r.wants(optLastTransaction) && h.Silent >= 0 {
		// Not putSeconds, which has no zero.
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(min(int64(h.Silent/time.Second), forever)))
		w.put(optLastTransaction, b[:])
	}
}

// told writes what else the machine is told, where the relay lists it.
func (w *writer) told(r *request, p *netboot.Plan) {
	if p == nil || !r.hasParams {
		return
	}
	if r.wanted.has(optSubnetMask) {
		w.mask(p.Addr)
	}
	w.over = p.Options
	w.network(r, p)
	for code := optPad + 1; code < optEnd; code++ {
		if data, ok := p.Options[code]; ok && r.wanted.has(code) && !reserved(code) {
			w.raw(code, data)
		}
	}
}

// operators is the time of an option as the operator has it, else ours.
func operators(p *netboot.Plan, code uint8, ours time.Duration) time.Duration {
	if p == nil || len(p.Options[code]) != 4 {
		return ours
	}
	return time.Duration(binary.BigEndian.Uint32(p.Options[code])) * time.Second
}
