// Package vmdk reads and writes VMware's disk images, as the "Virtual Disk
// Format 5.0" technical note of VMware has them: descriptors with flat extents
// as ESXi keeps them, sparse extents as hosted products write them, and
// stream-optimized images, which can be made in one pass and are what a host
// takes for an upload.
package vmdk

import (
	"bufio"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// SectorSize is what sizes are counted in.
const SectorSize = 512

// MaxSize is the largest disk that ESXi takes, 62 TB.
const MaxSize = 62 << 40

// ErrInvalid marks what is no image, or a broken one.
var ErrInvalid = errors.New("invalid disk image")

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// A Descriptor is the text that says what an image is made of.
type Descriptor struct {
	CID        uint32
	ParentCID  uint32 // NoParent if it stands alone
	CreateType string // vmfs, monolithicSparse, streamOptimized, ...
	ParentHint string // file that a linked disk grows from
	Extents    []Extent
	DDB        [][2]string // the disk data base, in order
}

// NoParent is the ParentCID of an image that stands alone.
const NoParent = 0xffffffff

// An Extent is one file of an image, or nothing at all.
type Extent struct {
	Access  string // RW, RDONLY
	Sectors int64
	Type    string // VMFS, FLAT, SPARSE, ZERO, VMFSSPARSE, SESPARSE
	File    string // beside the descriptor; empty for ZERO
	Offset  int64  // of FLAT, in sectors
}

// Size is the disk's size in bytes.
func (d *Descriptor) Size() int64 {
	var n int64
	for _, e := range d.Extents {
		n += e.Sectors
	}
	return n * SectorSize
}

// Thin says whether the disk takes only the room that it needs.
func (d *Descriptor) Thin() bool { return d.ddb("ddb.thinProvisioned") == "1" }

func (d *Descriptor) ddb(key string) string {
	for _, kv := range d.DDB {
		if strings.EqualFold(kv[0], key) {
			return kv[1]
		}
	}
	return ""
}

// ParseDescriptor reads a descriptor. Files may not lie outside its folder.
func ParseDescriptor(b []byte) (*Descriptor, error) {
	if len(b) > 1<<20 {
		return nil, invalidf("descriptor of %d bytes", len(b))
	}
	text, _, _ := strings.Cut(string(b), "\x00")
	if !strings.Contains(text, "createType") {
		return nil, invalidf("no descriptor")
	}
	d := &Descriptor{ParentCID: NoParent}
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if err := d.line(strings.TrimSpace(sc.Text())); err != nil {
			return nil, err
		}
	}
	if len(d.Extents) == 0 {
		return nil, invalidf("descriptor without extents")
	}
	if d.Size() > MaxSize || d.Size() <= 0 {
		return nil, invalidf("size %d", d.Size())
	}
	return d, nil
}

func (d *Descriptor) line(l string) error {
	if l == "" || l[0] == '#' {
		return nil
	}
	switch word, _, _ := strings.Cut(l, " "); word {
	case "RW", "RDONLY", "NOACCESS":
		e, err := parseExtent(l)
		if err != nil {
			return err
		}
		d.Extents = append(d.Extents, e)
		return nil
	}
	k, v, ok := strings.Cut(l, "=")
	if !ok {
		return invalidf("descriptor line %q", clip(l))
	}
	k, v = strings.TrimSpace(k), strings.Trim(strings.TrimSpace(v), `"`)
	var err error
	switch strings.ToLower(k) {
	case "cid":
		d.CID, err = parseCID(v)
	case "parentcid":
		d.ParentCID, err = parseCID(v)
	case "createtype":
		d.CreateType = v
	case "parentfilenamehint":
		d.ParentHint = v
	default:
		if strings.HasPrefix(strings.ToLower(k), "ddb.") {
			d.DDB = append(d.DDB, [2]string{k, v})
		}
	}
	return err
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

func parseCID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return 0, invalidf("CID %q", clip(s))
	}
	return uint32(n), nil
}

// parseExtent reads `RW 8388608 VMFS "x-flat.vmdk" 0`.
func parseExtent(l string) (Extent, error) {
	head, rest, quoted := strings.Cut(l, `"`)
	f := strings.Fields(head)
	if len(f) < 3 {
		return Extent{}, invalidf("extent %q", clip(l))
	}
	n, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || n <= 0 || n > MaxSize/SectorSize {
		return Extent{}, invalidf("extent of %q sectors", clip(f[1]))
	}
	e := Extent{Access: f[0], Sectors: n, Type: strings.ToUpper(f[2])}
	if !quoted {
		if e.Type != "ZERO" {
			return Extent{}, invalidf("extent %q names no file", clip(l))
		}
		return e, nil
	}
	file, tail, ok := strings.Cut(rest, `"`)
	if !ok || file == "" || file != path.Base(file) || strings.ContainsAny(file, `\`) || file == ".." || file == "." {
		return Extent{}, invalidf("extent file %q; it must lie beside the descriptor", clip(file))
	}
	e.File = file
	if tail = strings.TrimSpace(tail); tail != "" {
		if e.Offset, err = strconv.ParseInt(strings.Fields(tail)[0], 10, 64); err != nil || e.Offset < 0 {
			return Extent{}, invalidf("extent offset %q", clip(tail))
		}
	}
	return e, nil
}

// NewFlat is the descriptor of a disk whose data are in one flat file beside
// it, as ESXi keeps them: name.vmdk and name-flat.vmdk.
func NewFlat(name string, size int64, cid uint32, thin bool) *Descriptor {
	sectors := (size + SectorSize - 1) / SectorSize
	d := &Descriptor{CID: cid, ParentCID: NoParent, CreateType: "vmfs",
		Extents: []Extent{{Access: "RW", Sectors: sectors, Type: "VMFS", File: FlatName(name)}},
		DDB:     geometry(sectors)}
	if thin {
		d.DDB = append(d.DDB, [2]string{"ddb.thinProvisioned", "1"})
	}
	return d
}

func geometry(sectors int64) [][2]string {
	return [][2]string{
		{"ddb.adapterType", "lsilogic"},
		{"ddb.geometry.cylinders", strconv.FormatInt(max(1, min(sectors/(255*63), 1<<31-1)), 10)},
		{"ddb.geometry.heads", "255"},
		{"ddb.geometry.sectors", "63"},
		{"ddb.virtualHWVersion", "13"},
	}
}

// FlatName is the file of data that belongs to a descriptor: x-flat.vmdk to
// x.vmdk.
func FlatName(name string) string {
	return strings.TrimSuffix(path.Base(name), ".vmdk") + "-flat.vmdk"
}

// DescriptorName is the descriptor that a file of data belongs to; only the
// last "-flat" counts.
func DescriptorName(flat string) (string, error) {
	base, ok := strings.CutSuffix(flat, "-flat.vmdk")
	if !ok {
		return "", invalidf("%q: the file of data must be called NAME-flat.vmdk, beside its descriptor NAME.vmdk", clip(flat))
	}
	return base + ".vmdk", nil
}

// Format is the descriptor as text.
func (d *Descriptor) Format() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=%08x\nparentCID=%08x\ncreateType=\"%s\"\n", d.CID, d.ParentCID, d.CreateType)
	if d.ParentHint != "" {
		fmt.Fprintf(&b, "parentFileNameHint=\"%s\"\n", d.ParentHint)
	}
	b.WriteString("\n# Extent description\n")
	for _, e := range d.Extents {
		fmt.Fprintf(&b, "%s %d %s", e.Access, e.Sectors, e.Type)
		if e.File != "" {
			fmt.Fprintf(&b, " \"%s\"", e.File)
		}
		if e.Type == "FLAT" {
			fmt.Fprintf(&b, " %d", e.Offset)
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n# The Disk Data Base\n#DDB\n\n")
	for _, kv := range d.DDB {
		fmt.Fprintf(&b, "%s = \"%s\"\n", kv[0], kv[1])
	}
	return []byte(b.String())
}
