package command

import (
	"net/netip"
	"slices"
	"testing"

	"margay/provision"
)

func TestLeasesNamed(t *testing.T) {
	l := provision.Lease{Addr: netip.MustParseAddr("10.1.0.9"), MAC: "52:54:00:00:0a:01"}
	for _, w := range []string{"10.1.0.9", "52:54:00:00:0A:01", "52-54-00-00-0a-01", "5254.0000.0a01"} {
		got, err := leasesNamed([]string{w})
		if err != nil || !matches(l, got...) {
			t.Errorf("%s: %v %v, want it to name %v", w, got, err, l)
		}
	}
	got, err := leasesNamed([]string{"10.1.0.8", "52:54:00:00:0a:02"})
	if err != nil || !slices.Equal(got, []string{"10.1.0.8", "52:54:00:00:0a:02"}) || matches(l, got...) {
		t.Errorf("others: %v %v", got, err)
	}
	for _, w := range []string{"", "n1", "10.1.0.900", "52:54:00:00:0a"} {
		if got, err := leasesNamed([]string{"10.1.0.9", w}); err == nil {
			t.Errorf("%q: %v, want an error", w, got)
		}
	}
}
