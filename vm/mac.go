package vm

import (
	"io"
	"net"
	"net/netip"
	"strings"
)

// A MACPool makes MAC addresses that nobody has.
type MACPool struct {
	Prefix string            // site.genmacprefix: three bytes, or empty
	Random io.Reader         // where the random bytes come from
	Taken  func(string) bool // says whether an address is in use; nil: none is
}

// maxTries bounds the search for a free address; a prefix's 24 bits are full
// long before so many tries fail by chance.
const maxTries = 1000

// New makes one address. addr is the guest's own IPv4 address, if it has one:
// it becomes the tail of an address that has no prefix.
func (p MACPool) New(addr netip.Addr) (net.HardwareAddr, error) {
	prefix, err := macPrefix(p.Prefix)
	if err != nil {
		return nil, err
	}
	for range maxTries {
		mac := make(net.HardwareAddr, 6)
		if _, err := io.ReadFull(p.Random, mac); err != nil {
			return nil, err
		}
		shape(mac, prefix, addr)
		if p.Taken == nil || !p.Taken(mac.String()) {
			return mac, nil
		}
	}
	return nil, Errorf(ErrExists, "no free MAC address found after %d tries; is genmacprefix %q used up?", maxTries, p.Prefix)
}

// shape turns six random bytes into an address. Without a prefix it is
// locally administered (IEEE 802: second bit of the first byte set) and
// unicast, "42:xx" and the four bytes of the guest's IPv4 address. VMware
// takes only the lower quarter of its own 00:50:56 from operators
// (00:50:56:00:00:00 to 00:50:56:3f:ff:ff); the rest is vCenter's.
func shape(mac net.HardwareAddr, prefix []byte, addr netip.Addr) {
	if prefix == nil {
		mac[0] = 0x42
		if addr.Is4() {
			a := addr.As4()
			copy(mac[2:], a[:])
		}
		return
	}
	copy(mac, prefix)
	if isVMware(mac) {
		mac[3] &= 0x3f
	}
}

func isVMware(mac net.HardwareAddr) bool {
	return mac[0] == 0x00 && mac[1] == 0x50 && mac[2] == 0x56
}

func macPrefix(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	hw, err := net.ParseMAC(strings.TrimRight(strings.ReplaceAll(s, "-", ":"), ":") + ":00:00:00")
	if err != nil || len(hw) != 6 {
		return nil, Errorf(ErrInvalid, "site.genmacprefix %q: write three bytes, such as 00:50:56", s)
	}
	if hw[0]&1 != 0 {
		return nil, Errorf(ErrInvalid, "site.genmacprefix %q: the first byte is odd, which makes multicast addresses", s)
	}
	return hw[:3], nil
}

// A MACRange is whose addresses a range holds.
type MACRange string

// The ranges that ESXi treats differently ("vSphere Networking", MAC
// addresses).
const (
	// RangeStatic may be given by hand inside VMware's own prefix.
	RangeStatic MACRange = "static"
	// RangeHost is what a host makes itself.
	RangeHost MACRange = "host"
	// RangeVCenter is what vCenter makes; giving it by hand invites a clash.
	RangeVCenter MACRange = "vcenter"
	// RangeReserved is VMware's own and refused at power on.
	RangeReserved MACRange = "reserved"
	// RangeForeign is all else; a .vmx needs checkMACAddress = "false".
	RangeForeign MACRange = "foreign"
)

// RangeOf says which range an address is of.
func RangeOf(mac net.HardwareAddr) MACRange {
	if len(mac) != 6 {
		return RangeForeign
	}
	if isVMware(mac) {
		switch {
		case mac[3] < 0x40:
			return RangeStatic
		case mac[3] >= 0x80 && mac[3] < 0xc0:
			return RangeVCenter
		}
		return RangeReserved
	}
	if mac[0] == 0x00 && mac[1] == 0x0c && mac[2] == 0x29 {
		return RangeHost
	}
	return RangeForeign
}

// CheckMAC refuses an address that no guest may have.
func CheckMAC(s string) error {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return Errorf(ErrInvalid, "mac %q: not a MAC address", s)
	}
	if hw[0]&1 != 0 {
		return Errorf(ErrInvalid, "mac %q: a multicast address; the first byte must be even", s)
	}
	if RangeOf(hw) == RangeReserved {
		return Errorf(ErrInvalid, "mac %q: outside what VMware leaves to operators; inside 00:50:56 use 00:50:56:00:00:00 to 00:50:56:3f:ff:ff", s)
	}
	return nil
}
