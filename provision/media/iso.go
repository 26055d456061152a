package media

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf16"
)

// An isoVolume is the ISO 9660 part of an image.
type isoVolume struct {
	*scan
	label     string
	block     int64  // logical block size (ECMA-119 6.2.2)
	rootRec   []byte // the root's directory record
	rockRidge bool
	skip      int // bytes before each system use area (SUSP 5.3)
	joliet    bool
	seen      map[int64]bool // directories' offsets; each may come once
	root      *node
}

// openISO reads the volume descriptors and picks Rock Ridge, Joliet or plain
// names, in that order.
func (s *scan) openISO() (*isoVolume, error) {
	v := &isoVolume{scan: s, seen: map[int64]bool{}}
	var joliet []byte
	for at := int64(16); at < 80; at++ {
		b, err := s.bytes(at*sector, sector)
		if err != nil || string(b[1:6]) != "CD001" || b[0] == 255 {
			break
		}
		switch {
		case b[0] == 1 && v.rootRec == nil:
			v.rootRec, v.block = b[156:190], int64(le.Uint16(b[128:]))
			v.label = strings.TrimRight(string(b[40:72]), " \x00")
		case b[0] == 2 && isJoliet(b):
			joliet = b
		}
	}
	if v.rootRec == nil {
		return nil, fmt.Errorf("no volume descriptor at sector 16: %w", ErrFormat)
	}
	if v.block != 512 && v.block != 1024 && v.block != sector {
		return nil, fmt.Errorf("logical blocks of %d bytes: %w", v.block, ErrFormat)
	}
	v.detectRockRidge()
	if !v.rockRidge && joliet != nil {
		v.joliet, v.rootRec = true, joliet[156:190]
	}
	return v, nil
}

// isJoliet: the escape sequences of UCS-2 levels 1, 2 and 3.
func isJoliet(b []byte) bool {
	switch string(b[88:91]) {
	case "%/@", "%/C", "%/E":
		return true
	}
	return false
}

// tree reads all directories into im.
func (v *isoVolume) tree(im *Image) error {
	v.root = &node{mode: fs.ModeDir | 0o755, mod: isoTime(v.rootRec[18:25])}
	v.seen = map[int64]bool{}
	if err := v.dir(v.root, v.dirExtent(v.rootRec), 0); err != nil {
		return err
	}
	v.dropMoved()
	im.root, im.Volume, im.Format = v.root, v.label, "iso9660"
	switch {
	case v.rockRidge:
		im.Format = "rockridge"
	case v.joliet:
		im.Format = "joliet"
	}
	return nil
}

// dirExtent is where a record's data lies: after its extended attributes.
func (v *isoVolume) dirExtent(rec []byte) Extent {
	return Extent{(int64(le.Uint32(rec[2:])) + int64(rec[1])) * v.block, int64(le.Uint32(rec[10:]))}
}

// dir reads one directory and all below it.
func (v *isoVolume) dir(d *node, at Extent, depth int) error {
	if depth > maxDepth || v.seen[at.Off] {
		return fmt.Errorf("directory %q is its own parent, or too deep: %w", d.name, ErrFormat)
	}
	v.seen[at.Off] = true
	b, err := v.bytes(at.Off, at.Len)
	if err != nil {
		return fmt.Errorf("directory %q: %w", d.name, err)
	}
	var open *node // a file of several extents that is not complete yet
	for p := 0; p < len(b); {
		n := int(b[p])
		if n == 0 { // no record crosses a sector (ECMA-119 6.8.1.1)
			p = (p/sector + 1) * sector
			continue
		}
		if n < 34 || p+n > len(b) || 33+int(b[p+32]) > n {
			return fmt.Errorf("directory %q: bad record at %d: %w", d.name, p, ErrFormat)
		}
		if open, err = v.record(d, b[p:p+n], open, depth); err != nil {
			return err
		}
		p += n
	}
	if open != nil {
		return fmt.Errorf("file %s: its last part is missing: %w", open.name, ErrFormat)
	}
	d.sort()
	return nil
}

// record takes one directory record into d. open is the file of several
// extents that it goes on with, nil if none; the same is returned.
func (v *isoVolume) record(d *node, rec []byte, open *node, depth int) (*node, error) {
	id := rec[33 : 33+int(rec[32])]
	if len(id) == 1 && id[0] <= 1 { // itself, its parent
		return open, nil
	}
	if err := v.count(); err != nil {
		return nil, err
	}
	n, at, use, err := v.parse(rec, id)
	if err != nil || use.moved {
		return open, err // moved directories come again where a CL points to them
	}
	if open != nil {
		if n.name != open.name || n.mode.IsDir() {
			return nil, fmt.Errorf("file %s: its last part is missing: %w", open.name, ErrFormat)
		}
		open.extents = append(open.extents, n.extents...)
		open.size += n.size
		n = open
	} else {
		d.kids = append(d.kids, n)
	}
	switch {
	case n.mode.IsDir():
		return nil, v.dir(n, at, depth+1)
	case rec[25]&0x80 != 0: // not the last extent (9.1.6)
		return n, nil
	}
	return nil, nil
}

// parse makes a node of a record; at is where its data lies.
func (v *isoVolume) parse(rec, id []byte) (n *node, at Extent, use systemUse, err error) {
	at = v.dirExtent(rec)
	n = &node{name: v.name(id), mode: 0o444, mod: isoTime(rec[18:25])}
	if rec[25]&2 != 0 {
		n.mode = fs.ModeDir | 0o755
	}
	if v.rockRidge {
		if use, err = v.readUse(rec); err != nil || use.moved {
			return n, at, use, err
		}
		if at, err = v.applyUse(n, at, use); err != nil {
			return n, at, use, err
		}
	}
	if n.name, err = cleanName(n.name); err != nil || n.mode&fs.ModeType != 0 {
		return n, at, use, err
	}
	if rec[26] != 0 || rec[27] != 0 {
		return n, at, use, fmt.Errorf("file %s is interleaved: %w", n.name, ErrFormat)
	}
	n.size = at.Len
	if at.Len > 0 {
		n.extents = []Extent{at}
	}
	return n, at, use, v.inside(n.name, at)
}

// name is an identifier as Linux shows it: Joliet's as it is, plain ones in
// lower case; both without version and trailing dot.
func (v *isoVolume) name(id []byte) string {
	s := strings.ToLower(string(id))
	if v.joliet {
		u := make([]uint16, len(id)/2)
		for i := range u {
			u[i] = binary.BigEndian.Uint16(id[2*i:])
		}
		s = string(utf16.Decode(u))
	}
	if i := strings.LastIndexByte(s, ';'); i > 0 {
		s = s[:i]
	}
	if len(s) > 1 {
		s = strings.TrimSuffix(s, ".")
	}
	return s
}

// isoTime is a recording date (ECMA-119 9.1.5).
func isoTime(b []byte) time.Time {
	if b[1] == 0 {
		return time.Time{}
	}
	zone := time.FixedZone("", int(int8(b[6]))*15*60)
	return time.Date(1900+int(b[0]), time.Month(b[1]), int(b[2]), int(b[3]), int(b[4]), int(b[5]), 0, zone).UTC()
}
