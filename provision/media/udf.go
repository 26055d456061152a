package media

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf16"
)

// UDF 1.02 to 2.01 (ECMA-167 with OSTA's UDF), as installer media have it:
// one partition that starts at a fixed block. Metadata partitions (2.50),
// virtual and sparable ones are named in an error.

// A udfVolume is the UDF part of an image.
type udfVolume struct {
	*scan
	label string
	parts []int64 // first byte of each partition, by reference number
	fsd   []byte  // where the file set is described: a long_ad
	seen  map[int64]bool
}

// A udfFile is a file entry: the node, and for directories its content.
type udfFile struct{ *node }

const (
	tagAnchor         = 2
	tagPointer        = 3
	tagPartition      = 5
	tagLogicalVolume  = 6
	tagTerminator     = 8
	tagFileSet        = 256
	tagFileIdentifier = 257
	tagAllocation     = 258
	tagFileEntry      = 261
	tagExtendedEntry  = 266
)

// hasUDF: the volume recognition sequence says so (ECMA-167 2/9.1).
func (s *scan) hasUDF() bool {
	for at := int64(16); at < 80; at++ {
		b, err := s.bytes(at*sector, 8)
		if err != nil {
			return false
		}
		switch string(b[1:6]) {
		case "NSR02", "NSR03":
			return true
		case "\x00\x00\x00\x00\x00":
			return false
		}
	}
	return false
}

func (s *scan) openUDF(im *Image) error {
	v := &udfVolume{scan: s, seen: map[int64]bool{}}
	if err := v.volumes(); err != nil {
		return err
	}
	b, err := v.at(v.fsd, 512)
	if err != nil {
		return err
	}
	if le.Uint16(b) != tagFileSet {
		return fmt.Errorf("UDF: no file set where the volume says: %w", ErrFormat)
	}
	root, err := v.entry(b[400:416])
	if err != nil {
		return err
	}
	if !root.mode.IsDir() {
		return fmt.Errorf("UDF: the root is not a directory: %w", ErrFormat)
	}
	if err := v.dir(root, 0); err != nil {
		return err
	}
	im.root, im.Volume, im.Format = root.node, v.label, "udf"
	return nil
}

// anchor is the anchor volume descriptor pointer, at one of its three places
// (3/8.4.2.1).
func (v *udfVolume) anchor() ([]byte, error) {
	last := v.size/sector - 1
	for _, at := range []int64{256, last, last - 256} {
		if b, err := v.bytes(at*sector, 512); err == nil && le.Uint16(b) == tagAnchor {
			return b, nil
		}
	}
	return nil, fmt.Errorf("UDF: no anchor; %w", ErrCut)
}

// maxDescriptors bounds the volume descriptor sequence, which may go on
// elsewhere.
const maxDescriptors = 256

// volumes reads the volume descriptor sequence.
func (v *udfVolume) volumes() error {
	a, err := v.anchor()
	if err != nil {
		return err
	}
	starts := map[uint16]int64{}
	var maps []uint16
	at, n := int64(le.Uint32(a[20:])), int64(le.Uint32(a[16:]))/sector
	for i := 0; i < maxDescriptors && n > 0; i++ {
		b, err := v.bytes(at*sector, sector)
		if err != nil {
			return err
		}
		at, n = at+1, n-1
		switch le.Uint16(b) {
		case tagPointer:
			at, n = int64(le.Uint32(b[24:])), int64(le.Uint32(b[20:]))/sector
		case tagPartition:
			starts[le.Uint16(b[22:])] = int64(le.Uint32(b[188:])) * sector
		case tagLogicalVolume:
			if maps, err = v.logical(b); err != nil {
				return err
			}
		case tagTerminator:
			n = 0
		}
	}
	if v.fsd == nil {
		return fmt.Errorf("UDF: no logical volume: %w", ErrFormat)
	}
	for _, number := range maps {
		start, ok := starts[number]
		if !ok {
			return fmt.Errorf("UDF: partition %d is missing: %w", number, ErrFormat)
		}
		v.parts = append(v.parts, start)
	}
	return nil
}

// logical reads a logical volume descriptor (3/10.6): the partitions' numbers.
func (v *udfVolume) logical(b []byte) (numbers []uint16, err error) {
	if size := le.Uint32(b[212:]); size != sector {
		return nil, fmt.Errorf("UDF: blocks of %d bytes: %w", size, ErrFormat)
	}
	v.label = dstring(b[84:212])
	v.fsd = b[248:264]
	maps := b[440:]
	for range min(le.Uint32(b[268:]), 64) {
		if len(maps) < 6 || maps[0] != 1 || maps[1] != 6 {
			return nil, fmt.Errorf("UDF: a partition of a kind that is not read (virtual, sparable, or UDF 2.50's metadata): %w", ErrFormat)
		}
		numbers = append(numbers, le.Uint16(maps[4:]))
		maps = maps[6:]
	}
	return numbers, nil
}

// offset is the byte of a partition's block.
func (v *udfVolume) offset(part uint16, block uint32) (int64, error) {
	if int(part) >= len(v.parts) {
		return 0, fmt.Errorf("UDF: partition reference %d: %w", part, ErrFormat)
	}
	return v.parts[part] + int64(block)*sector, nil
}

// at reads n bytes where a long_ad (4/14.14.2) points to.
func (v *udfVolume) at(ad []byte, n int64) ([]byte, error) {
	off, err := v.offset(le.Uint16(ad[8:]), le.Uint32(ad[4:]))
	if err != nil {
		return nil, err
	}
	return v.bytes(off, n)
}

// entry reads the file entry (4/14.9, 4/14.17) that a long_ad points to. A
// directory's node has its content's extents until dir has read them.
func (v *udfVolume) entry(ad []byte) (udfFile, error) {
	b, err := v.at(ad, sector)
	if err != nil {
		return udfFile{}, err
	}
	part := le.Uint16(ad[8:])
	start, _ := v.offset(part, le.Uint32(ad[4:]))
	f := udfFile{&node{size: int64(le.Uint64(b[56:])), mode: 0o444}}
	var ads int
	var extra, length uint32
	switch le.Uint16(b) {
	case tagFileEntry:
		ads, extra, length = 176, le.Uint32(b[168:]), le.Uint32(b[172:])
		f.mod = udfTime(b[84:96])
	case tagExtendedEntry:
		ads, extra, length = 216, le.Uint32(b[208:]), le.Uint32(b[212:])
		f.mod = udfTime(b[92:104])
	default:
		return udfFile{}, fmt.Errorf("UDF: tag %d where a file entry should be: %w", le.Uint16(b), ErrFormat)
	}
	if extra > sector || length > sector || ads+int(extra)+int(length) > sector || f.size < 0 {
		return udfFile{}, fmt.Errorf("UDF: a file entry's lengths do not fit it: %w", ErrFormat)
	}
	ads += int(extra)
	switch b[27] { // file type (4/14.6.6)
	case 4:
		f.mode = fs.ModeDir | 0o755
	case 12:
		f.mode = fs.ModeSymlink | 0o777
	case 0, 5, 249:
	default:
		f.mode |= fs.ModeIrregular
	}
	if le.Uint16(b[34:])&7 == 3 { // the content is in the entry itself
		f.extents = []Extent{{start + int64(ads), int64(length)}}
		return f, f.trim()
	}
	if f.extents, err = v.extents(b[ads:ads+int(length)], part, le.Uint16(b[34:])&7); err != nil {
		return udfFile{}, err
	}
	return f, f.trim()
}

// maxExtents bounds one file's allocation descriptors: 2 TiB in pieces of 1 MiB.
const maxExtents = 1 << 21

// extents reads allocation descriptors, short_ad (kind 0) or long_ad (1), which
// may go on in other blocks (4/12).
func (v *udfVolume) extents(ads []byte, part, kind uint16) (out []Extent, err error) {
	width := 8
	if kind == 1 {
		width = 16
	} else if kind != 0 {
		return nil, fmt.Errorf("UDF: allocation descriptors of kind %d: %w", kind, ErrFormat)
	}
	for len(ads) >= width {
		ad := ads[:width]
		ads = ads[width:]
		size, state := int64(le.Uint32(ad)&(1<<30-1)), le.Uint32(ad)>>30
		if size == 0 {
			break
		}
		ref := part
		if width == 16 {
			ref = le.Uint16(ad[8:])
		}
		off, err := v.offset(ref, le.Uint32(ad[4:]))
		switch {
		case err != nil:
			return nil, err
		case state == 3: // the descriptors go on there
			if ads, err = v.more(off); err != nil {
				return nil, err
			}
			part = ref
		case state == 0:
			out = append(out, Extent{off, size})
		default: // not recorded: zeros
			out = append(out, Extent{-1, size})
		}
		if len(out) > maxExtents {
			return nil, fmt.Errorf("UDF: a file of more than %d pieces: %w", maxExtents, ErrFormat)
		}
	}
	return out, nil
}

// more is an allocation extent descriptor's content (4/14.5). Each counts as
// an entry, so that a chain that bites its tail comes to an end.
func (v *udfVolume) more(off int64) ([]byte, error) {
	b, err := v.bytes(off, sector)
	if err != nil {
		return nil, err
	}
	n := le.Uint32(b[20:])
	if le.Uint16(b) != tagAllocation || n > sector-24 {
		return nil, fmt.Errorf("UDF: allocation descriptors go on where there are none: %w", ErrFormat)
	}
	return b[24 : 24+n], v.count()
}

// content reads what a directory or link holds.
func (v *udfVolume) content(f udfFile) ([]byte, error) {
	if f.size > maxDir {
		return nil, fmt.Errorf("UDF: directory of %d bytes: %w", f.size, ErrFormat)
	}
	var out []byte
	for _, e := range f.extents {
		if e.Off < 0 {
			return nil, fmt.Errorf("UDF: directory with holes: %w", ErrFormat)
		}
		b, err := v.bytes(e.Off, e.Len)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

// dir reads a directory and all below it.
func (v *udfVolume) dir(d udfFile, depth int) error {
	b, err := v.content(d)
	if err != nil {
		return err
	}
	if len(d.extents) > 0 {
		if depth > maxDepth || v.seen[d.extents[0].Off] {
			return fmt.Errorf("UDF: directory %q is its own parent, or too deep: %w", d.name, ErrFormat)
		}
		v.seen[d.extents[0].Off] = true
	}
	d.size, d.extents = 0, nil
	for len(b) >= 38 {
		n := (38 + int(le.Uint16(b[36:])) + int(b[19]) + 3) &^ 3 // (4/14.4)
		if le.Uint16(b) != tagFileIdentifier || n > len(b)+3 {
			return fmt.Errorf("UDF: directory %q: bad entry: %w", d.name, ErrFormat)
		}
		n = min(n, len(b))
		if err := v.identifier(d, b[:n], depth); err != nil {
			return err
		}
		b = b[n:]
	}
	d.sort()
	return nil
}

// identifier takes one entry of a directory.
func (v *udfVolume) identifier(d udfFile, e []byte, depth int) error {
	if e[18]&(4|8) != 0 { // deleted, or the parent
		return nil
	}
	if err := v.count(); err != nil {
		return err
	}
	at := 38 + int(le.Uint16(e[36:]))
	if at+int(e[19]) > len(e) {
		return fmt.Errorf("UDF: directory %q: bad entry: %w", d.name, ErrFormat)
	}
	name, err := cleanName(ostaName(e[at : at+int(e[19])]))
	if err != nil {
		return err
	}
	f, err := v.entry(e[20:36])
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f.name = name
	d.kids = append(d.kids, f.node)
	switch {
	case f.mode.IsDir():
		return v.dir(f, depth+1)
	case f.mode&fs.ModeSymlink != 0:
		return v.link(f)
	}
	for _, x := range f.extents {
		if err := v.inside(name, x); err != nil {
			return err
		}
	}
	return nil
}

// link reads a symbolic link's path components (4/14.16).
func (v *udfVolume) link(f udfFile) error {
	b, err := v.content(f)
	if err != nil {
		return err
	}
	var parts []string
	for len(b) >= 4 && 4+int(b[1]) <= len(b) {
		kind, text := b[0], ostaName(b[4:4+int(b[1])])
		b = b[4+int(b[1]):]
		switch kind {
		case 1, 2:
			parts = []string{""}
		case 3:
			parts = append(parts, "..")
		case 4:
			parts = append(parts, ".")
		case 5:
			parts = append(parts, text)
		}
	}
	f.link = strings.Join(parts, "/")
	f.size, f.extents = int64(len(f.link)), nil
	return nil
}

// ostaName reads OSTA's compressed Unicode (UDF 2.1.1).
func ostaName(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	switch b[0] {
	case 8:
		r := make([]rune, len(b)-1)
		for i, c := range b[1:] {
			r[i] = rune(c)
		}
		return string(r)
	case 16:
		u := make([]uint16, (len(b)-1)/2)
		for i := range u {
			u[i] = binary.BigEndian.Uint16(b[1+2*i:])
		}
		return string(utf16.Decode(u))
	}
	return ""
}

// dstring is a fixed-length string field (1/7.2.12): its last byte is the length.
func dstring(b []byte) string {
	n := int(b[len(b)-1])
	if n >= len(b) {
		return ""
	}
	return ostaName(b[:n])
}

// udfTime is a timestamp (1/7.3).
func udfTime(b []byte) time.Time {
	minutes := int(int16(le.Uint16(b)<<4) >> 4)
	if minutes < -1440 || minutes > 1440 {
		minutes = 0
	}
	if b[4] == 0 {
		return time.Time{}
	}
	zone := time.FixedZone("", minutes*60)
	return time.Date(int(int16(le.Uint16(b[2:]))), time.Month(b[4]), int(b[5]), int(b[6]), int(b[7]), int(b[8]), 0, zone).UTC()
}
