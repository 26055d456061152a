package command

import (
	"cmp"
	"fmt"
	"strings"

	"margay/nodedb"
	"margay/provision"
)

// checkStatements refuses DHCP statements that would not be understood, at a
// place of the table where such are kept: a column, or site and a key; and what
// the site says of DNS and DHCP likewise. What is worked out for each node is left to
// margay check.
func checkStatements(place, value string) error {
	if key, ok := strings.CutPrefix(place, "site."); ok {
		if err := cmp.Or(provision.DNSSiteProblem(key, value), provision.DHCPSiteProblem(key, value)); err != nil {
			return fmt.Errorf("%s: %v", place, err)
		}
	}
	switch {
	case place == "bootparams.dhcpstatements", place == "bootparams.adddhcpstatements":
	case place == "site.dhcpstatements", strings.HasPrefix(place, "site.dhcpstatements."):
	default:
		return nil
	}
	if strings.HasPrefix(value, "/") || strings.HasPrefix(value, "|") {
		return nil
	}
	if _, err := provision.ParseStatements(value); err != nil {
		return fmt.Errorf("%s: %s", place, defError(err))
	}
	return nil
}

// rowPlace is where chtab writes a column.
func rowPlace(t *nodedb.Table, c *nodedb.Column, keys map[string]string) string {
	if t.Name == "site" && c.Name == "value" {
		return "site." + keys["key"]
	}
	return t.Attr(c.Name)
}

// checkDefStatements is checkStatements for what is set of the site.
func checkDefStatements(items []defItem) error {
	for _, item := range items {
		if !item.t.IsSite() {
			continue
		}
		for _, a := range item.assigns {
			if a.Op == nodedb.Minus {
				continue
			}
			if err := checkStatements("site."+a.Attr, a.Value); err != nil {
				return err
			}
		}
	}
	return nil
}
