package tftp

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseRequest(t *testing.T) {
	tests := []struct {
		in   string
		want request
		err  error
	}{
		{"f\x00octet\x00", request{name: "f"}, nil},
		{"/pxe/f\x00OCTET\x00", request{name: "pxe/f"}, nil},
		{"\\efi\\boot\\x.efi\x00octet\x00", request{name: "efi/boot/x.efi"}, nil},
		{"xnba.efi\xff\x00octet\x00", request{name: "xnba.efi"}, nil},
		{"f\x00netascii\x00", request{name: "f", netascii: true}, nil},
		{"f\x00octet\x00tsize\x000\x00blksize\x001468\x00", request{name: "f", options: []option{{"tsize", "0"}, {"blksize", "1468"}}}, nil},
		{"f\x00octet\x00blksize\x00512\x00BLKSIZE\x001468\x00", request{name: "f", options: []option{{"blksize", "512"}}}, nil},
		{"f\x00octet\x00blksize\x00", request{name: "f"}, nil},
		{"f\x00octet\x00\x00\x00\x00", request{name: "f"}, nil}, // padded
		{"a/../b//c\x00octet\x00", request{name: "b/c"}, nil},
		{"/../../etc/passwd\x00octet\x00", request{}, errName},
		{"..\\..\\etc\\passwd\x00octet\x00", request{}, errName},
		{"..\x00octet\x00", request{}, errName},
		{"a\nb\x00octet\x00", request{}, errName},
		{strings.Repeat("a", 1025) + "\x00octet\x00", request{}, errName},
		{"f\x00mail\x00", request{}, errMode},
		{"f", request{}, errMalformed},
		{"f\x00", request{}, errMalformed},
		{"f\x00octet", request{}, errMalformed},
		{strings.Repeat("f\x00octet\x00", 40), request{}, errMalformed},
	}
	for _, tt := range tests {
		got, err := parseRequest([]byte(tt.in))
		if !errors.Is(err, tt.err) {
			t.Errorf("parseRequest(%q): %v, want %v", tt.in, err, tt.err)
		}
		if err == nil && !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("parseRequest(%q) = %+v, want %+v", tt.in, *got, tt.want)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("f\x00octet\x00"))
	f.Add([]byte("/a/../b\x00netascii\x00blksize\x001468\x00tsize\x000\x00windowsize\x004\x00"))
	f.Add([]byte("\\\\server\\share\x00octet\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := parseRequest(p)
		if err != nil {
			return
		}
		if strings.HasPrefix(r.name, "/") || strings.Contains(r.name, `\`) || len(r.name) > maxName {
			t.Errorf("name %q", r.name)
		}
		for _, part := range strings.Split(r.name, "/") {
			if part == ".." {
				t.Errorf("name %q leads out", r.name)
			}
		}
		a := negotiate(r.options, 1000, limits{block: 1468, window: 64})
		if a.block < minBlock || a.block > 1468 || a.window < 1 || a.window > 64 || a.timeout > maxTimeout*time.Second {
			t.Errorf("terms %+v", a)
		}
		if o := oackPacket(a.agreed); len(o) > len(p)+200 {
			t.Errorf("an answer of %d bytes to %d", len(o), len(p))
		}
	})
}

func TestNegotiate(t *testing.T) {
	lim := limits{block: 1468, window: 16}
	tests := []struct {
		asked []option
		want  terms
	}{
		{nil, terms{block: 512, window: 1}},
		{[]option{{"blksize", "1024"}}, terms{block: 1024, window: 1, agreed: []option{{"blksize", "1024"}}}},
		{[]option{{"blksize", "4096"}}, terms{block: 1468, window: 1, agreed: []option{{"blksize", "1468"}}}}, // mboot up to 7.0
		{[]option{{"blksize", "7"}}, terms{block: 512, window: 1}},
		{[]option{{"blksize", "65465"}}, terms{block: 512, window: 1}},
		{[]option{{"blksize", "x"}}, terms{block: 512, window: 1}},
		{[]option{{"tsize", "0"}}, terms{block: 512, window: 1, agreed: []option{{"tsize", "99"}}}},
		{[]option{{"WindowSize", "4"}}, terms{block: 512, window: 4, agreed: []option{{"WindowSize", "4"}}}}, // edk2
		{[]option{{"windowsize", "65535"}}, terms{block: 512, window: 16, agreed: []option{{"windowsize", "16"}}}},
		{[]option{{"windowsize", "0"}}, terms{block: 512, window: 1}},
		{[]option{{"timeout", "3"}}, terms{block: 512, window: 1, timeout: 3 * time.Second, agreed: []option{{"timeout", "3"}}}},
		{[]option{{"timeout", "256"}, {"multicast", ""}, {"rollover", "0"}}, terms{block: 512, window: 1}},
	}
	for _, tt := range tests {
		if got := negotiate(tt.asked, 99, lim); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("negotiate(%v) = %+v, want %+v", tt.asked, got, tt.want)
		}
	}
}

func TestOackPacket(t *testing.T) {
	got := string(oackPacket([]option{{"tsize", "5"}, {"blksize", "1468"}}))
	if want := "\x00\x06tsize\x005\x00blksize\x001468\x00"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if oackPacket(nil) != nil {
		t.Error("an OACK without options")
	}
}

func TestErrorPacket(t *testing.T) {
	got := string(errorPacket(codeAccess, "not\nfor yöu"))
	if want := "\x00\x05\x00\x02not?for y?u\x00"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
