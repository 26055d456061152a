package bmc

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// A Line is a label and a value, as commands print them.
type Line struct {
	Label string
	Value string
}

// An Inventory is what a controller says the machine is. Empty fields are not
// known.
type Inventory struct {
	BMCFirmware    string
	BIOS           string
	UUID           string
	DeviceID       string
	ProductID      string
	ManufacturerID string

	System  Module // manufacturer, name, model and serial of the whole
	Board   Module
	Chassis Module
	Modules []Module // every other part that has a name of its own

	MACs []MAC
	PCI  []Line
	DIMM []Line
	CPU  []Line
	Disk []Line
}

// A Module is a part as its label says it: a FRU in IPMI's words.
type Module struct {
	Name         string // "PSU 1"; empty for system, board and chassis
	Absent       bool
	Manufacturer string
	Product      string // what it is called
	Model        string // part number, or machine type and model
	Version      string
	Serial       string
	Asset        string
	Extra        []string
	// BoardOf holds the module's board data, if it has both.
	BoardOf *Module
}

// A MAC is a network interface of the host.
type MAC struct {
	Name string
	Addr net.HardwareAddr
}

// InventoryKinds are the words that rinv takes.
func InventoryKinds() []string {
	return []string{"all", "asset", "bios", "config", "cpu", "deviceid", "diag", "dimm", "disk", "firm", "guid", "mac", "model", "mprom", "pci", "serial", "uuid", "vpd"}
}

// CheckInventoryKinds refuses words that rinv does not take.
func CheckInventoryKinds(kinds []string) error {
	for _, k := range kinds {
		if !slices.Contains(InventoryKinds(), k) {
			return fmt.Errorf("unsupported rinv argument %s", k)
		}
	}
	return nil
}

// Wants says whether a command that was given kinds asks for one of want: all
// if none were given or "all" is among them.
func Wants(kinds []string, want ...string) bool {
	if len(kinds) == 0 {
		return true
	}
	for _, k := range kinds {
		if k == "all" || slices.Contains(want, k) {
			return true
		}
	}
	return false
}

// Lines are the inventory as rinv prints it for the kinds asked.
func (v *Inventory) Lines(kinds ...string) []Line {
	var out lines
	if Wants(kinds, "firm", "mprom") {
		out.add("BMC Firmware", v.BMCFirmware)
	}
	if Wants(kinds, "firm", "bios") {
		out.add("BIOS Version", v.BIOS)
	}
	if Wants(kinds, "vpd") {
		out.add("System Manufacturer", v.System.Manufacturer)
	}
	if Wants(kinds, "guid", "uuid") {
		out.add("UUID/GUID", v.UUID)
	}
	if Wants(kinds, "deviceid") {
		out.add("Product ID", v.ProductID)
		out.add("Manufacturer ID", v.ManufacturerID)
		out.add("Device ID", v.DeviceID)
	}
	v.systemLines(&out, kinds)
	v.boardLines(&out, kinds)
	if Wants(kinds, "vpd") {
		for _, m := range v.Modules {
			out = append(out, m.lines()...)
		}
	}
	v.partLines(&out, kinds)
	return out
}

func (v *Inventory) systemLines(out *lines, kinds []string) {
	s := v.System
	if Wants(kinds, "vpd", "model") {
		out.add("System Description", s.Product)
		out.add("System Model/MTM", s.Model)
	}
	if Wants(kinds, "vpd") {
		out.add("System Revision", s.Version)
	}
	if Wants(kinds, "vpd", "serial") {
		out.add("System Serial Number", s.Serial)
	}
	if Wants(kinds, "vpd", "asset") {
		out.add("System Asset Number", s.Asset)
	}
}

func (v *Inventory) boardLines(out *lines, kinds []string) {
	c, b := v.Chassis, v.Board
	if Wants(kinds, "vpd", "serial") {
		out.add("Chassis Serial Number", c.Serial)
	}
	if Wants(kinds, "vpd") {
		out.add("Chassis Part Number", c.Model)
		out.add("Board Manufacturer", b.Manufacturer)
		out.add("Board Description", b.Product)
	}
	if Wants(kinds, "vpd", "serial") {
		out.add("Board Serial Number", b.Serial)
	}
	if Wants(kinds, "vpd", "model") {
		out.add("Board Model Number", b.Model)
	}
}

func (v *Inventory) partLines(out *lines, kinds []string) {
	if Wants(kinds, "mac") {
		for _, m := range v.MACs {
			out.add(strings.TrimSpace("MAC Address "+m.Name), m.Addr.String())
		}
	}
	for _, part := range []struct {
		kind  string
		lines []Line
	}{{"cpu", v.CPU}, {"dimm", v.DIMM}, {"pci", v.PCI}, {"disk", v.Disk}} {
		if Wants(kinds, part.kind, "config") {
			*out = append(*out, part.lines...)
		}
	}
}

// lines are a module's labels as xCAT forms them: name, area, field.
func (m Module) lines() lines {
	var out lines
	if m.Absent {
		out.add(m.Name, "Not Present")
		return out
	}
	if b := m.BoardOf; b != nil {
		out.add(m.Name+" Board Part Number", b.Model)
		out.add(m.Name+" Board Serial Number", b.Serial)
		out.add(m.Name+" Board Manufacturer", b.Manufacturer)
		out.add(m.Name+" Board", b.Product)
		for _, x := range b.Extra {
			out.add(m.Name+" Board Additional Info", x)
		}
	}
	out.add(m.Name+" Product Serial Number", m.Serial)
	out.add(m.Name+" Product Manufacturer", m.Manufacturer)
	out.add(m.Name+" Product Model", m.Model)
	out.add(m.Name+" Product Version", m.Version)
	out.add(m.Name+" Product", m.Product)
	for _, x := range m.Extra {
		out.add(m.Name+" Product Additional Info", x)
	}
	return out
}

type lines []Line

// add appends a line unless nothing is known.
func (l *lines) add(label, value string) {
	if value = Clean(value); value != "" {
		*l = append(*l, Line{label, value})
	}
}

// Clean is text from a machine as it may be printed: one line, no control
// characters, no blanks around it.
func Clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.TrimSpace(s)
}
