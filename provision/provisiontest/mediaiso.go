package provisiontest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

// Names says how a medium spells its names.
type Names uint8

// The ways. VMware's own media of 5.0 and later are NamesUpper; media made
// again with mkisofs carry Rock Ridge, Joliet or both.
const (
	NamesUpper     Names = iota // upper case, version ";1", no extension
	NamesRockRidge              // as NamesUpper, with Rock Ridge's true names
	NamesJoliet                 // as NamesUpper, with a Joliet tree
	NamesBoth                   // all three
)

// A MediaFile is one file of a medium. Path is its name as true spelling has
// it ("efi/boot/boot.cfg"); Write fills it and writes Size bytes exactly.
type MediaFile struct {
	Path  string
	Size  int64
	Write func(io.Writer) error
}

// TextFile is a small file with the content given.
func TextFile(name, text string) MediaFile {
	return MediaFile{Path: name, Size: int64(len(text)), Write: func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}}
}

// An ISO is an ISO 9660 image to write.
type ISO struct {
	Volume string
	Names  Names
	Files  []MediaFile

	// Extent is the most that one extent holds; larger files take several, as
	// those over 4 GiB must. Zero is the 4 GiB of the format.
	Extent int64
}

// WriteISO writes an ISO 9660 image (ECMA-119, levels 1 to 3 by what its names
// and sizes need) with the files given. The same files make the same bytes.
func WriteISO(file string, image ISO) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := newISO(image).write(w); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return w.Flush()
}

const sector = 2048

// maxExtent is the most that one directory record can hold; larger files take
// several (ECMA-119 6.5.1). 4 GiB less one sector keeps extents aligned.
const maxExtent = 1<<32 - sector

type isoWriter struct {
	ISO
	trees []*isoTree // the plain one, then Joliet's
	lba   uint32     // next free sector
}

// An isoTree is one spelling of the medium's names.
type isoTree struct {
	joliet    bool
	rockRidge bool
	dirs      []*isoDir // breadth first, the root first
	pathTable uint32    // little-endian; the big-endian one follows it
	tableSize int
}

type isoDir struct {
	name   string // true spelling
	id     []byte // as recorded
	parent *isoDir
	number uint16
	kids   []*isoEntry
	lba    uint32
	size   int
}

type isoEntry struct {
	name string
	id   []byte
	dir  *isoDir // nil for a file
	file int     // index into Files

	extents []isoExtent
}

type isoExtent struct{ lba, size uint32 }

func newISO(image ISO) *isoWriter {
	w := &isoWriter{ISO: image}
	if w.Extent == 0 {
		w.Extent = maxExtent
	}
	w.trees = append(w.trees, newTree(w.Files, false, w.Names == NamesRockRidge || w.Names == NamesBoth))
	if w.Names == NamesJoliet || w.Names == NamesBoth {
		w.trees = append(w.trees, newTree(w.Files, true, false))
	}
	w.layout()
	return w
}

func newTree(files []MediaFile, joliet, rockRidge bool) *isoTree {
	t := &isoTree{joliet: joliet, rockRidge: rockRidge}
	root := &isoDir{id: []byte{0}}
	root.parent = root
	byPath := map[string]*isoDir{".": root}
	var dir func(p string) *isoDir
	dir = func(p string) *isoDir {
		if d := byPath[p]; d != nil {
			return d
		}
		up := dir(path.Dir(p))
		d := &isoDir{name: path.Base(p), parent: up}
		byPath[p] = d
		up.kids = append(up.kids, &isoEntry{name: d.name, dir: d})
		return d
	}
	for i, f := range files {
		d := dir(path.Dir(f.Path))
		d.kids = append(d.kids, &isoEntry{name: path.Base(f.Path), file: i})
	}
	t.dirs = []*isoDir{root}
	for i := 0; i < len(t.dirs); i++ {
		t.dirs[i].number = uint16(i + 1)
		t.name(t.dirs[i])
		for _, e := range t.dirs[i].kids {
			if e.dir != nil {
				t.dirs = append(t.dirs, e.dir)
			}
		}
	}
	return t
}

// name gives every entry of a directory its identifier, unique in it, and
// sorts them as ECMA-119 9.3 wants.
func (t *isoTree) name(d *isoDir) {
	taken := map[string]bool{}
	for _, e := range d.kids {
		id := t.identifier(e.name, e.dir != nil, 0)
		for n := 1; taken[string(id)]; n++ {
			id = t.identifier(e.name, e.dir != nil, n)
		}
		taken[string(id)] = true
		e.id = id
		if e.dir != nil {
			e.dir.id = id
		}
	}
	slices.SortFunc(d.kids, func(a, b *isoEntry) int { return slices.Compare(a.id, b.id) })
}

// identifier is a name as ISO 9660 or Joliet records it; n over 0 makes it
// another one, for names that are cut alike.
func (t *isoTree) identifier(name string, dir bool, n int) []byte {
	if t.joliet {
		return ucs2(name)
	}
	upper := strings.Map(dCharacter, strings.ToUpper(name))
	stem, ext := upper, ""
	if i := strings.LastIndexByte(upper, '.'); i >= 0 && !dir {
		stem, ext = upper[:i], upper[i+1:]
	}
	stem = strings.ReplaceAll(stem, ".", "_")
	if t.rockRidge { // the true name is elsewhere: level 1
		stem, ext = stem[:min(8, len(stem))], ext[:min(3, len(ext))]
	}
	if n > 0 {
		tail := fmt.Sprint(n)
		stem = stem[:min(len(stem), 8-len(tail))] + tail
	}
	if dir {
		return []byte(stem)
	}
	return []byte(stem + "." + ext + ";1")
}

// dCharacter maps to what ECMA-119 7.4.1 allows, and '.' and '-', which real
// media use all the same ("VMWARE-ESX-BASE-README").
func dCharacter(r rune) rune {
	if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-' {
		return r
	}
	return '_'
}

func ucs2(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return b
}

// layout gives every directory and file its sectors.
func (w *isoWriter) layout() {
	w.lba = 16 + uint32(len(w.trees)) + 1
	for _, t := range w.trees {
		t.place(func(e *isoEntry) { e.extents = make([]isoExtent, w.parts(e.file)) })
		for _, d := range t.dirs {
			t.tableSize += 8 + len(d.id) + len(d.id)&1
		}
		t.pathTable = w.take(int64(t.tableSize))
		w.take(int64(t.tableSize))
		for _, d := range t.dirs {
			d.size = t.dirSize(d)
			d.lba = w.take(int64(d.size))
		}
	}
	where := make([][]isoExtent, len(w.Files))
	for i := range w.Files {
		where[i] = w.extents(i)
	}
	for _, t := range w.trees {
		t.place(func(e *isoEntry) { e.extents = where[e.file] })
	}
}

// parts is how many extents a file takes.
func (w *isoWriter) parts(file int) int64 {
	return max(1, (w.Files[file].Size+w.Extent-1)/w.Extent)
}

func (w *isoWriter) take(size int64) uint32 {
	at := w.lba
	w.lba += uint32((size + sector - 1) / sector)
	return at
}

func (w *isoWriter) extents(file int) []isoExtent {
	size := w.Files[file].Size
	out := make([]isoExtent, w.parts(file))
	for i := range out {
		part := min(size, w.Extent)
		out[i] = isoExtent{w.take(part), uint32(part)}
		size -= part
	}
	return out
}

func (t *isoTree) place(fn func(e *isoEntry)) {
	for _, d := range t.dirs {
		for _, e := range d.kids {
			if e.dir == nil {
				fn(e)
			}
		}
	}
}

// records are the directory records of d, each as it stands on the medium.
func (t *isoTree) records(d *isoDir) [][]byte {
	out := [][]byte{
		t.record([]byte{0}, d.lba, uint32(d.size), 2, t.selfUse(d)),
		t.record([]byte{1}, d.parent.lba, uint32(d.parent.size), 2, t.use("", true)),
	}
	for _, e := range d.kids {
		if e.dir != nil {
			out = append(out, t.record(e.id, e.dir.lba, uint32(e.dir.size), 2, t.use(e.name, true)))
			continue
		}
		for i, x := range e.extents {
			var flags byte
			if i+1 < len(e.extents) {
				flags = 0x80 // more of it follows
			}
			out = append(out, t.record(e.id, x.lba, x.size, flags, t.use(e.name, false)))
		}
	}
	return out
}

func (t *isoTree) record(id []byte, at, size uint32, flags byte, use []byte) []byte {
	n := 33 + len(id) + (1 - len(id)&1)
	b := make([]byte, n+len(use)+len(use)&1)
	b[0] = byte(len(b))
	both32(b[2:], at)
	both32(b[10:], size)
	copy(b[18:], []byte{120, 1, 2, 3, 4, 5, 0})
	b[25] = flags
	both16(b[28:], 1)
	b[32] = byte(len(id))
	copy(b[33:], id)
	copy(b[n:], use)
	return b
}

// selfUse is the system use area of a directory's own record; the root's
// announces SUSP (5.3) and Rock Ridge (5.5).
func (t *isoTree) selfUse(d *isoDir) []byte {
	if !t.rockRidge || d.parent != d {
		return t.use("", true)
	}
	b := append([]byte{'S', 'P', 7, 1, 0xbe, 0xef, 0}, t.use("", true)...)
	return append(append(b, 'E', 'R', 18, 1, 10, 0, 0, 1), "RRIP_1991A"...)
}

// use is the Rock Ridge part of a record: PX (4.1.1) and NM (4.1.4).
func (t *isoTree) use(name string, dir bool) []byte {
	if !t.rockRidge {
		return nil
	}
	px := make([]byte, 36)
	copy(px, []byte{'P', 'X', 36, 1})
	mode := uint32(0o100444)
	if dir {
		mode = 0o040555
	}
	both32(px[4:], mode)
	both32(px[12:], 1)
	if name == "" {
		return px
	}
	return append(append(px, 'N', 'M', byte(5+len(name)), 1, 0), name...)
}

// dirSize is how many bytes d's records take: none crosses a sector.
func (t *isoTree) dirSize(d *isoDir) int {
	n := 0
	for _, r := range t.records(d) {
		if n%sector+len(r) > sector {
			n = (n/sector + 1) * sector
		}
		n += len(r)
	}
	return (n + sector - 1) / sector * sector
}

func both32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

func both16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func (w *isoWriter) write(out io.Writer) error {
	p := &padWriter{w: out}
	p.Write(make([]byte, 16*sector))
	for _, t := range w.trees {
		p.Write(w.descriptor(t))
	}
	p.Write(append([]byte{255}, "CD001\x01"...))
	p.pad()
	for _, t := range w.trees {
		p.Write(t.table(binary.LittleEndian))
		p.pad()
		p.Write(t.table(binary.BigEndian))
		p.pad()
		for _, d := range t.dirs {
			for _, r := range t.records(d) {
				if p.n%sector+int64(len(r)) > sector {
					p.pad()
				}
				p.Write(r)
			}
			p.pad()
		}
	}
	for _, f := range w.Files {
		start := p.n
		if err := f.Write(p); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if p.n-start != f.Size {
			return fmt.Errorf("%s: wrote %d bytes, said %d", f.Path, p.n-start, f.Size)
		}
		p.pad()
	}
	return p.err
}

// descriptor is a primary or supplementary volume descriptor (ECMA-119 8.4, 8.5).
func (w *isoWriter) descriptor(t *isoTree) []byte {
	b := make([]byte, sector)
	b[0] = 1
	copy(b[1:], "CD001\x01")
	for i := 8; i < 72; i++ {
		b[i] = ' '
	}
	volume := []byte(w.Volume)
	if t.joliet {
		b[0] = 2
		copy(b[88:], "%/E") // UCS-2 level 3
		volume = ucs2(w.Volume)
	}
	copy(b[40:72], volume)
	both32(b[80:], w.lba)
	both16(b[120:], 1)
	both16(b[124:], 1)
	both16(b[128:], sector)
	both32(b[132:], uint32(t.tableSize))
	tableSectors := uint32((t.tableSize + sector - 1) / sector)
	binary.LittleEndian.PutUint32(b[140:], t.pathTable)
	binary.BigEndian.PutUint32(b[148:], t.pathTable+tableSectors)
	copy(b[156:190], (&isoTree{}).record([]byte{0}, t.dirs[0].lba, uint32(t.dirs[0].size), 2, nil))
	b[881] = 1
	return b
}

// table is the path table (ECMA-119 9.4) in one byte order.
func (t *isoTree) table(order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range t.dirs {
		b = append(b, byte(len(d.id)), 0)
		b = order.AppendUint32(b, d.lba)
		b = order.AppendUint16(b, d.parent.number)
		b = append(b, d.id...)
		b = append(b, make([]byte, len(d.id)&1)...)
	}
	return b
}

// A padWriter counts and remembers the first error.
type padWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (p *padWriter) Write(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.w.Write(b)
	p.n += int64(n)
	p.err = err
	return n, err
}

func (p *padWriter) pad() {
	if r := p.n % sector; r != 0 {
		p.Write(make([]byte, sector-r))
	}
}
