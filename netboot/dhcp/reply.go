package dhcp

import (
	"encoding/binary"
	"net/netip"
	"time"

	"margay/netboot"
)

// defaultLease is what a plan without a lease time gets: xCAT's 12 hours.
const defaultLease = 43200 * time.Second

// bufSize is the room for a reply: the largest that we send, and the options
// at its end, which are never left out.
const bufSize = 4096

// verdict says what kind of reply a plan makes of a request; 0 for silence.
// It is RFC 2131, 4.3.
func verdict(m *netboot.Machine, plan *netboot.Plan) byte {
	addr := plan.Addr.Addr()
	switch m.Ask {
	case netboot.AskDiscover:
		if addr.Is4() && !plan.Nak {
			return msgOffer
		}
	case netboot.AskInform:
		return msgAck
	case netboot.AskRequest:
		if m.Server.IsValid() && m.Server != identifier(m, plan) && m.Server != m.Local {
			return 0 // it has taken another server's offer
		}
		if !m.Requested.IsValid() {
			return 0 // it does not say what it wants: not a REQUEST of RFC 2131
		}
		if plan.Nak || addr.Is4() && m.Requested != addr {
			return msgNak
		}
		if addr.Is4() {
			return msgAck
		}
	}
	return 0
}

// identifier is our own address as the client is told it.
func identifier(m *netboot.Machine, plan *netboot.Plan) netip.Addr {
	if plan.Server.IsValid() {
		return plan.Server
	}
	return m.Local
}

// reply makes the message of a kind that verdict gave, in buf. Its options
// are those that the client asks for and those without which some machine
// does not boot. It also gives the codes for which there was no room.
func reply(buf []byte, r *request, m *netboot.Machine, plan *netboot.Plan, kind byte) ([]byte, []uint8) {
	msg, lost := compose(buf, r, m, plan, kind, 0)
	if fields := overload(m, plan); len(lost) > 0 && fields != 0 {
		return compose(buf, r, m, plan, kind, fields)
	}
	return msg, lost
}

// overload says which fields of the header may hold options for want of room
// (RFC 2132, 9.3). Firmware gets none there: old ROMs read both fields as names,
// whatever option 52 says, and would ask for a file of that name.
func overload(m *netboot.Machine, plan *netboot.Plan) byte {
	switch {
	case m.PXE || m.HTTPBoot || m.Loader:
		return 0
	case plan.File != "":
		return overloadName
	}
	return overloadFile | overloadName
}

// compose is reply, with options in further fields of the header.
func compose(buf []byte, r *request, m *netboot.Machine, plan *netboot.Plan, kind, fields byte) ([]byte, []uint8) {
	var w writer
	w.start(buf, r.room(), plan.Options)
	w.overload(fields)
	w.header(r, m, plan, kind)
	w.putByte(optMessageType, kind)
	w.putAddr(optServer, r.tell(identifier(m, plan)))
	if kind == msgNak {
		w.putString(optMessage, "this address is not yours here")
		return w.end(r.clientID, r.relay), w.lost
	}
	if m.Ask != netboot.AskInform {
		w.lease(plan.Lease)
	}
	w.mask(plan.Addr)
	w.boot(r, m, plan)
	w.network(r, plan)
	w.extra()
	return w.end(r.clientID, r.relay), w.lost
}

// header writes the fixed fields, RFC 2131, table 3.
func (w *writer) header(r *request, m *netboot.Machine, plan *netboot.Plan, kind byte) {
	w.fixed(r)
	b := w.buf
	if kind == msgNak {
		// A relay shall broadcast a NAK: the client cannot be reached at an
		// address that is not its own (4.3.2).
		if r.giaddr.IsValid() {
			binary.BigEndian.PutUint16(b[atFlags:], flagBroadcast|binary.BigEndian.Uint16(b[atFlags:]))
		}
		return
	}
	if kind == msgAck {
		w.addr(atCIAddr, r.ciaddr)
	}
	if m.Ask != netboot.AskInform {
		w.addr(atYIAddr, plan.Addr.Addr())
	}
}

// fixed writes what every reply takes from its request.
func (w *writer) fixed(r *request) {
	b := w.buf
	b[atOp] = opReply
	copy(b[atHType:atHops], r.raw[atHType:atHops])
	copy(b[atXID:atXID+4], r.raw[atXID:])
	copy(b[atFlags:atFlags+2], r.raw[atFlags:])
	copy(b[atGIAddr:atGIAddr+4], r.raw[atGIAddr:])
	copy(b[atCHAddr:atSName], r.raw[atCHAddr:atSName])
}

// tell is the server identifier that this client is to use: the relay's where
// the relay wants every later message (RFC 5107), else ours.
func (r *request) tell(own netip.Addr) netip.Addr {
	if a := r.override(); a.IsValid() {
		return a
	}
	return own
}

func (r *request) override() netip.Addr {
	v, ok := sub(r.relay, relayServer)
	if !ok || len(v) != 4 || !r.giaddr.IsValid() {
		return netip.Addr{}
	}
	a, _ := hostAddr(v)
	return a
}

// lease writes the three times; T1 and T2 are RFC 2131, 4.4.5's.
func (w *writer) lease(d time.Duration) {
	if d <= 0 {
		d = defaultLease
	}
	w.putSeconds(optLease, d)
	if seconds(d) == forever {
		return
	}
	w.putSeconds(optRenewal, renewal(d))
	w.putSeconds(optRebinding, rebinding(d))
}

func renewal(lease time.Duration) time.Duration   { return lease / 2 }
func rebinding(lease time.Duration) time.Duration { return lease * 7 / 8 }

func (w *writer) mask(p netip.Prefix) {
	if !p.Addr().Is4() || p.Bits() < 0 {
		return
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ^uint32(0)<<(32-p.Bits()))
	w.put(optSubnetMask, b[:])
}

// boot writes what a machine needs to fetch its next program, whatever its
// parameter list says: ROMs leave out what they cannot do without.
func (w *writer) boot(r *request, m *netboot.Machine, plan *netboot.Plan) {
	if len(r.uuid) > 0 && (m.PXE || m.HTTPBoot) {
		w.put(optUUID, r.uuid) // RFC 4578, 2.3: sent back as it came
	}
	if m.Loader {
		// Else iPXE waits seconds for a proxy's offer at each of its rounds.
		w.put(optIPXE, []byte{ipxeNoPXEDHCP, 1, 1})
	}
	next := plan.Next
	if plan.File != "" && !next.IsValid() {
		next = identifier(m, plan)
	}
	w.addr(atSIAddr, next)
	if plan.File == "" {
		return
	}
	w.class(m)
	// Both the field and the option: mboot before 9.0 and old ROMs read the
	// field alone, others the option alone. A name of 128 octets or more
	// only fits the option.
	w.field(atFile, atCookie-atFile, plan.File)
	w.putString(optBootFile, plan.File)
	w.putString(optTFTPServer, next.String())
}

// class answers firmware in its own words. UEFI takes no boot file from a
// reply that does not call itself PXEClient or HTTPClient; and a PXEClient
// one without option 43 sends OVMF looking for a boot server, so discovery
// control says: use the file (PXE 2.1, 3.3.1). A loader needs none of it.
func (w *writer) class(m *netboot.Machine) {
	switch {
	case m.HTTPBoot:
		w.putString(optClass, "HTTPClient")
	case m.PXE && !m.Loader:
		w.putString(optClass, "PXEClient")
		w.put(optVendor, []byte{pxeDiscovery, 1, pxeUseBootServer, optEnd})
	}
}

// network writes what the client asked for (RFC 2131, 4.3.1).
func (w *writer) network(r *request, plan *netboot.Plan) {
	if r.wants(optRouter) {
		w.putAddr(optRouter, plan.Router)
	}
	if r.wants(optDNS) {
		w.putAddrs(optDNS, plan.DNS)
	}
	if r.wants(optHostName) {
		w.putString(optHostName, plan.Hostname)
	}
	if r.wants(optDomainName) {
		w.putString(optDomainName, plan.Domain)
	}
	if r.wants(optBroadcast) {
		w.putAddr(optBroadcast, broadcast(plan.Addr))
	}
	if r.wants(optInterfaceMTU) && plan.MTU >= 68 && plan.MTU <= 65535 {
		w.putUint16(optInterfaceMTU, uint16(plan.MTU))
	}
	if r.wants(optNTP) {
		w.putAddrs(optNTP, plan.NTP)
	}
	if r.wants(optLogServer) {
		w.putAddrs(optLogServer, plan.Log)
	}
	if r.wants(optSearch) {
		w.putNames(optSearch, plan.Search)
	}
	if r.subnet.IsValid() {
		w.putAddr(optSubnet, r.subnet) // RFC 3011: sent back where it was heeded
	}
}

// broadcast is the last address of a network that has one.
func broadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() < 0 || p.Bits() > 30 {
		return netip.Addr{}
	}
	b := p.Addr().As4()
	v := binary.BigEndian.Uint32(b[:]) | ^uint32(0)>>p.Bits()
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

// extra writes the operator's own options, asked for or not, in the order of
// their codes. Those that make a message what it is are not theirs to set.
func (w *writer) extra() {
	if len(w.over) == 0 {
		return
	}
	for code := optPad + 1; code < optEnd; code++ {
		if data, ok := w.over[code]; ok && !reserved(code) {
			w.raw(code, data)
		}
	}
}

func reserved(code uint8) bool {
	switch code {
	case optOverload, optMessageType, optServer, optClientID, optRelay:
		return true
	}
	return false
}
