package provision

import (
	"fmt"
	"strconv"
	"strings"
)

// DHCPSiteKeys are the site's settings that DHCPSiteProblem looks at.
var DHCPSiteKeys = []string{"dhcplease", "dhcppingcheck", "dhcpforeigncheck"}

// DHCPSiteProblem is what is wrong with a value of the site that says how DHCP
// is served; nil for all other keys, and for an empty one.
func DHCPSiteProblem(key, value string) error {
	if value == "" {
		return nil
	}
	number := func(least, most int64) error {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < least || n > most {
			return fmt.Errorf("%q is not a number of seconds from %d to %d", value, least, most)
		}
		return nil
	}
	switch key {
	case "dhcplease":
		return number(1, 1<<32-1) // the last is for ever, RFC 2131, 3.3
	case "dhcpforeigncheck":
		return number(0, 1<<31-1)
	case "dhcppingcheck":
		switch strings.ToLower(value) {
		case "yes", "y", "1", "true", "on", "no", "n", "0", "false", "off":
		default:
			return fmt.Errorf("%q is neither yes nor no", value)
		}
	}
	return nil
}
