// Package domxml reads and writes guests as libvirt's domain XML, so that
// definitions come from and go to what libvirt manages ("Domain XML format"
// and "VMware ESX hypervisor driver" of libvirt's documentation). What libvirt
// has no word for is kept under metadata, in a name space of our own, so that
// nothing is lost on the way there and back.
package domxml

import (
	"bytes"
	"encoding/xml"
	"io"
	"strconv"
	"strings"

	"margay/vm"
)

// Namespace is that of our own elements under metadata.
const Namespace = "urn:margay:vmx"

type domain struct {
	XMLName     xml.Name  `xml:"domain"`
	Type        string    `xml:"type,attr"`
	Name        string    `xml:"name"`
	UUID        string    `xml:"uuid,omitempty"`
	Description string    `xml:"description,omitempty"`
	Metadata    *metadata `xml:"metadata"`
	Memory      amount    `xml:"memory"`
	Current     *amount   `xml:"currentMemory"`
	MemTune     *memTune  `xml:"memtune"`
	VCPU        vcpu      `xml:"vcpu"`
	CPUTune     *cpuTune  `xml:"cputune"`
	CPU         *cpu      `xml:"cpu"`
	OS          osType    `xml:"os"`
	Clock       *clock    `xml:"clock"`
	OnPoweroff  string    `xml:"on_poweroff,omitempty"`
	OnReboot    string    `xml:"on_reboot,omitempty"`
	OnCrash     string    `xml:"on_crash,omitempty"`
	Devices     devices   `xml:"devices"`
}

type metadata struct {
	Guest *guest `xml:"urn:margay:vmx guest"`
}

// A guest is what only we understand.
type guest struct {
	ID       string    `xml:"id,attr,omitempty"`
	Version  string    `xml:"version,attr,omitempty"`
	CPUHot   bool      `xml:"cpuHotAdd,attr,omitempty"`
	MemHot   bool      `xml:"memoryHotAdd,attr,omitempty"`
	Limit    *int64    `xml:"cpuLimit,attr"`
	Reserve  *int64    `xml:"cpuReservation,attr"`
	MemLimit *int64    `xml:"memoryLimit,attr"`
	MemShare string    `xml:"memoryShares,attr,omitempty"`
	Latency  string    `xml:"latency,attr,omitempty"`
	Setup    bool      `xml:"enterSetup,attr,omitempty"`
	Settings []setting `xml:"urn:margay:vmx setting"`
}

type setting struct {
	Key   string `xml:"key,attr"`
	Value string `xml:",chardata"`
}

type amount struct {
	Unit  string `xml:"unit,attr,omitempty"`
	Value string `xml:",chardata"`
}

type vcpu struct {
	Value string `xml:",chardata"`
}

type memTune struct {
	Min *amount `xml:"min_guarantee"`
}

type cpuTune struct {
	Shares string `xml:"shares,omitempty"`
}

type cpu struct {
	Topology *topology `xml:"topology"`
}

type topology struct {
	Sockets int `xml:"sockets,attr"`
	Cores   int `xml:"cores,attr"`
	Threads int `xml:"threads,attr"`
}

type osType struct {
	Firmware string   `xml:"firmware,attr,omitempty"`
	Type     archType `xml:"type"`
	Boot     []dev    `xml:"boot"`
}

type archType struct {
	Arch  string `xml:"arch,attr,omitempty"`
	Value string `xml:",chardata"`
}

type dev struct {
	Dev string `xml:"dev,attr"`
}

type clock struct {
	Offset string `xml:"offset,attr"`
}

type devices struct {
	Disks       []disk       `xml:"disk"`
	Controllers []controller `xml:"controller"`
	Interfaces  []iface      `xml:"interface"`
}

type disk struct {
	Type    string   `xml:"type,attr"`
	Device  string   `xml:"device,attr,omitempty"`
	Driver  *driver  `xml:"driver"`
	Source  *source  `xml:"source"`
	Target  target   `xml:"target"`
	Address *address `xml:"address"`
}

type driver struct {
	Name string `xml:"name,attr,omitempty"`
}

type source struct {
	File       string `xml:"file,attr,omitempty"`
	Dev        string `xml:"dev,attr,omitempty"`
	StartupPol string `xml:"startupPolicy,attr,omitempty"`
	Bridge     string `xml:"bridge,attr,omitempty"`
}

type target struct {
	Dev string `xml:"dev,attr"`
	Bus string `xml:"bus,attr,omitempty"`
}

type address struct {
	Type       string `xml:"type,attr"`
	Controller int    `xml:"controller,attr"`
	Bus        int    `xml:"bus,attr"`
	Unit       int    `xml:"unit,attr"`
}

type controller struct {
	Type  string `xml:"type,attr"`
	Index int    `xml:"index,attr"`
	Model string `xml:"model,attr,omitempty"`
}

type iface struct {
	Type   string  `xml:"type,attr"`
	MAC    *mac    `xml:"mac"`
	Source *source `xml:"source"`
	Model  *model  `xml:"model"`
	Link   *link   `xml:"link"`
}

type mac struct {
	Address string `xml:"address,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Check   string `xml:"check,attr,omitempty"`
}

type model struct {
	Type string `xml:"type,attr"`
}

type link struct {
	State string `xml:"state,attr"`
}

// maxSize bounds a definition; real ones have a few kilobytes.
const maxSize = 1 << 20

// Encode writes a guest as domain XML.
func Encode(s *vm.Spec) ([]byte, error) {
	if s.Name == "" {
		return nil, vm.Errorf(vm.ErrInvalid, "domain: the guest has no name")
	}
	var b bytes.Buffer
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(toDomain(s)); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// Decode reads domain XML.
func Decode(b []byte) (*vm.Spec, error) {
	if len(b) > maxSize {
		return nil, vm.Errorf(vm.ErrInvalid, "domain: %d bytes are too many", len(b))
	}
	var d domain
	dec := xml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&d); err != nil {
		return nil, vm.Errorf(vm.ErrInvalid, "domain: %v", err)
	}
	if err := end(dec); err != nil {
		return nil, err
	}
	switch d.Type {
	case "vmware", "", "test":
	default:
		return nil, vm.Errorf(vm.ErrInvalid, "domain of type %q: only type vmware runs on ESXi", d.Type)
	}
	return d.spec()
}

// end refuses anything after the definition but blanks and comments.
func end(dec *xml.Decoder) error {
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return nil
		}
		text, blank := tok.(xml.CharData)
		_, comment := tok.(xml.Comment)
		if err != nil || !comment && !(blank && strings.TrimSpace(string(text)) == "") {
			return vm.Errorf(vm.ErrInvalid, "domain: more after its end")
		}
	}
}

func (a *amount) kib() (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(a.Value), 10, 64)
	if err != nil || n < 0 || n > 1<<50 {
		return 0, vm.Errorf(vm.ErrInvalid, "domain: memory %q", a.Value)
	}
	switch a.Unit {
	case "", "KiB", "k", "K":
		return n, nil
	case "b", "bytes":
		return n / 1024, nil
	case "KB":
		return n * 1000 / 1024, nil
	case "MiB", "M":
		return n << 10, nil
	case "MB":
		return n * 1000 * 1000 / 1024, nil
	case "GiB", "G":
		return n << 20, nil
	case "GB":
		return n * 1000 * 1000 * 1000 / 1024, nil
	}
	return 0, vm.Errorf(vm.ErrInvalid, "domain: memory unit %q", a.Unit)
}

func kib(n int64) amount { return amount{Unit: "KiB", Value: strconv.FormatInt(n, 10)} }
