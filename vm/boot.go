package vm

import "strings"

// A BootDevice is a kind of device to boot from.
type BootDevice string

// The kinds, in xCAT's words.
const (
	BootNet    BootDevice = "net"
	BootDisk   BootDevice = "hd"
	BootCD     BootDevice = "cd"
	BootFloppy BootDevice = "fd"
)

// A BootOrder is what rsetboot asks for.
type BootOrder struct {
	Stat    bool // only tell
	Setup   bool // stop in the firmware's setup, once
	Devices []BootDevice
	Text    string // as the operator wrote it: what is printed
}

// ParseBootOrder reads rsetboot's argument: "net,hd", "setup", "stat" (also
// when empty), "def". A note is to be shown to the operator.
func ParseBootOrder(arg string) (o BootOrder, note string, err error) {
	words := strings.Split(strings.ToLower(strings.TrimSpace(arg)), ",")
	o.Text = strings.TrimSpace(arg)
	for _, w := range words {
		switch w = strings.TrimSpace(w); w {
		case "setup":
			o.Setup = true
		case "stat", "state", "status", "":
			o.Stat = true
		case "def", "default":
			o.Text = "def"
		case "net", "network", "pxe", "ethernet":
			o.Devices = append(o.Devices, BootNet)
		case "hd", "disk", "harddisk":
			o.Devices = append(o.Devices, BootDisk)
		case "cd", "cdrom", "dvd":
			o.Devices = append(o.Devices, BootCD)
		case "fd", "floppy":
			o.Devices = append(o.Devices, BootFloppy)
		default:
			return BootOrder{}, "", Errorf(ErrInvalid, "unsupported command setboot %s", arg)
		}
	}
	if o.Setup && len(words) > 1 {
		note = "rsetboot parameter may not contain 'setup' with other items, assuming vm.bootorder is just 'setup'"
		return BootOrder{Setup: true, Text: "setup"}, note, nil
	}
	if o.Stat && len(words) > 1 {
		return BootOrder{}, "", Errorf(ErrInvalid, "unsupported command setboot %s", arg)
	}
	return o, "", nil
}

// Describe is what rsetboot stat prints.
func (s *Spec) DescribeBoot() string {
	if s.EnterSetup {
		return "setup"
	}
	if len(s.Boot) == 0 {
		return "boot override inactive"
	}
	words := make([]string, len(s.Boot))
	for i, d := range s.Boot {
		words[i] = string(d)
	}
	return strings.Join(words, ",")
}

// BootKey is the .vmx key by which BIOS guests of every version take an
// order. EFI guests ignore it and go by the boot options, so both are set.
const BootKey = "bios.bootDeviceClasses"

// bootClasses is the key's value for an order.
func bootClasses(devices []BootDevice) string {
	if len(devices) == 0 {
		return ""
	}
	words := make([]string, len(devices))
	for i, d := range devices {
		words[i] = string(d)
	}
	return "allow:" + strings.Join(words, ",")
}
