package provision

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	tests := []struct{ screen, want string }{
		{"Error loading /s.v00\nFatal error: 15 (Not found)", "Fatal error: 15 (Not found)"},
		{"fatal  ERROR: 15", "Fatal error: 15 (Not found)"},
		{"Fatal error: 150", ""},
		{"Permission denied (http://ipxe.org/0216eb8f)", "0216eb8f"},
		{"Shutting down firmware services...\nUsing 'simple offset' UEFI RTS mapping policy", "Shutting down firmware services"},
		{"all is well", ""},
	}
	for _, tt := range tests {
		var got []string
		for _, s := range Explain(tt.screen) {
			got = append(got, s.Screen)
		}
		if strings.Join(got, "|") != tt.want {
			t.Errorf("%q: %q, want %q", tt.screen, got, tt.want)
		}
	}
	for _, s := range Symptoms() {
		if found := Explain("... " + s.Screen + " ..."); len(found) != 1 || found[0] != s || s.Means == "" || s.Way == "" {
			t.Errorf("%q is explained by %+v", s.Screen, found)
		}
	}
}

func TestLoadHint(t *testing.T) {
	for _, tt := range []struct {
		count int
		want  string
	}{{0, "got no file whole"}, {7, "stopped at module 8 of 90"}, {90, "MBI-0x00010018"}} {
		if got := (&Load{Count: tt.count, Total: 90}).loadHint(); !strings.Contains(got, tt.want) {
			t.Errorf("%d of 90: %q, want %q", tt.count, got, tt.want)
		}
	}
}
