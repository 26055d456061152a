package provision

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A MailServer takes mail for a domain; the lowest preference is tried first.
type MailServer struct {
	Preference uint16
	Host       string
}

// DNSSiteProblem is what is wrong with a value of the site that says how DNS
// is served; nil for all other keys.
func DNSSiteProblem(key, value string) (err error) {
	switch key {
	case "forwarders", "dnssecondaries":
		_, err = ParseServers(value, 53)
	case "dnsclients":
		_, err = ParsePrefixes(value)
	case "dnsmx":
		_, err = ParseMailServers(value)
	}
	return err
}

// ParseServers reads addresses, each with its port or the one given. What
// could be read it gives with an error too.
func ParseServers(text string, port uint16) (out []netip.AddrPort, err error) {
	for _, w := range list(text) {
		if ap, perr := netip.ParseAddrPort(w); perr == nil {
			out = append(out, ap)
		} else if a, perr := netip.ParseAddr(w); perr == nil {
			out = append(out, netip.AddrPortFrom(a, port))
		} else {
			err = fmt.Errorf("%q is no address, as 10.1.0.1, 10.1.0.1:5353 or [fd00::1]:5353", w)
		}
	}
	return out, err
}

// ParsePrefixes reads networks and single addresses, likewise.
func ParsePrefixes(text string) (out []netip.Prefix, err error) {
	for _, w := range list(text) {
		if p, perr := netip.ParsePrefix(w); perr == nil {
			out = append(out, p)
		} else if a, perr := netip.ParseAddr(w); perr == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		} else {
			err = fmt.Errorf("%q is no network, as 10.1.0.0/16", w)
		}
	}
	return out, err
}

// ParseMailServers reads names, each behind its preference or in the order of
// the list: "mail.example.com" or "10 mail1.example.com, 20 mail2.example.com".
func ParseMailServers(text string) (out []MailServer, err error) {
	for item := range strings.SplitSeq(text, ",") {
		f := strings.Fields(strings.ToLower(item))
		if len(f) == 0 {
			continue
		}
		mx := MailServer{Preference: uint16(10 * (len(out) + 1)), Host: strings.TrimSuffix(f[len(f)-1], ".")}
		if len(f) == 2 {
			n, perr := strconv.ParseUint(f[0], 10, 16)
			if perr != nil {
				err = fmt.Errorf("%q is no preference, which is a number up to 65535", f[0])
				continue
			}
			mx.Preference = uint16(n)
		}
		if len(f) > 2 || !hostName(mx.Host) {
			err = fmt.Errorf("%q is no mail server, as 10 mail.example.com", strings.TrimSpace(item))
			continue
		}
		out = append(out, mx)
	}
	return out, err
}

// hostName says whether s is a whole name that DNS can hold.
func hostName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return len(s) <= maxHostName && strings.Contains(s, ".")
}
