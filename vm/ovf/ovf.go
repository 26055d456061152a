// Package ovf reads and writes the Open Virtualization Format, version 1.1
// (DMTF DSP0243), with what VMware adds to it: the descriptor of a guest, the
// manifest of its files' sums, and the tar archive that holds all of them.
package ovf

import (
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"margay/vm"
)

// ErrInvalid marks what is no descriptor, manifest or archive, or a broken
// one.
var ErrInvalid = errors.New("invalid OVF")

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// A Package is what a descriptor says: one guest and its files.
type Package struct {
	Name       string
	Product    string
	EULA       []string
	Files      []File
	Disks      []Disk
	Networks   []string // by name, as the guest's cards name them
	Properties []Property
	Options    []Option
	// Spec is the guest. Its disks' Path.File is the name of the file that a
	// disk comes from, "" of one that is to be made empty.
	Spec vm.Spec
	// Notes are what the descriptor has and Spec has no place for.
	Notes []string
}

// A File is one that belongs to the package.
type File struct {
	ID   string
	Href string
	Size int64 // 0: not told
}

// A Disk is a virtual disk of the package.
type Disk struct {
	ID   string
	File string // href; empty: no data
	KB   int64
}

// A Property is a value that whoever installs the guest may set.
type Property struct {
	Key     string // with class and instance: "class.key.instance"
	Type    string
	Default string
	Label   string
	Fixed   bool // not for setting
}

// An Option is a size in which the guest can be installed.
type Option struct {
	ID, Label string
	Default   bool
}

// The descriptor, as far as it is read. Elements are known by their local
// names: prefixes are the writer's own, and some writers have them wrong.
type envelope struct {
	XMLName xml.Name `xml:"Envelope"`
	Files   []struct {
		ID          string `xml:"id,attr"`
		Href        string `xml:"href,attr"`
		Size        string `xml:"size,attr"`
		Compression string `xml:"compression,attr"`
		Chunk       string `xml:"chunkSize,attr"`
	} `xml:"References>File"`
	Disks []struct {
		ID       string `xml:"diskId,attr"`
		File     string `xml:"fileRef,attr"`
		Capacity string `xml:"capacity,attr"`
		Units    string `xml:"capacityAllocationUnits,attr"`
		Parent   string `xml:"parentRef,attr"`
	} `xml:"DiskSection>Disk"`
	Networks []struct {
		Name string `xml:"name,attr"`
	} `xml:"NetworkSection>Network"`
	Options []struct {
		ID      string `xml:"id,attr"`
		Default string `xml:"default,attr"`
		Label   string `xml:"Label"`
	} `xml:"DeploymentOptionSection>Configuration"`
	Systems    []system   `xml:"VirtualSystem"`
	Collection []struct{} `xml:"VirtualSystemCollection"`
}

type system struct {
	ID   string   `xml:"id,attr"`
	Name string   `xml:"Name"`
	Note string   `xml:"AnnotationSection>Annotation"`
	EULA []string `xml:"EulaSection>License"`
	OS   struct {
		ID   string `xml:"id,attr"`
		Type string `xml:"osType,attr"`
	} `xml:"OperatingSystemSection"`
	Hardware []struct {
		Type   string `xml:"System>VirtualSystemType"`
		Items  []item `xml:"Item"`
		Config []struct {
			Key   string `xml:"key,attr"`
			Value string `xml:"value,attr"`
		} `xml:"Config"`
		Extra []struct {
			Key   string `xml:"key,attr"`
			Value string `xml:"value,attr"`
		} `xml:"ExtraConfig"`
	} `xml:"VirtualHardwareSection"`
	Products []struct {
		Class    string `xml:"class,attr"`
		Instance string `xml:"instance,attr"`
		Product  string `xml:"Product"`
		Version  string `xml:"Version"`
		Property []struct {
			Key   string `xml:"key,attr"`
			Type  string `xml:"type,attr"`
			Value string `xml:"value,attr"`
			User  string `xml:"userConfigurable,attr"`
			Label string `xml:"Label"`
		} `xml:"Property"`
	} `xml:"ProductSection"`
}

// An item is one piece of hardware.
type item struct {
	Configuration string   `xml:"configuration,attr"`
	Required      string   `xml:"required,attr"`
	Address       string   `xml:"Address"`
	OnParent      string   `xml:"AddressOnParent"`
	Units         string   `xml:"AllocationUnits"`
	Automatic     string   `xml:"AutomaticAllocation"`
	Connection    []string `xml:"Connection"`
	Name          string   `xml:"ElementName"`
	Host          []string `xml:"HostResource"`
	ID            string   `xml:"InstanceID"`
	OldID         string   `xml:"InstanceId"`
	Parent        string   `xml:"Parent"`
	SubType       string   `xml:"ResourceSubType"`
	Type          string   `xml:"ResourceType"`
	Quantity      string   `xml:"VirtualQuantity"`
	Sockets       string   `xml:"CoresPerSocket"`
}

// maxDescriptor bounds a descriptor; the largest known have a few hundred KiB.
const maxDescriptor = 4 << 20

// maxItems bounds what a guest may consist of.
const maxItems = 1000

// Parse reads a descriptor of one guest. option picks one of its sizes; "" is
// the default one.
func Parse(b []byte, option string) (*Package, error) {
	if len(b) > maxDescriptor {
		return nil, invalidf("descriptor of %d bytes", len(b))
	}
	var e envelope
	if err := xml.Unmarshal(b, &e); err != nil {
		return nil, invalidf("%v", err)
	}
	switch {
	case len(e.Collection) > 0 || len(e.Systems) > 1:
		return nil, invalidf("the package holds several guests; those are not taken in, take it apart first")
	case len(e.Systems) == 0 || len(e.Systems[0].Hardware) == 0:
		return nil, invalidf("no guest is described")
	}
	p := &Package{Name: e.Systems[0].Name}
	if p.Name == "" {
		p.Name = e.Systems[0].ID
	}
	if err := p.files(&e); err != nil {
		return nil, err
	}
	if option == "" {
		option = p.options(&e)
	} else if p.options(&e); !p.has(option) {
		return nil, invalidf("the package has no size %q; it has %s", option, strings.Join(p.sizes(), ", "))
	}
	for _, n := range e.Networks {
		p.Networks = append(p.Networks, n.Name)
	}
	s := &e.Systems[0]
	p.EULA = s.EULA
	p.products(s)
	return p, p.hardware(s, option)
}

func (p *Package) has(option string) bool {
	for _, o := range p.Options {
		if o.ID == option {
			return true
		}
	}
	return false
}

func (p *Package) sizes() []string {
	out := []string{}
	for _, o := range p.Options {
		out = append(out, o.ID)
	}
	return out
}

// options reads the sizes and returns the default one.
func (p *Package) options(e *envelope) string {
	first := ""
	for i, o := range e.Options {
		p.Options = append(p.Options, Option{o.ID, o.Label, yes(o.Default)})
		if i == 0 || yes(o.Default) && !p.Options[0].Default {
			first = o.ID
		}
		if yes(o.Default) {
			first = o.ID
		}
	}
	return first
}

func yes(s string) bool { return strings.EqualFold(s, "true") || s == "1" }

// files reads what files and disks there are. Names may not lie outside the
// package.
func (p *Package) files(e *envelope) error {
	byID := map[string]string{}
	for _, f := range e.Files {
		if f.Href == "" || f.Href != path.Base(f.Href) || strings.ContainsAny(f.Href, "\\\x00\n") || f.Href == ".." {
			return invalidf("file %q; files must lie beside the descriptor", clip(f.Href))
		}
		if f.Compression != "" && f.Compression != "identity" || f.Chunk != "" {
			return invalidf("%s is compressed or in pieces, which is not read here", f.Href)
		}
		size, err := number(f.Size, 0)
		if err != nil {
			return err
		}
		byID[f.ID] = f.Href
		p.Files = append(p.Files, File{f.ID, f.Href, size})
	}
	for _, d := range e.Disks {
		if d.Parent != "" {
			return invalidf("disk %s holds only what differs from another", clip(d.ID))
		}
		if d.File != "" && byID[d.File] == "" {
			return invalidf("disk %s comes from %q, which is no file of the package", clip(d.ID), clip(d.File))
		}
		kb, err := capacity(d.Capacity, d.Units)
		if err != nil {
			return invalidf("disk %s: %v", clip(d.ID), err)
		}
		p.Disks = append(p.Disks, Disk{d.ID, byID[d.File], kb})
	}
	return nil
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

func number(s string, unset int64) (int64, error) {
	if s = strings.TrimSpace(s); s == "" {
		return unset, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, invalidf("number %q", clip(s))
	}
	return n, nil
}

// capacity is a disk's size in KiB.
func capacity(s, units string) (int64, error) {
	n, err := number(s, -1)
	if err != nil {
		return 0, err
	}
	if n < 0 || strings.HasPrefix(strings.TrimSpace(s), "$") {
		return 0, fmt.Errorf("capacity %q", clip(s))
	}
	u, err := unit(units)
	if err != nil {
		return 0, err
	}
	if u != 0 && n > math.MaxInt64/u || n*u > vm.MaxDiskKB*1024 {
		return 0, fmt.Errorf("capacity %s of %q is over 62 TB", clip(s), clip(units))
	}
	return (n*u + 1023) / 1024, nil
}

// unit reads "byte * 2^30" and the words of older writers, in bytes.
func unit(s string) (int64, error) {
	s = strings.ToLower(strings.ReplaceAll(s, " ", ""))
	switch s {
	case "", "byte", "bytes":
		return 1, nil
	case "kilobytes", "kb":
		return 1 << 10, nil
	case "megabytes", "mb":
		return 1 << 20, nil
	case "gigabytes", "gb":
		return 1 << 30, nil
	}
	if p, ok := strings.CutPrefix(s, "byte*2^"); ok {
		n, err := strconv.Atoi(p)
		if err == nil && n >= 0 && n <= 50 {
			return 1 << n, nil
		}
	}
	if p, ok := strings.CutPrefix(s, "byte*10^"); ok {
		n, err := strconv.Atoi(p)
		if err == nil && n >= 0 && n <= 15 {
			return int64(math.Pow10(n)), nil
		}
	}
	return 0, fmt.Errorf("unit %q is unknown", clip(s))
}

func (p *Package) products(s *system) {
	for _, pr := range s.Products {
		if p.Product == "" {
			p.Product = strings.TrimSpace(pr.Product + " " + pr.Version)
		}
		for _, prop := range pr.Property {
			key := prop.Key
			if pr.Class != "" {
				key = pr.Class + "." + key
			}
			if pr.Instance != "" {
				key += "." + pr.Instance
			}
			p.Properties = append(p.Properties, Property{key, prop.Type, prop.Value, prop.Label, !yes(prop.User)})
		}
	}
}
