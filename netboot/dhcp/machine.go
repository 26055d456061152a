package dhcp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/iana"

	"margay/netboot"
)

// machine is what r tells of its sender. Slices point into r.
func (r *request) machine() netboot.Machine {
	m := netboot.Machine{
		MAC:       net.HardwareAddr(r.raw[atCHAddr : atCHAddr+r.hlen]),
		Addr:      r.ciaddr,
		Relay:     r.giaddr,
		Link:      r.link(),
		Ask:       r.ask(),
		Requested: r.requested,
		Server:    r.server,
		ClientID:  r.clientID,
		UUID:      guid(r.uuid),
		Class:     string(r.class),
		UserClass: userClass(r.user),
		Hostname:  string(r.hostname),
		RelayInfo: r.relay,
		Probe:     string(r.probe),
		PXE:       strings.HasPrefix(string(r.class), "PXEClient"),
		HTTPBoot:  strings.HasPrefix(string(r.class), "HTTPClient"),
	}
	if !m.Requested.IsValid() {
		m.Requested = r.ciaddr
	}
	m.Loader = r.hasIPXE || loaderClass(m.UserClass)
	if v, ok := sub(r.ipxe, ipxeCOMBOOT); ok {
		m.COMBOOT = set(v)
	}
	if v, ok := sub(r.ipxe, ipxeHTTP); ok {
		m.HTTP = set(v)
	}
	m.Arch, m.HasArch = arch(r.arch)
	m.Firmware = firmware(m)
	return m
}

func (r *request) ask() netboot.Ask {
	switch r.kind {
	case msgDiscover:
		return netboot.AskDiscover
	case msgRequest:
		return netboot.AskRequest
	case msgInform:
		return netboot.AskInform
	case msgRelease:
		return netboot.AskRelease
	case msgDecline:
		return netboot.AskDecline
	}
	return netboot.AskNone
}

// link is the network that a relay (RFC 3527) or the client itself (RFC 3011)
// wants the address to be of. The relay's word counts: RFC 3527, 3.
func (r *request) link() netip.Addr {
	if v, ok := sub(r.relay, relayLink); ok && r.giaddr.IsValid() && len(v) == 4 {
		if a, ok := hostAddr(v); ok {
			return a
		}
	}
	return r.subnet
}

// guid is the UUID of option 97, which has one octet of type before it
// (RFC 4578, 2.3). Boards to which nobody gave one say all zeros or all ones;
// that is no name.
func guid(b []byte) []byte {
	if len(b) != 17 || b[0] != 0 {
		return nil
	}
	id := b[1:]
	if bytes.Count(id, []byte{0}) == len(id) || bytes.Count(id, []byte{0xff}) == len(id) {
		return nil
	}
	return id
}

// userClass is option 77 as text. RFC 3004 has a length before each class;
// iPXE, dhclient and most others send the bare text. Several classes are
// joined by commas.
func userClass(b []byte) string {
	var names []string
	for rest := b; len(rest) > 0; {
		n := int(rest[0])
		if n == 0 || n >= len(rest) {
			return string(b)
		}
		names = append(names, string(rest[1:1+n]))
		rest = rest[1+n:]
	}
	return strings.Join(names, ",")
}

// loaderClass says whether a user class is that of iPXE or one of its kin:
// gPXE before it, xCAT's xNBA, and Tinkerbell's build.
func loaderClass(s string) bool {
	for name := range strings.SplitSeq(s, ",") {
		switch name {
		case "iPXE", "xNBA", "gPXE", "Tinkerbell":
			return true
		}
	}
	return false
}

// set says whether one of iPXE's feature options is on.
func set(v []byte) bool { return len(v) > 0 && v[0] != 0 }

// arch is the first architecture of option 93 that we know, else the first.
func arch(b []byte) (uint16, bool) {
	if len(b) < 2 {
		return 0, false
	}
	for rest := b; len(rest) >= 2; rest = rest[2:] {
		a := binary.BigEndian.Uint16(rest)
		if archFirmware(a) != netboot.FirmwareUnknown {
			return a, true
		}
	}
	return binary.BigEndian.Uint16(b), true
}

// firmware tells the firmware from option 93, else from the class, which
// repeats it ("PXEClient:Arch:00007:UNDI:003000"). A PXE client that says
// neither is older than RFC 4578 and so a BIOS.
func firmware(m netboot.Machine) netboot.Firmware {
	if m.HasArch {
		return archFirmware(m.Arch)
	}
	_, rest, ok := strings.Cut(m.Class, "Client:Arch:")
	if ok && len(rest) >= 5 {
		if n, ok := digits(rest[:5]); ok {
			return archFirmware(n)
		}
	}
	if m.PXE {
		return netboot.BIOS
	}
	return netboot.FirmwareUnknown
}

func digits(s string) (n uint16, ok bool) {
	v := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		v = v*10 + int(s[i]-'0')
	}
	return uint16(v), v <= 0xffff
}

// archFirmware maps IANA's processor architecture types. 7 and 9 are both
// seen from x86-64: RFC 4578 named them the other way round than the erratum
// that followed.
func archFirmware(a uint16) netboot.Firmware {
	switch iana.Arch(a) {
	case iana.INTEL_X86PC, iana.INTEL_X86PC_HTTP:
		return netboot.BIOS
	case iana.EFI_X86_64, iana.EFI_BC, iana.EFI_X86_64_HTTP, iana.EFI_BC_HTTP:
		return netboot.UEFI64
	case iana.EFI_IA32, iana.EFI_X86_HTTP:
		return netboot.UEFI32
	case iana.EFI_ARM64, iana.EFI_ARM64_HTTP:
		return netboot.UEFIARM64
	}
	return netboot.FirmwareUnknown
}
