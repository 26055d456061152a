package command

import "testing"

func TestEscape(t *testing.T) {
	tests := []struct {
		keys []string // as they come, in pieces
		want string
		what int
	}{
		{[]string{"ls\r"}, "ls\r", escapeNone},
		{[]string{"a\x05c."}, "a", escapeLeave},
		{[]string{"a\x05", "c", "."}, "a", escapeLeave},
		{[]string{"\x05c?x"}, "x", escapeHelp},
		{[]string{"\x05\x05"}, "\x05", escapeNone},
		{[]string{"\x05e"}, "\x05e", escapeNone},
		{[]string{"\x05cx"}, "\x05cx", escapeNone},
		{[]string{"\x05c\x05"}, "\x05", escapeNone},
		{[]string{"\x05c.rm -rf /\r"}, "", escapeLeave}, // what comes after is for nobody
	}
	for _, tt := range tests {
		var e escape
		var out []byte
		what := escapeNone
		for _, k := range tt.keys {
			o, w := e.feed([]byte(k))
			out = append(out, o...)
			what = max(what, w)
		}
		if string(out) != tt.want || what != tt.what {
			t.Errorf("%q: %q and %c, want %q and %c", tt.keys, out, rune(what), tt.want, rune(tt.what))
		}
	}
}
