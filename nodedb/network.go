package nodedb

import "net/netip"

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

	attrs map[string]string
	fault error
}

// A Range is the addresses from First to Last, both of them in it.
type Range struct{ First, Last netip.Addr }

// Contains says whether the range holds a.
func (r Range) Contains(a netip.Addr) bool {
	return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Attr returns the raw value of a column, "gateway" or "networks.gateway".
func (n *Network) Attr(column string) string { return "" }

// Check returns the first value that does not parse; it wraps ErrInvalid.
func (n *Network) Check() error { return n.fault }
