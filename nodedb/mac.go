package nodedb

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
)

// A MAC is one interface in mac.mac.
type MAC struct {
	Addr net.HardwareAddr
	Host string // the host name that answers for it; empty: the node's
	NoIP bool   // *NOIP*: known, and never given an address
}

// noIP stands in place of a host name.
const noIP = "*NOIP*"

// ParseMACs reads mac.mac: mac[!host], several separated by |. Addresses may
// be written as net.ParseMAC takes them, or as bare hexadecimal digits. The
// error wraps ErrInvalid; what was read before it is returned too.
func ParseMACs(s string) ([]MAC, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	macs := make([]MAC, 0, 1+strings.Count(s, "|"))
	for part := range strings.SplitSeq(s, "|") {
		text, host, _ := strings.Cut(strings.TrimSpace(part), "!")
		if text == "" && host == "" {
			continue
		}
		addr, err := parseMAC(text)
		if err != nil {
			return macs, err
		}
		m := MAC{Addr: addr, Host: host}
		if host == noIP {
			m.Host, m.NoIP = "", true
		}
		macs = append(macs, m)
	}
	return macs, nil
}

// FormatMACs writes what ParseMACs reads.
func FormatMACs(macs []MAC) string {
	var b strings.Builder
	for i, m := range macs {
		if i > 0 {
			b.WriteByte('|')
		}
		b.WriteString(m.Addr.String())
		switch {
		case m.NoIP:
			b.WriteString("!" + noIP)
		case m.Host != "":
			b.WriteString("!" + m.Host)
		}
	}
	return b.String()
}

func parseMAC(s string) (net.HardwareAddr, error) {
	text := s
	if len(s) == 12 && !strings.ContainsAny(s, ":-.") {
		text = s[:4] + "." + s[4:8] + "." + s[8:]
	}
	a, err := net.ParseMAC(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a MAC address: %w", s, ErrInvalid)
	}
	return a, nil
}

// A macKey is a MAC address as an index has it. Of addresses longer than
// eight bytes (IP over InfiniBand, RFC 4391) it has the last eight, which is
// where they differ.
type macKey struct {
	v uint64
	n int
}

func keyOf(a net.HardwareAddr) macKey {
	var b [8]byte
	tail := a[max(0, len(a)-8):]
	copy(b[8-len(tail):], tail)
	return macKey{binary.BigEndian.Uint64(b[:]), len(a)}
}
