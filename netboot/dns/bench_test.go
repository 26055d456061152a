package dns

import (
	"net/netip"
	"testing"
)

// BenchmarkReply is the work on one question of ours, less the socket's.
func BenchmarkReply(b *testing.B) {
	s := &Server{Names: always(cluster(1))}
	from := netip.MustParseAddr("10.1.0.11")
	for name, msg := range map[string][]byte{
		"A":       raw(b, "esx1.cluster.test.", "A"),
		"PTR":     raw(b, "11.0.1.10.in-addr.arpa.", "PTR"),
		"missing": raw(b, "nobody.cluster.test.", "A"),
	} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 1500)
			var q query
			b.ReportAllocs()
			for b.Loop() {
				if _, v := s.reply(s.moment(), buf, msg, from, 0, &q); v != replied {
					b.Fatal("no reply")
				}
			}
		})
	}
}
