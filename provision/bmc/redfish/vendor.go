package redfish

import "strings"

// A vendor is what one maker's services want otherwise. It is data: code asks
// what a service wants, not who made it.
type vendor struct {
	name string
	// known are words by which its services are recognised, lower case: in the
	// root's Vendor and Oem, and in the system's Manufacturer.
	known []string
	// noMode: BootSourceOverrideMode may not be written.
	noMode bool
	// wholeBoot: enabled, target and mode must come together.
	wholeBoot bool
	// cd are the names of the virtual drive as a boot target, in order.
	cd []string
	// softOff are reset types that ask the OS to stop, in order.
	softOff []string
	// logs are the names of event logs, in order.
	logs []string
	// bareMedia: InsertMedia takes the image alone.
	bareMedia bool
	// settings: boot overrides are written to the settings resource.
	settings bool
}

// vendors are those known. The rows are how these makers' controllers are
// generally known to differ; none was at hand to try them on.
func vendors() []vendor {
	return []vendor{
		{name: "HPE iLO", known: []string{"hpe", "hp"}, noMode: true, softOff: []string{"PushPowerButton", "GracefulShutdown"}, logs: []string{"IML"}, bareMedia: true},
		{name: "Dell iDRAC", known: []string{"dell"}, logs: []string{"Sel"}},
		{name: "Lenovo XCC", known: []string{"lenovo"}, logs: []string{"PlatformLog", "StandardLog", "ActiveLog", "SEL"}},
		{name: "Supermicro", known: []string{"supermicro", "super micro"}, wholeBoot: true, cd: []string{"UsbCd", "Cd"}, logs: []string{"Log1"}},
		{name: "OpenBMC", known: []string{"openbmc"}, logs: []string{"EventLog"}},
		{name: "Fujitsu iRMC", known: []string{"fujitsu", "ts_fujitsu"}, logs: []string{"SystemEventLog"}},
		{name: "Cisco CIMC", known: []string{"cisco"}, logs: []string{"SEL"}},
		{name: "Huawei iBMC", known: []string{"huawei", "xfusion"}, logs: []string{"Log1"}},
	}
}

// vendorOf recognises a service; the zero vendor is the standard's word.
func vendorOf(r root, manufacturer string) vendor {
	words := strings.ToLower(r.Vendor + " " + manufacturer)
	for key := range r.OEM {
		words += " " + strings.ToLower(key)
	}
	for _, v := range vendors() {
		for _, k := range v.known {
			if hasWord(words, k) {
				return v.filled()
			}
		}
	}
	return vendor{name: "standard"}.filled()
}

// hasWord says whether text has a word that begins with k, so that "Dell Inc."
// is Dell and "Chp" is not HP.
func hasWord(text, k string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], k)
		if i < 0 {
			return false
		}
		i += at
		if i == 0 || !letter(text[i-1]) {
			if k != "hp" || i+2 == len(text) || !letter(text[i+2]) {
				return true
			}
		}
		at = i + 1
	}
}

func letter(b byte) bool { return b >= 'a' && b <= 'z' }

func (v vendor) filled() vendor {
	if v.cd == nil {
		v.cd = []string{"Cd", "UsbCd"}
	}
	if v.softOff == nil {
		v.softOff = []string{"GracefulShutdown", "PushPowerButton"}
	}
	v.logs = append(v.logs, "SEL", "Sel", "EventLog", "Event", "Log", "Log1", "IML")
	return v
}
