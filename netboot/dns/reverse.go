package dns

import (
	"net/netip"
	"strconv"
	"strings"
)

const (
	suffix4 = "in-addr.arpa"
	suffix6 = "ip6.arpa"
)

// ReverseName is the name whose PTR record names an address (RFC 1035, 3.5;
// RFC 3596, 2.5).
func ReverseName(a netip.Addr) string {
	if a.Is4() {
		b := a.As4()
		return reverse4(b[:]) + suffix4
	}
	b := a.As16()
	return reverse6(b[:], 32) + suffix6
}

// ReverseZones are the zones that the addresses of a network belong to. Zones
// end at octets: /24 or longer is in its /24 zone, /17 to /23 in several of
// them; /9 to /16 in its /16 zones, and what is shorter in /8 ones. /25 to /31
// have a zone of their own as well, to which whoever has the /24 one may point
// (RFC 2317). IPv6 zones end at the nibble at or above the prefix.
func ReverseZones(p netip.Prefix) []string {
	p = p.Masked()
	if !p.IsValid() {
		return nil
	}
	if p.Addr().Is6() {
		b := p.Addr().As16()
		return []string{reverse6(b[:], p.Bits()/4) + suffix6}
	}
	b := p.Addr().As4()
	octets := min(max(1, (p.Bits()+7)/8), 3)
	n := 1
	if p.Bits() < 8*octets {
		n = 1 << (8*octets - p.Bits())
	}
	zones := make([]string, 0, n)
	for range n {
		zones = append(zones, reverse4(b[:octets])+suffix4)
		b[octets-1]++
	}
	if p.Bits() > 24 && p.Bits() < 32 {
		zones = append(zones, classless(p)+zones[0])
	}
	return zones
}

// classless is the label, with its dot, of a part of a /24 zone: "128/25.".
func classless(p netip.Prefix) string {
	return strconv.Itoa(int(p.Addr().As4()[3])) + "/" + strconv.Itoa(p.Bits()) + "."
}

// cutClassless gives the /24 zone that a classless one is part of, and its
// network; false: the zone is not a classless one.
func cutClassless(zone string) (parent string, p netip.Prefix, ok bool) {
	label, parent, _ := strings.Cut(zone, ".")
	first, bits, ok := strings.Cut(label, "/")
	if !ok {
		return "", p, false
	}
	a, whole, _ := reverseAddr(first + "." + parent)
	n, err := strconv.Atoi(bits)
	if !whole || !a.Is4() || err != nil || n < 25 || n > 31 {
		return "", p, false
	}
	p = netip.PrefixFrom(a, n)
	return parent, p, p.Masked() == p && classless(p) == label+"."
}

// reverseIn reads a name of a reverse zone like reverseAddr. In a classless
// zone are only the addresses of its network.
func reverseIn(zone, name string) (a netip.Addr, whole, ok bool) {
	parent, p, is := cutClassless(zone)
	if !is {
		return reverseAddr(name)
	}
	a, whole, ok = reverseAddr(strings.TrimSuffix(name, zone) + parent)
	return a, whole && p.Contains(a), ok && whole && p.Contains(a)
}

// nameIn is the name of an address in a reverse zone; "" if it has none there.
func (t *table) nameIn(z *Zone, a netip.Addr) string {
	name := ReverseName(a)
	if parent, p, ok := cutClassless(z.Name); ok {
		if !p.Contains(a) {
			return ""
		}
		return strings.TrimSuffix(name, parent) + z.Name
	}
	if own, _ := t.zone(name); own != z {
		return ""
	}
	return name
}

// reverse4 is octets from the last to the first, each with a dot.
func reverse4(octets []byte) string {
	var s []byte
	for i := len(octets) - 1; i >= 0; i-- {
		s = append(strconv.AppendUint(s, uint64(octets[i]), 10), '.')
	}
	return string(s)
}

// reverse6 is the first nibbles of an address, likewise.
func reverse6(b []byte, nibbles int) string {
	const hex = "0123456789abcdef"
	var s []byte
	for i := nibbles - 1; i >= 0; i-- {
		s = append(s, hex[b[i/2]>>(4*(1-i%2))&15], '.')
	}
	return string(s)
}

// reverseAddr reads a reverse name. Whole says that it is an address and not
// the beginning of one, ok that it is either.
func reverseAddr(name string) (a netip.Addr, whole, ok bool) {
	if s, is := strings.CutSuffix(name, suffix4); is {
		return addr4(s)
	}
	if s, is := strings.CutSuffix(name, suffix6); is {
		return addr6(s)
	}
	return a, false, false
}

func addr4(s string) (a netip.Addr, whole, ok bool) {
	var b [4]byte
	n := 0
	for s != "" {
		label, rest, dot := strings.Cut(s, ".")
		v, err := strconv.ParseUint(label, 10, 8)
		if !dot || err != nil || n == 4 || len(label) > 1 && label[0] == '0' {
			return a, false, false
		}
		copy(b[1:], b[:3])
		b[0] = byte(v)
		n, s = n+1, rest
	}
	return netip.AddrFrom4(b), n == 4, true
}

func addr6(s string) (a netip.Addr, whole, ok bool) {
	var b [16]byte
	n := 0
	for ; s != ""; s = s[2:] {
		if len(s) < 2 || s[1] != '.' || n == 32 {
			return a, false, false
		}
		v, err := strconv.ParseUint(s[:1], 16, 4)
		if err != nil {
			return a, false, false
		}
		i := 31 - n // the last nibble comes first
		b[i/2] |= byte(v) << (4 * (1 - i%2))
		n++
	}
	return netip.AddrFrom16(b), n == 32, true
}
