package dns

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"
)

// raw is a plain question, as bytes.
func raw(t testing.TB, name, qtype string) []byte {
	t.Helper()
	b, err := ask(name, qtype).Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHostileQueries(t *testing.T) {
	good := raw(t, "esx1.cluster.test.", "A")
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	long := func(labels int) []byte {
		b := bytes.Clone(good[:headerSize])
		for range labels {
			b = append(append(b, 63), bytes.Repeat([]byte("x"), 63)...)
		}
		return append(b, 0, 0, 1, 0, 1)
	}
	withOPT := func(opt ...byte) []byte {
		return change(func(b []byte) []byte { b[11] = 1; return append(b, opt...) })
	}
	const none = -1
	tests := []struct {
		name string
		msg  []byte
		want int // rcode
	}{
		{"good", good, miekg.RcodeSuccess},
		{"nothing", nil, none},
		{"half a header", good[:11], none},
		{"an answer", change(func(b []byte) []byte { b[2] |= 0x80; return b }), none},
		{"no question", change(func(b []byte) []byte { b[5] = 0; return b[:headerSize] }), miekg.RcodeFormatError},
		{"two questions", change(func(b []byte) []byte { b[5] = 2; return append(b, b[headerSize:]...) }), miekg.RcodeFormatError},
		{"header alone", good[:headerSize], miekg.RcodeFormatError},
		{"name cut off", good[:headerSize+3], miekg.RcodeFormatError},
		{"type cut off", good[:len(good)-3], miekg.RcodeFormatError},
		{"something after it", append(bytes.Clone(good), 0), miekg.RcodeFormatError},
		{"pointer to itself", change(func(b []byte) []byte { b[headerSize], b[headerSize+1] = 0xc0, headerSize; return b }), miekg.RcodeFormatError},
		{"label of 64", change(func(b []byte) []byte { b[headerSize] = 64; return b }), miekg.RcodeFormatError},
		{"long name", long(3), miekg.RcodeRefused},
		{"too long a name", long(4), miekg.RcodeFormatError},
		{"class of nobody", change(func(b []byte) []byte { b[len(b)-1] = 3; return b }), miekg.RcodeRefused},
		{"status", change(func(b []byte) []byte { b[2] |= 2 << 3; return b }), miekg.RcodeNotImplemented},
		{"update", change(func(b []byte) []byte { b[2] |= 5 << 3; return b }), miekg.RcodeNotImplemented},
		{"OPT", withOPT(0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0), miekg.RcodeSuccess},
		{"OPT, with an option", withOPT(0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 4, 0, 10, 0, 0), miekg.RcodeSuccess},
		{"OPT cut off", withOPT(0, 0, 41, 4, 0), miekg.RcodeFormatError},
		{"OPT that claims more", withOPT(0, 0, 41, 4, 0, 0, 0, 0, 0, 255, 255), miekg.RcodeFormatError},
		{"additional that is not there", withOPT(), miekg.RcodeFormatError},
	}
	s := &Server{Names: always(cluster(1))}
	for _, tt := range tests {
		var q query
		got, v := s.reply(s.moment(), nil, tt.msg, netip.MustParseAddr("127.0.0.1"), 0, &q)
		if tt.want == none {
			if v != silent {
				t.Errorf("%s: verdict %d, want silence", tt.name, v)
			}
			continue
		}
		m := new(miekg.Msg)
		if err := m.Unpack(got); err != nil {
			t.Errorf("%s: reply %x: %v", tt.name, got, err)
			continue
		}
		if m.Rcode != tt.want || !m.Response || m.Id != binary.BigEndian.Uint16(good) && len(tt.msg) > 1 && tt.msg[0] == good[0] && m.Id != binary.BigEndian.Uint16(tt.msg) {
			t.Errorf("%s: %s, want %s", tt.name, miekg.RcodeToString[m.Rcode], miekg.RcodeToString[tt.want])
		}
	}
}

// FuzzQuery throws whatever it likes at the server: no panic, and if there is
// an answer then one that the library reads, no longer than the asker takes.
func FuzzQuery(f *testing.F) {
	for _, name := range []string{"esx1.cluster.test.", "web.cluster.test.", "loop.cluster.test.", "11.0.1.10.in-addr.arpa.", "1.10.in-addr.arpa.", "cluster.test.", "mail.cluster.test.", "."} {
		for _, qtype := range []string{"A", "PTR", "SOA", "ANY", "MX", "NS", "AXFR"} {
			f.Add(raw(f, name, qtype))
		}
	}
	m := ask("dual.cluster.test.", "A")
	m.SetEdns0(4096, true)
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	s := &Server{Names: always(cluster(1))}
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q query
		got, v := s.reply(s.moment(), nil, msg, netip.MustParseAddr("127.0.0.1"), 0, &q)
		if v != replied {
			return
		}
		if len(got) > max(plainUDP, min(q.size, bestUDP)) {
			t.Errorf("%d octets for an asker who takes %d", len(got), q.size)
		}
		m := new(miekg.Msg)
		if err := m.Unpack(got); err != nil {
			t.Fatalf("%x: %v", got, err)
		}
		if !m.Response || m.Id != binary.BigEndian.Uint16(msg) {
			t.Errorf("%x does not answer %x", got, msg)
		}
	})
}

// FuzzReverse: what is read as an address is written as the same name.
func FuzzReverse(f *testing.F) {
	f.Add("11.0.1.10.in-addr.arpa")
	f.Add("0.1.10.in-addr.arpa")
	f.Add("128/25.0.1.10.in-addr.arpa")
	f.Add(ReverseName(netip.MustParseAddr("fd00::12")))
	f.Fuzz(func(t *testing.T, name string) {
		if a, whole, ok := reverseAddr(name); whole && (!ok || ReverseName(a) != strings.ToLower(name)) {
			t.Errorf("%q is read as %v", name, a)
		}
		if parent, p, ok := cutClassless(name); ok && classless(p)+parent != strings.ToLower(name) {
			t.Errorf("zone %q is read as %v of %s", name, p, parent)
		}
	})
}
