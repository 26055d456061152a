package domxml

import (
	"encoding/xml"
	"strings"

	"margay/vm"
)

// fragment is a part of a domain: its elements, or the whole <domain> around
// them.
type fragment struct {
	CPU *struct {
		Topology *topology `xml:"topology"`
		Other    []unknown `xml:",any"`
	} `xml:"cpu"`
	OS *struct {
		Firmware string    `xml:"firmware,attr"`
		Other    []unknown `xml:",any"`
	} `xml:"os"`
	Devices *struct {
		Controllers []controller `xml:"controller"`
		Interfaces  []iface      `xml:"interface"`
		Other       []unknown    `xml:",any"`
	} `xml:"devices"`
	Metadata *metadata `xml:"metadata"`
	Domain   *fragment `xml:"domain"`
	Other    []unknown `xml:",any"`
}

type unknown struct {
	XMLName xml.Name
}

// DecodeFragment reads elements of a domain, as OpenNebula's RAW has them:
// "<devices><controller type='scsi' model='lsisas1068'/></devices>". What means
// something to ESXi is taken; what does not is named in Unused.
func DecodeFragment(b []byte) (*vm.Fragment, error) {
	if len(b) > maxSize {
		return nil, vm.Errorf(vm.ErrInvalid, "fragment: over %d bytes", maxSize)
	}
	dec := xml.NewDecoder(strings.NewReader("<fragment>" + string(b) + "</fragment>"))
	var x fragment
	if err := dec.Decode(&x); err != nil {
		return nil, vm.Errorf(vm.ErrInvalid, "fragment: %v", err)
	}
	if err := end(dec); err != nil {
		return nil, err
	}
	f := &vm.Fragment{}
	for p := &x; p != nil; p = p.Domain {
		if err := p.into(f); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (x *fragment) into(f *vm.Fragment) error {
	unused(f, "", x.Other)
	if x.CPU != nil {
		unused(f, "cpu/", x.CPU.Other)
		if t := x.CPU.Topology; t != nil {
			if t.Cores < 1 || t.Cores > 1024 {
				return vm.Errorf(vm.ErrInvalid, "fragment: sockets of %d cores", t.Cores)
			}
			f.Cores = t.Cores
		}
	}
	if x.OS != nil {
		unused(f, "os/", x.OS.Other)
		switch x.OS.Firmware {
		case "", "bios", "efi":
			f.Firmware = x.OS.Firmware
		default:
			return vm.Errorf(vm.ErrInvalid, "fragment: firmware %q; bios or efi", x.OS.Firmware)
		}
	}
	if x.Metadata != nil && x.Metadata.Guest != nil {
		for _, e := range x.Metadata.Guest.Settings {
			f.Settings = append(f.Settings, vm.Setting{Key: e.Key, Value: e.Value})
		}
	}
	if x.Devices == nil {
		return nil
	}
	unused(f, "devices/", x.Devices.Other)
	for _, k := range x.Devices.Controllers {
		if err := controllerInto(f, k); err != nil {
			return err
		}
	}
	for _, n := range x.Devices.Interfaces {
		if err := cardInto(f, n); err != nil {
			return err
		}
	}
	return nil
}

func unused(f *vm.Fragment, where string, list []unknown) {
	for _, u := range list {
		f.Unused = append(f.Unused, where+u.XMLName.Local)
	}
}

func controllerInto(f *vm.Fragment, k controller) error {
	if k.Type != "scsi" || k.Model == "" {
		f.Unused = append(f.Unused, "devices/controller of type "+k.Type)
		return nil
	}
	b, err := vm.ParseBus(k.Model)
	if err != nil || !b.SCSI() {
		return vm.Errorf(vm.ErrInvalid, "fragment: SCSI controller %q; one of lsilogic, lsisas1068, buslogic, vmpvscsi", k.Model)
	}
	if f.SCSI != "" && f.SCSI != b {
		return vm.Errorf(vm.ErrInvalid, "fragment: controllers of two models, %s and %s", f.SCSI, b)
	}
	f.SCSI = b
	return nil
}

// cardInto takes a card's model; cards themselves are vmnics'.
func cardInto(f *vm.Fragment, n iface) error {
	if n.Source != nil || n.MAC != nil || n.Model == nil {
		f.Unused = append(f.Unused, "devices/interface but for its model; cards are vmnics'")
	}
	if n.Model == nil {
		return nil
	}
	m, note := vm.ParseNICModel(n.Model.Type)
	if note != "" || n.Model.Type == "" {
		return vm.Errorf(vm.ErrInvalid, "fragment: card %q is unknown", n.Model.Type)
	}
	if f.Card != "" && f.Card != m {
		return vm.Errorf(vm.ErrInvalid, "fragment: cards of two models, %s and %s", f.Card, m)
	}
	f.Card = m
	return nil
}
