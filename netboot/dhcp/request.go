package dhcp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

var (
	errShort     = errors.New("shorter than a DHCP message")
	errNotDHCP   = errors.New("not a DHCP request")
	errHardware  = errors.New("not a station's hardware address")
	errHops      = errors.New("passed on too often")
	errAddress   = errors.New("an address that no host can have")
	errOption    = errors.New("an option runs past the end")
	errOptionLen = errors.New("an option of the wrong length")
)

// A request is a client's message, read in place: its slices point into raw.
type request struct {
	raw  []byte
	kind byte // DHCP message type
	hlen int

	ciaddr, giaddr netip.Addr // zero if unspecified
	requested      netip.Addr
	server         netip.Addr
	subnet         netip.Addr
	limit          int // octets that the client takes as a reply

	params, class, user, clientID, uuid []byte
	arch, hostname, relay, ipxe, probe  []byte

	hasParams bool
	hasIPXE   bool
	wanted    codes // of params
	joined    codes // options that are no longer within raw
}

// codes is a set of option codes.
type codes [4]uint64

func (c *codes) add(code uint8)      { c[code>>6] |= 1 << (code & 63) }
func (c *codes) has(code uint8) bool { return c[code>>6]&(1<<(code&63)) != 0 }

// parse reads raw into r, which keeps it. A message that breaks a rule on
// which an answer would rest is an error: we answer nobody whom we cannot
// understand. Whatever sizes it claims, no more is read than is there.
func (r *request) parse(raw []byte) error {
	*r = request{raw: raw, limit: defaultSize}
	if len(raw) < atOptions {
		return errShort
	}
	if raw[atOp] != opRequest || binary.BigEndian.Uint32(raw[atCookie:]) != magicCookie {
		return errNotDHCP
	}
	if raw[atHops] > maxHops {
		return errHops
	}
	if err := r.fields(); err != nil {
		return err
	}
	if err := r.options(); err != nil {
		return err
	}
	return r.digest()
}

func (r *request) fields() error {
	r.hlen = int(r.raw[atHLen])
	if r.hlen > 16 {
		return errHardware
	}
	mac := r.raw[atCHAddr : atCHAddr+r.hlen]
	if r.raw[atHType] == ethernet && !station(mac) {
		return errHardware
	}
	var ok1, ok2 bool
	r.ciaddr, ok1 = hostAddr(r.raw[atCIAddr:])
	r.giaddr, ok2 = hostAddr(r.raw[atGIAddr:])
	if !ok1 || !ok2 {
		return errAddress
	}
	return nil
}

// station says whether mac is one that a single interface has.
func station(mac []byte) bool {
	if len(mac) != 6 || mac[0]&1 != 0 {
		return false
	}
	return mac[0]|mac[1]|mac[2]|mac[3]|mac[4]|mac[5] != 0
}

// hostAddr reads an address that one host can have; zero is allowed and
// gives the zero Addr. Replies are sent to what these fields say: a group or
// broadcast address there would make us shout at strangers.
func hostAddr(b []byte) (netip.Addr, bool) {
	a := netip.AddrFrom4([4]byte(b[:4]))
	if a.IsUnspecified() {
		return netip.Addr{}, true
	}
	if b[0] == 0 || b[0] >= 224 {
		return netip.Addr{}, false
	}
	return a, true
}

// options reads the options field and, where option 52 says so, file and
// sname, in RFC 3396's order.
func (r *request) options() error {
	over, err := r.area(r.raw[atOptions:])
	if err != nil {
		return err
	}
	if over&overloadFile != 0 {
		if _, err := r.area(r.raw[atFile:atCookie]); err != nil {
			return err
		}
	}
	if over&overloadName != 0 {
		if _, err := r.area(r.raw[atSName:atFile]); err != nil {
			return err
		}
	}
	return nil
}

// area reads one field of options and gives option 52's value in it. The end
// option may be missing: some clients fill the message to its last octet.
func (r *request) area(b []byte) (over byte, err error) {
	for len(b) > 0 {
		code := b[0]
		if code == optPad {
			b = b[1:]
			continue
		}
		if code == optEnd {
			return over, nil
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return 0, errOption
		}
		data := b[2 : 2+int(b[1])]
		b = b[2+len(data):]
		if code == optOverload && len(data) == 1 {
			over = data[0]
			continue
		}
		if err := r.option(code, data); err != nil {
			return 0, err
		}
	}
	return over, nil
}

func (r *request) option(code uint8, data []byte) error {
	switch code {
	case optMessageType:
		if len(data) != 1 || r.kind != 0 {
			return errOptionLen
		}
		r.kind = data[0]
	case optRequested:
		return address(&r.requested, data)
	case optServer:
		return address(&r.server, data)
	case optSubnet:
		return address(&r.subnet, data)
	case optMaxSize:
		if len(data) == 2 {
			r.limit = min(max(int(binary.BigEndian.Uint16(data))-headers, defaultSize), largestSize)
		}
	case optParameters:
		r.hasParams = true
		r.join(code, &r.params, data)
	case optClass:
		r.join(code, &r.class, data)
	case optUserClass:
		r.join(code, &r.user, data)
	case optClientID:
		r.join(code, &r.clientID, data)
	case optUUID:
		r.join(code, &r.uuid, data)
	case optArch:
		r.join(code, &r.arch, data)
	case optHostName:
		r.join(code, &r.hostname, data)
	case optRelay:
		r.join(code, &r.relay, data)
	case optIPXE:
		r.hasIPXE = true
		r.join(code, &r.ipxe, data)
	case optProbe:
		r.join(code, &r.probe, data)
	}
	return nil
}

func address(to *netip.Addr, data []byte) error {
	if len(data) != 4 {
		return errOptionLen
	}
	a, ok := hostAddr(data)
	if !ok {
		return errAddress
	}
	*to = a
	return nil
}

// join puts the parts of an option together that came in several (RFC 3396).
// One part stays where it is in the message.
func (r *request) join(code uint8, to *[]byte, part []byte) {
	if len(*to) == 0 {
		*to = part
		return
	}
	if !r.joined.has(code) {
		r.joined.add(code)
		*to = (*to)[:len(*to):len(*to)] // so that append copies
	}
	*to = append(*to, part...)
}

// digest draws the conclusions that need every option.
func (r *request) digest() error {
	switch r.kind {
	case msgDiscover, msgRequest, msgDecline, msgRelease, msgInform, msgLeaseQuery:
	default:
		return errNotDHCP
	}
	if len(r.clientID) > 255 || len(r.relay) > 255 {
		return errOptionLen // they are sent back whole, beside all else
	}
	for _, c := range r.params {
		r.wanted.add(c)
	}
	return nil
}

// wants says whether the client asked for an option, or leaves it to us.
func (r *request) wants(code uint8) bool { return !r.hasParams || r.wanted.has(code) }

// sub finds an option within an encapsulated one (RFC 2132, 8.4; RFC 3046,
// 2.0). What is cut off is not there.
func sub(b []byte, code uint8) ([]byte, bool) {
	for len(b) >= 2 {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		n := 2 + int(b[1])
		if len(b) < n {
			return nil, false
		}
		if b[0] == code {
			return b[2:n], true
		}
		b = b[n:]
	}
	return nil, false
}
