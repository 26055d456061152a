package rom

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A setting is a value that scripts read: bytes, and the way they are shown
// when no type is asked for.
type setting struct {
	raw  []byte
	kind string
}

func stringSetting(s string) setting { return setting{[]byte(s), "string"} }

func addrSetting(a netip.Addr) setting {
	if !a.IsValid() {
		return setting{}
	}
	return setting{a.AsSlice(), "ipv4"}
}

// settings are what an iPXE knows, by name.
type settings map[string]setting

// settings of a machine that has its address.
func (b *boot) settings(i *ipxe) settings {
	s := settings{
		"mac":         {b.MAC, "hex"},
		"ip":          addrSetting(b.lease.Addr.Addr()),
		"netmask":     addrSetting(mask(b.lease.Addr.Bits())),
		"gateway":     addrSetting(b.lease.Router),
		"next-server": addrSetting(b.lease.Next),
		"dhcp-server": addrSetting(b.lease.Server),
		"filename":    stringSetting(b.lease.File),
		"hostname":    stringSetting(b.lease.Hostname),
		"domain":      stringSetting(b.lease.Domain),
		"user-class":  stringSetting(i.class),
		"platform":    stringSetting("pcbios"),
		"buildarch":   stringSetting("i386"),
		"version":     stringSetting("1.21.1+"),
	}
	uuid := b.uuid()
	s["uuid"] = setting{uuid[:], "uuid"}
	if len(b.lease.DNS) > 0 {
		s["dns"] = addrSetting(b.lease.DNS[0])
	}
	if b.Firmware.efi() {
		s["platform"], s["buildarch"] = stringSetting("efi"), stringSetting("x86_64")
		if b.Arch == "aarch64" {
			s["buildarch"] = stringSetting("arm64")
		}
	}
	return s
}

func mask(bits int) netip.Addr {
	if bits < 0 || bits > 32 {
		return netip.Addr{}
	}
	n := ^uint32(0) << (32 - bits)
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// get reads name[:type]. net0/, netX/ and the DHCP blocks in front of a name
// all mean the one interface there is. What is not set is empty.
func (s settings) get(ref string) string {
	name, kind, _ := strings.Cut(ref, ":")
	for _, scope := range []string{"net0/", "netX/", "net0.dhcp/", "dhcp/", "smbios/"} {
		if rest, ok := strings.CutPrefix(name, scope); ok {
			name = rest
			break
		}
	}
	v, ok := s[name]
	if !ok || len(v.raw) == 0 {
		return ""
	}
	if kind == "" {
		kind = v.kind
	}
	return show(v.raw, kind)
}

// show writes a value as one of iPXE's setting types.
func show(raw []byte, kind string) string {
	switch kind {
	case "hex":
		return joinHex(raw, ":")
	case "hexhyp":
		return joinHex(raw, "-")
	case "hexraw":
		return hex.EncodeToString(raw)
	case "uristring":
		return url.PathEscape(string(raw))
	case "uuid", "guid":
		if len(raw) == 16 {
			return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
		}
	case "ipv4":
		if len(raw) == 4 {
			return netip.AddrFrom4([4]byte(raw)).String()
		}
	case "int8", "int16", "int32", "uint8", "uint16", "uint32":
		n := int64(0)
		for _, c := range raw {
			n = n<<8 | int64(c)
		}
		return strconv.FormatInt(n, 10)
	}
	return string(raw)
}

func joinHex(raw []byte, sep string) string {
	parts := make([]string, len(raw))
	for i, c := range raw {
		parts[i] = fmt.Sprintf("%02x", c)
	}
	return strings.Join(parts, sep)
}

// maxExpansion bounds a line: a setting may name itself.
const maxExpansion = 64 << 10

// expand puts settings in place of ${name}, the innermost first.
func (s settings) expand(line string) (string, error) {
	for range 1000 {
		end := strings.IndexByte(line, '}')
		for end >= 0 && strings.LastIndex(line[:end], "${") < 0 {
			next := strings.IndexByte(line[end+1:], '}')
			if next < 0 {
				return line, nil
			}
			end += 1 + next
		}
		if end < 0 {
			return line, nil
		}
		start := strings.LastIndex(line[:end], "${")
		line = line[:start] + s.get(line[start+2:end]) + line[end+1:]
		if len(line) > maxExpansion {
			break
		}
	}
	return "", fmt.Errorf("settings that name one another without end")
}
