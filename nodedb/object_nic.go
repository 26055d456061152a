package nodedb

import "strings"

// A nicValue is one interface's share of an attribute that lists them, as
// eth1!10.0.0.1|10.1.0.1.
type nicValue struct{ name, value string }

func parseNICs(list string) []nicValue {
	var nics []nicValue
	for item := range strings.SplitSeq(list, ",") {
		if name, value, ok := strings.Cut(item, "!"); ok {
			nics = append(nics, nicValue{strings.TrimSpace(name), value})
		} else if n := len(nics); n > 0 {
			nics[n-1].value += "," + item // a comma within a value
		}
	}
	return nics
}

// setNIC puts value in place of what the list has for an interface; an empty
// value takes the interface out.
func setNIC(list, name, value string) string {
	var out []string
	found := false
	for _, nic := range parseNICs(list) {
		if nic.name == name {
			found, nic.value = true, value
		}
		if nic.value != "" {
			out = append(out, nic.name+"!"+nic.value)
		}
	}
	if !found && value != "" {
		out = append(out, name+"!"+value)
	}
	return strings.Join(out, ",")
}

// nicOf returns what the list has for an interface.
func nicOf(list, name string) string {
	for _, nic := range parseNICs(list) {
		if nic.name == name {
			return nic.value
		}
	}
	return ""
}
