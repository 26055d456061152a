package provision

import (
	"fmt"
	"strings"
	"testing"
)

func TestDNSSite(t *testing.T) {
	for _, tt := range []struct{ key, value, want string }{
		{"forwarders", "10.1.0.1, 10.1.0.2:5353;fd00::1", "[10.1.0.1:53 10.1.0.2:5353 [fd00::1]:53]"},
		{"forwarders", "", "[]"},
		{"forwarders", "dns.example.com", `"dns.example.com" is no address`},
		{"dnssecondaries", "10.1.0", `"10.1.0" is no address`},
		{"dnsclients", "10.0.0.0/8 192.0.2.1", "[10.0.0.0/8 192.0.2.1/32]"},
		{"dnsclients", "10.0.0.0/33", `"10.0.0.0/33" is no network`},
		{"dnsmx", "Mail.Example.com", "[{10 mail.example.com}]"},
		{"dnsmx", "5 a.example.com., b.example.com", "[{5 a.example.com} {20 b.example.com}]"},
		{"dnsmx", "x a.example.com", `"x" is no preference`},
		{"dnsmx", "65536 a.example.com", `"65536" is no preference`},
		{"dnsmx", "mail", `"mail" is no mail server`},
		{"dnsmx", "10 20 a.example.com", "is no mail server"},
		{"domain", "10.1.0", "<nil>"},
	} {
		var got any
		err := DNSSiteProblem(tt.key, tt.value)
		switch tt.key {
		case "forwarders", "dnssecondaries":
			got, _ = ParseServers(tt.value, 53)
		case "dnsclients":
			got, _ = ParsePrefixes(tt.value)
		case "dnsmx":
			got, _ = ParseMailServers(tt.value)
		}
		if err != nil {
			got = err
		}
		if s := fmt.Sprint(got); !strings.Contains(s, tt.want) {
			t.Errorf("%s %q: %s, want %s", tt.key, tt.value, s, tt.want)
		}
	}
}
