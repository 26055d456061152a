package nodedb

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Network is a row of the networks table. Networks are immutable.
type Network struct {
	Name          string
	Prefix        netip.Prefix // net and mask
	Interface     string       // mgtifname
	Gateway       string       // an address, or <xcatmaster>
	DHCPServer    string
	TFTPServer    string
	DynamicRanges []Range
	StaticRanges  []Range
	Domain        string
	Nameservers   []string // addresses, or <xcatmaster>
	NTPServers    []string
	LogServers    []string
	VLAN          string
	MTU           int

	rec   Record
	fault error
}

// Master stands, in a network's columns, for the address at which this server
// is reached in that network.
const Master = "<xcatmaster>"

// A Range is the addresses from First to Last, both of them in it.
type Range struct{ First, Last netip.Addr }

// Contains says whether the range holds a.
func (r Range) Contains(a netip.Addr) bool {
	return r.First.BitLen() == a.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// String writes the range as the networks table has it.
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// Attr returns the raw value of a column, "gateway" or "networks.gateway".
func (n *Network) Attr(column string) string {
	column = strings.TrimPrefix(column, "networks.")
	if v := n.rec.Attrs["networks."+column]; v != "" {
		return v
	}
	net, mask, _ := strings.Cut(n.rec.Name, KeySep)
	switch column {
	case "net":
		return net
	case "mask":
		return mask
	}
	return ""
}

// Check returns the first value that does not parse; it wraps ErrInvalid.
func (n *Network) Check() error { return n.fault }

// InDynamicRange says whether a is given out to machines that we do not know.
func (n *Network) InDynamicRange(a netip.Addr) bool {
	return slices.ContainsFunc(n.DynamicRanges, func(r Range) bool { return r.Contains(a) })
}

func buildNetwork(r Record) *Network {
	n := &Network{rec: r}
	n.Name = n.Attr("netname")
	if n.Name == "" {
		n.Name = strings.ReplaceAll(n.Attr("net"), ".", "_") + "-" + strings.ReplaceAll(n.Attr("mask"), ".", "_")
	}
	var err error
	n.Prefix, err = parsePrefix(n.Attr("net"), n.Attr("mask"))
	n.note("net", err)
	n.DynamicRanges, err = n.ranges("dynamicrange")
	n.note("dynamicrange", err)
	n.StaticRanges, err = n.ranges("staticrange")
	n.note("staticrange", err)
	if mtu := n.Attr("mtu"); mtu != "" {
		n.MTU, err = strconv.Atoi(mtu)
		if err != nil || n.MTU < 68 || n.MTU > 65535 {
			n.MTU = 0
			n.note("mtu", fmt.Errorf("%q is not a number from 68 to 65535: %w", mtu, ErrInvalid))
		}
	}
	n.Interface = n.Attr("mgtifname")
	n.Gateway = n.Attr("gateway")
	n.DHCPServer = n.Attr("dhcpserver")
	n.TFTPServer = n.Attr("tftpserver")
	n.Domain = n.Attr("domain")
	n.VLAN = n.Attr("vlanid")
	n.Nameservers = splitNames(n.Attr("nameservers"))
	n.NTPServers = splitNames(n.Attr("ntpservers"))
	n.LogServers = splitNames(n.Attr("logservers"))
	return n
}

func (n *Network) note(column string, err error) {
	if err != nil && n.fault == nil {
		n.fault = fmt.Errorf("network %s: %s: %w", n.Name, column, err)
	}
}

// ranges reads a column of ranges and holds them against the network.
func (n *Network) ranges(column string) ([]Range, error) {
	list, err := ParseRanges(n.Attr(column))
	if err != nil || !n.Prefix.IsValid() {
		return list, err
	}
	for _, r := range list {
		if !n.Prefix.Contains(r.First) || !n.Prefix.Contains(r.Last) {
			return nil, fmt.Errorf("%s is not inside %s: %w", r, n.Prefix, ErrInvalid)
		}
	}
	return list, nil
}

// parsePrefix reads an address and a mask: 255.255.0.0, /16 or 16.
func parsePrefix(address, mask string) (netip.Prefix, error) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a network address: %w", address, ErrInvalid)
	}
	size, err := maskBits(mask, a)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Prefix(size)
}

// maskBits returns how long the prefix is that a mask stands for.
func maskBits(mask string, a netip.Addr) (int, error) {
	if n, err := strconv.Atoi(strings.TrimPrefix(mask, "/")); err == nil && n >= 0 && n <= a.BitLen() {
		return n, nil
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || m.BitLen() != a.BitLen() {
		return 0, fmt.Errorf("%q is not a network mask: %w", mask, ErrInvalid)
	}
	b := m.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if m.Is4() {
		hi, lo = lo<<32, 0
	}
	n := bits.LeadingZeros64(^hi)
	if n == 64 {
		n += bits.LeadingZeros64(^lo)
	}
	if n != bits.OnesCount64(hi)+bits.OnesCount64(lo) {
		return 0, fmt.Errorf("%q is not a network mask: %w", mask, ErrInvalid)
	}
	return n, nil
}

// ParseRanges reads a list of ranges as the networks table has it: first-last
// or a prefix in CIDR, several separated by ; or a comma. The error wraps
// ErrInvalid. A prefix leaves out the network's own and the broadcast address.
func ParseRanges(s string) ([]Range, error) {
	var list []Range
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
		r, err := parseRange(part)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

func parseRange(s string) (Range, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return prefixRange(p), nil
	}
	first, last, ok := strings.Cut(s, "-")
	a, err1 := netip.ParseAddr(strings.TrimSpace(first))
	b, err2 := netip.ParseAddr(strings.TrimSpace(last))
	if !ok || err1 != nil || err2 != nil || a.BitLen() != b.BitLen() || b.Less(a) || a.Zone()+b.Zone() != "" {
		return Range{}, fmt.Errorf("%q is not a range of addresses (10.1.0.100-10.1.0.199): %w", s, ErrInvalid)
	}
	return Range{a, b}, nil
}

// prefixRange is the hosts' addresses of a prefix.
func prefixRange(p netip.Prefix) Range {
	p = p.Masked()
	first, last := p.Addr(), lastAddr(p)
	if p.Addr().BitLen()-p.Bits() >= 2 && p.Addr().Is4() {
		return Range{first.Next(), last.Prev()}
	}
	return Range{first, last}
}

// lastAddr is the highest address of a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
