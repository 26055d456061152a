package provision

import "testing"

func TestDHCPSiteProblem(t *testing.T) {
	for _, tt := range []struct {
		key, value string
		wrong      bool
	}{
		{"dhcplease", "43200", false}, {"dhcplease", "", false}, {"dhcplease", "4294967295", false},
		{"dhcplease", "12h", true}, {"dhcplease", "0", true}, {"dhcplease", "-5", true}, {"dhcplease", "4294967296", true},
		{"dhcpforeigncheck", "0", false}, {"dhcpforeigncheck", "5m", true},
		{"dhcppingcheck", "No", false}, {"dhcppingcheck", "never", true},
		{"domain", "never", false},
	} {
		if err := DHCPSiteProblem(tt.key, tt.value); (err != nil) != tt.wrong {
			t.Errorf("%s=%s: %v", tt.key, tt.value, err)
		}
	}
}
