package vmdk

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Formats are all that Convert writes.
func Formats() []string {
	return []string{"vmfs", "streamOptimized", "monolithicSparse", "monolithicFlat", "2gbsparse", "2gbflat", FormatQCOW2, FormatVDI, FormatRaw}
}

// Extension is what files of a format are called.
func Extension(format string) string {
	switch format {
	case FormatQCOW2, FormatVDI, FormatRaw:
		return "." + format
	}
	return ".vmdk"
}

// createTypes are the formats' names in descriptors.
var createTypes = map[string]string{"vmfs": "vmfs", "streamOptimized": "streamOptimized", "monolithicSparse": "monolithicSparse",
	"monolithicFlat": "monolithicFlat", "2gbsparse": "twoGbMaxExtentSparse", "2gbflat": "twoGbMaxExtentFlat"}

// ParseFormat reads the name of a format, in any case; a descriptor's own name
// for one is good too, and so are "flat" for vmfs and "vmdk" for
// monolithicSparse.
func ParseFormat(s string) (string, error) {
	switch strings.ToLower(s) {
	case "flat":
		return "vmfs", nil
	case "vmdk":
		return "monolithicSparse", nil
	case "stream":
		return "streamOptimized", nil
	}
	for _, f := range Formats() {
		if strings.EqualFold(s, f) || strings.EqualFold(s, createTypes[f]) {
			return f, nil
		}
	}
	return "", fmt.Errorf("format %q is unknown; there are %s", s, strings.Join(Formats(), ", "))
}

// A split disk's files are at most so large: 2 GB, less a little, for file
// systems that end there.
const splitSectors = 2047 << 20 / SectorSize

// maxSparse is the largest disk that a sparse image of VMware's hosted
// products can be.
const maxSparse = 2 << 40

// Convert writes a disk in another format, into new files of a folder, and
// returns their names, the first of which is the disk. Files that are there
// are not written over; nothing is left of a conversion that fails. progress
// may be nil.
func Convert(d Disk, dir, name, format string, progress func(done, total int64)) (files []string, err error) {
	if d.Size() <= 0 || d.Size() > MaxSize {
		return nil, invalidf("size %d", d.Size())
	}
	if (format == "monolithicSparse" || format == "2gbsparse") && d.Size() > maxSparse {
		return nil, invalidf("%s holds 2 TB, not %d bytes", format, d.Size())
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	c := &conversion{root: root, d: d, name: name, progress: progress}
	defer func() {
		err = c.end(err)
		if err != nil {
			for _, f := range c.files {
				root.Remove(f)
			}
			files = nil
		}
	}()
	err = c.run(format)
	return c.names(), err
}

// A conversion is one that runs.
type conversion struct {
	root     *os.Root
	d        Disk
	name     string
	progress func(done, total int64)
	files    []string // that were made
	open     []*os.File
}

// names are the files with the disk itself first.
func (c *conversion) names() []string {
	if i := slices.Index(c.files, c.name); i > 0 {
		return append([]string{c.name}, slices.Delete(slices.Clone(c.files), i, i+1)...)
	}
	return c.files
}

func (c *conversion) create(name string) (*os.File, error) {
	if name != filepath.Base(name) {
		return nil, fmt.Errorf("%q is no file name", name)
	}
	f, err := c.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	c.files, c.open = append(c.files, name), append(c.open, f)
	return f, nil
}

// end closes all files; what was written is on the disk then.
func (c *conversion) end(err error) error {
	for _, f := range c.open {
		if err == nil {
			err = f.Sync()
		}
		if e := f.Close(); err == nil {
			err = e
		}
	}
	return err
}

// grains passes the disk's grains on, and how far it is.
func (c *conversion) grains(put func(off int64, p []byte) error) error {
	return c.d.Grains(func(off int64, p []byte) error {
		if c.progress != nil {
			c.progress(off, c.d.Size())
		}
		return put(off, p)
	})
}

func (c *conversion) run(format string) error {
	switch format {
	case "streamOptimized":
		return c.stream()
	case "vmfs", "monolithicFlat", "2gbflat":
		return c.flat(format)
	case "monolithicSparse":
		return c.sparse()
	case "2gbsparse":
		return c.split()
	}
	f, err := c.create(c.name)
	if err != nil {
		return err
	}
	switch format {
	case FormatRaw:
		if err := f.Truncate(c.d.Size()); err != nil {
			return err
		}
		return c.grains(func(off int64, p []byte) error { _, err := f.WriteAt(p, off); return err })
	case FormatQCOW2:
		q := newQCOW2(f, c.d.Size())
		if err := c.grains(q.put); err != nil {
			return err
		}
		return q.close()
	case FormatVDI:
		v := newVDI(f, c.d.Size())
		if err := c.grains(v.put); err != nil {
			return err
		}
		return v.close()
	}
	return fmt.Errorf("format %q is unknown", format)
}

func newCID() uint32 {
	var b [4]byte
	rand.Read(b[:])
	if n := binary.LittleEndian.Uint32(b[:]); n < NoParent-1 {
		return n
	}
	return 1
}

func (c *conversion) stream() error {
	f, err := c.create(c.name)
	if err != nil {
		return err
	}
	return Stream(c.d, f, c.name, newCID(), c.progress)
}

// Stream writes a disk as a stream-optimized image, in one pass.
func Stream(d Disk, w io.Writer, name string, cid uint32, progress func(done, total int64)) error {
	s, err := NewWriter(w, name, d.Size(), cid)
	if err != nil {
		return err
	}
	err = d.Grains(func(off int64, p []byte) error {
		if progress != nil {
			progress(off, d.Size())
		}
		if err := s.Skip(off - s.in); err != nil {
			return err
		}
		_, err := s.Write(p)
		return err
	})
	if err != nil {
		return err
	}
	return s.Close()
}

// describe writes the descriptor, last: without it the rest is no disk.
func (c *conversion) describe(d *Descriptor) error {
	f, err := c.create(c.name)
	if err != nil {
		return err
	}
	_, err = f.Write(d.Format())
	return err
}

func (c *conversion) stem() string { return strings.TrimSuffix(c.name, ".vmdk") }

// flat writes descriptor and data, in one file or in several.
func (c *conversion) flat(format string) error {
	sectors := c.d.Size() / SectorSize
	d := &Descriptor{CID: newCID(), ParentCID: NoParent, CreateType: createTypes[format], DDB: geometry(sectors)}
	each, kind := sectors, "FLAT"
	if format == "vmfs" {
		kind = "VMFS"
	}
	if format == "2gbflat" {
		each = splitSectors
	}
	var parts []*os.File
	for at := int64(0); at < sectors; at += each {
		name := c.stem() + "-flat.vmdk"
		if format == "2gbflat" {
			name = fmt.Sprintf("%s-f%03d.vmdk", c.stem(), len(parts)+1)
		}
		f, err := c.create(name)
		if err != nil {
			return err
		}
		n := min(each, sectors-at)
		if err := f.Truncate(n * SectorSize); err != nil {
			return err
		}
		parts = append(parts, f)
		d.Extents = append(d.Extents, Extent{Access: "RW", Sectors: n, Type: kind, File: name})
	}
	err := c.grains(func(off int64, p []byte) error {
		for len(p) > 0 {
			i, in := off/(each*SectorSize), off%(each*SectorSize)
			k := min(int64(len(p)), each*SectorSize-in)
			if _, err := parts[i].WriteAt(p[:k], in); err != nil {
				return err
			}
			p, off = p[k:], off+k
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.describe(d)
}

// sparse writes one file with its descriptor in it.
func (c *conversion) sparse() error {
	sectors := c.d.Size() / SectorSize
	d := &Descriptor{CID: newCID(), ParentCID: NoParent, CreateType: "monolithicSparse",
		Extents: []Extent{{Access: "RW", Sectors: sectors, Type: "SPARSE", File: c.name}}, DDB: geometry(sectors)}
	f, err := c.create(c.name)
	if err != nil {
		return err
	}
	w, err := newSparseWriter(f, sectors, d.Format())
	if err != nil {
		return err
	}
	if err := c.grains(w.put); err != nil {
		return err
	}
	return w.close()
}

// split writes a descriptor and a file for each 2 GB.
func (c *conversion) split() error {
	sectors := c.d.Size() / SectorSize
	d := &Descriptor{CID: newCID(), ParentCID: NoParent, CreateType: "twoGbMaxExtentSparse", DDB: geometry(sectors)}
	var parts []*sparseWriter
	for at := int64(0); at < sectors; at += splitSectors {
		name := fmt.Sprintf("%s-s%03d.vmdk", c.stem(), len(parts)+1)
		f, err := c.create(name)
		if err != nil {
			return err
		}
		n := min(int64(splitSectors), sectors-at)
		w, err := newSparseWriter(f, n, nil)
		if err != nil {
			return err
		}
		parts = append(parts, w)
		d.Extents = append(d.Extents, Extent{Access: "RW", Sectors: n, Type: "SPARSE", File: name})
	}
	const each = splitSectors * SectorSize // a whole number of grains
	err := c.grains(func(off int64, p []byte) error { return parts[off/each].put(off%each, p) })
	if err != nil {
		return err
	}
	for _, w := range parts {
		if err := w.close(); err != nil {
			return err
		}
	}
	return c.describe(d)
}

// A sparseWriter makes a sparse extent: header, descriptor, the tables twice,
// and the grains behind them as they come.
type sparseWriter struct {
	w      io.WriterAt
	head   header
	text   []byte
	tables int64
	table  []uint32 // of all grains
	next   int64    // sector that is free
}

func newSparseWriter(w io.WriterAt, sectors int64, text []byte) (*sparseWriter, error) {
	s := &sparseWriter{w: w, text: text, tables: (sectors + grainSectors*tableEntries - 1) / (grainSectors * tableEntries)}
	s.table = make([]uint32, s.tables*tableEntries)
	s.head = header{Magic: magic, Version: 1, Flags: flagNewline | flagRedundant, Capacity: uint64(sectors), Grain: grainSectors, Entries: tableEntries,
		Newline: '\n', Blank: ' ', Return: '\r', ReturnNewline: '\n'}
	at := int64(1)
	if text != nil {
		if len(text) > descriptorRoom*SectorSize {
			return nil, invalidf("the name is too long")
		}
		s.head.Descriptor, s.head.Room = descriptorAt, descriptorRoom
		at += descriptorRoom
	}
	dir := (s.tables*4 + SectorSize - 1) / SectorSize
	each := dir + s.tables*tableEntries*4/SectorSize
	s.head.Redundant, s.head.Directory = uint64(at), uint64(at+each)
	s.next = (at + 2*each + grainSectors - 1) / grainSectors * grainSectors
	s.head.Overhead = uint64(s.next)
	return s, nil
}

// put takes a grain; they come in order.
func (s *sparseWriter) put(off int64, p []byte) error {
	if len(p) < GrainSize {
		p = append(p[:len(p):len(p)], make([]byte, GrainSize-len(p))...)
	}
	if _, err := s.w.WriteAt(p, s.next*SectorSize); err != nil {
		return err
	}
	s.table[off/GrainSize] = uint32(s.next)
	s.next += grainSectors
	return nil
}

// close writes both copies of the tables, the descriptor and the header.
func (s *sparseWriter) close() error {
	dirSectors := (s.tables*4 + SectorSize - 1) / SectorSize
	for _, at := range []uint64{s.head.Redundant, s.head.Directory} {
		dir := make([]uint32, s.tables)
		for i := range dir {
			dir[i] = uint32(int64(at) + dirSectors + int64(i)*tableEntries*4/SectorSize)
		}
		if _, err := s.w.WriteAt(append(words(dir), words(s.table)...), int64(at)*SectorSize); err != nil {
			return err
		}
	}
	if s.text != nil {
		room := make([]byte, descriptorRoom*SectorSize)
		copy(room, s.text)
		if _, err := s.w.WriteAt(room, descriptorAt*SectorSize); err != nil {
			return err
		}
	}
	// An extent without a grain is as long as its tables all the same.
	if s.next == int64(s.head.Overhead) {
		if _, err := s.w.WriteAt([]byte{0}, s.next*SectorSize-1); err != nil {
			return err
		}
	}
	_, err := s.w.WriteAt(s.head.bytes(), 0)
	return err
}
