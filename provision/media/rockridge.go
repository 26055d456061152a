package media

import (
	"fmt"
	"io/fs"
)

// A systemUse is what a record's system use area says (SUSP 1.12, RRIP 1.12).
type systemUse struct {
	name    string // NM
	hasName bool
	mode    uint32 // PX, POSIX's
	hasMode bool
	link    linkPath // SL
	child   int64    // CL: the block where this directory really is; 0: here
	moved   bool     // RE: seen from its real parent by CL
}

// detectRockRidge: SUSP is announced by an SP entry in the root's own record.
func (v *isoVolume) detectRockRidge() {
	root := v.dirExtent(v.rootRec)
	b, err := v.bytes(root.Off, min(root.Len, 255))
	if err != nil || len(b) < 34 {
		return
	}
	use := useArea(b[:min(int(b[0]), len(b))], 0)
	if len(use) >= 7 && string(use[:2]) == "SP" && use[4] == 0xbe && use[5] == 0xef {
		v.rockRidge, v.skip = true, int(use[6])
	}
}

// useArea is what follows the identifier of a record.
func useArea(rec []byte, skip int) []byte {
	if len(rec) < 34 {
		return nil
	}
	at := 33 + int(rec[32])
	at += at & 1 // padded to an even length (ECMA-119 9.1.12)
	if at += skip; at >= len(rec) {
		return nil
	}
	return rec[at:]
}

// maxContinuations is how often a system use area may go on elsewhere.
const maxContinuations = 64

func (v *isoVolume) readUse(rec []byte) (u systemUse, err error) {
	area := useArea(rec, v.skip)
	for range maxContinuations {
		var next []byte
		for len(area) >= 4 && int(area[2]) >= 4 && int(area[2]) <= len(area) {
			e := area[:area[2]]
			area = area[area[2]:]
			switch string(e[:2]) {
			case "CE":
				if next, err = v.continuation(e); err != nil {
					return u, err
				}
			case "ST":
				area = nil
			default:
				if err := u.take(e); err != nil {
					return u, err
				}
			}
		}
		if next == nil {
			return u, nil
		}
		area = next
	}
	return u, fmt.Errorf("system use area without end: %w", ErrFormat)
}

// continuation is the area that a CE entry points to (SUSP 5.1).
func (v *isoVolume) continuation(e []byte) ([]byte, error) {
	if len(e) < 28 {
		return nil, fmt.Errorf("short CE entry: %w", ErrFormat)
	}
	n := int64(le.Uint32(e[20:]))
	if n > sector*16 {
		return nil, fmt.Errorf("CE entry of %d bytes: %w", n, ErrFormat)
	}
	return v.bytes(int64(le.Uint32(e[4:]))*v.block+int64(le.Uint32(e[12:])), n)
}

// take takes one entry.
func (u *systemUse) take(e []byte) error {
	switch string(e[:2]) {
	case "NM":
		if len(e) > 5 && e[4]&6 == 0 { // 2 and 4 stand for . and ..
			u.name, u.hasName = u.name+string(e[5:]), true
		}
	case "PX":
		if len(e) >= 12 {
			u.mode, u.hasMode = le.Uint32(e[4:]), true
		}
	case "SL":
		if len(e) > 5 {
			u.link.add(e[5:])
		}
	case "CL":
		if len(e) >= 12 {
			u.child = int64(le.Uint32(e[4:]))
		}
	case "RE":
		u.moved = true
	case "ZF":
		return fmt.Errorf("files are compressed by zisofs, which is not supported: %w", ErrFormat)
	}
	return nil
}

// A linkPath puts a link's target together from SL entries (RRIP 4.1.3).
type linkPath struct {
	text  string
	joins bool // the next component belongs to the last one
}

func (l *linkPath) add(b []byte) {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		flags, part := b[0], string(b[2:2+int(b[1])])
		b = b[2+int(b[1]):]
		switch {
		case flags&2 != 0:
			part = "."
		case flags&4 != 0:
			part = ".."
		case flags&8 != 0:
			l.text, l.joins = "/", false
			continue
		}
		if l.text != "" && l.text != "/" && !l.joins {
			l.text += "/"
		}
		l.text += part
		l.joins = flags&1 != 0
	}
}

// applyUse puts into n what the system use area says, and returns where its
// data lies: a relocated directory's is elsewhere.
func (v *isoVolume) applyUse(n *node, at Extent, u systemUse) (Extent, error) {
	if u.hasName {
		n.name = u.name
	}
	if u.child != 0 {
		return v.relocated(n, u.child)
	}
	if !u.hasMode {
		return at, nil
	}
	dir := n.mode.IsDir()
	n.mode = fs.FileMode(u.mode & 0o777)
	switch u.mode & 0o170000 {
	case 0o100000, 0:
	case 0o040000:
	case 0o120000:
		n.mode, n.link, n.size = fs.ModeSymlink|0o777, u.link.text, int64(len(u.link.text))
	default:
		n.mode |= fs.ModeIrregular
	}
	if dir { // ISO 9660's own flag decides what is read as a directory
		n.mode = n.mode.Perm() | fs.ModeDir
	}
	return at, nil
}

// relocated makes n the directory that a CL entry points to; its own "."
// record says how long it is.
func (v *isoVolume) relocated(n *node, block int64) (Extent, error) {
	b, err := v.bytes(block*v.block, 34)
	if err != nil {
		return Extent{}, err
	}
	n.mode = fs.ModeDir | 0o755
	return Extent{block * v.block, int64(le.Uint32(b[10:]))}, nil
}

// dropMoved leaves out the directory that writers put deep directories in
// (RRIP 4.1.5), once all in it has been seen from its real place.
func (v *isoVolume) dropMoved() {
	if !v.rockRidge {
		return
	}
	kids := v.root.kids[:0]
	for _, k := range v.root.kids {
		moved := k.name == "rr_moved" || k.name == ".rr_moved" || k.name == "RR_MOVED"
		if !moved || !k.mode.IsDir() || len(k.kids) > 0 {
			kids = append(kids, k)
		}
	}
	v.root.kids = kids
}
