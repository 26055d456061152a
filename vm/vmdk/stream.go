package vmdk

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
)

// What a sparse extent is made of: grains of 64 KiB, each found through a
// table of 512 entries, each table through the directory.
const (
	GrainSize    = 64 << 10
	grainSectors = GrainSize / SectorSize
	tableEntries = 512
	magic        = 0x564d444b // "KDMV"
	atEnd        = ^uint64(0) // the directory is in the footer

	flagNewline    = 1 << 0
	flagRedundant  = 1 << 1 // the second copy of the tables is good
	flagCompressed = 1 << 16
	flagMarkers    = 1 << 17

	markEnd       = 0
	markTable     = 1
	markDirectory = 2
	markFooter    = 3

	descriptorAt    = 1  // sector
	descriptorRoom  = 20 // sectors
	overheadSectors = 128
)

// A header is the first sector of a sparse extent.
type header struct {
	Magic, Version, Flags                 uint32
	Capacity, Grain, Descriptor, Room     uint64
	Entries                               uint32
	Redundant, Directory, Overhead        uint64
	Unclean                               uint8
	Newline, Blank, Return, ReturnNewline uint8
	Compression                           uint16
	_                                     [433]byte
}

func (h *header) bytes() []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, h) // a buffer takes everything
	return b.Bytes()
}

// A Writer makes a stream-optimized image of what is written to it, in one
// pass and without seeking, so that it can go straight into an upload. Grains
// of zeros take no room. The caller writes the whole disk and closes it.
type Writer struct {
	w    io.Writer
	head header
	at   int64 // sectors written
	size int64
	in   int64 // bytes taken
	buf  []byte

	dir   []uint32
	table [tableEntries]uint32
	used  bool // the table has an entry
	grain int64
	z     *zlib.Writer
	zbuf  bytes.Buffer
	err   error
}

// NewWriter begins an image of a disk of size bytes, rounded up to a sector.
// name is the image's own file name, cid any number but NoParent.
func NewWriter(w io.Writer, name string, size int64, cid uint32) (*Writer, error) {
	if size <= 0 || size > MaxSize {
		return nil, invalidf("size %d", size)
	}
	sectors := (size + SectorSize - 1) / SectorSize
	s := &Writer{w: w, size: sectors * SectorSize, z: zlib.NewWriter(nil), buf: make([]byte, 0, GrainSize)}
	s.head = header{Magic: magic, Version: 3, Flags: flagNewline | flagCompressed | flagMarkers, Capacity: uint64(sectors), Grain: grainSectors,
		Descriptor: descriptorAt, Room: descriptorRoom, Entries: tableEntries, Directory: atEnd, Overhead: overheadSectors,
		Newline: '\n', Blank: ' ', Return: '\r', ReturnNewline: '\n', Compression: 1}
	d := &Descriptor{CID: cid, ParentCID: NoParent, CreateType: "streamOptimized",
		Extents: []Extent{{Access: "RW", Sectors: sectors, Type: "SPARSE", File: name}}, DDB: geometry(sectors)}
	text := d.Format()
	if len(text) > descriptorRoom*SectorSize {
		return nil, invalidf("name %q is too long", clip(name))
	}
	first := make([]byte, overheadSectors*SectorSize)
	copy(first, s.head.bytes())
	copy(first[descriptorAt*SectorSize:], text)
	s.put(first)
	return s, s.err
}

// put writes whole sectors.
func (s *Writer) put(b []byte) {
	if s.err != nil {
		return
	}
	_, s.err = s.w.Write(b)
	s.at += int64(len(b)) / SectorSize
}

// mark writes the sector that says what follows: so many sectors of a kind.
func (s *Writer) mark(sectors uint64, kind uint32) {
	b := make([]byte, SectorSize)
	binary.LittleEndian.PutUint64(b, sectors)
	binary.LittleEndian.PutUint32(b[12:], kind)
	s.put(b)
}

var errTooMuch = errors.New("more is written than the disk holds")

// Write takes the disk's next bytes.
func (s *Writer) Write(p []byte) (int, error) {
	if s.in+int64(len(p)) > s.size {
		return 0, errTooMuch
	}
	n := len(p)
	for len(p) > 0 && s.err == nil {
		k := min(GrainSize-len(s.buf), len(p))
		s.buf = append(s.buf, p[:k]...)
		p, s.in = p[k:], s.in+int64(k)
		if len(s.buf) == GrainSize {
			s.flush()
		}
	}
	return n, s.err
}

// Skip takes the disk's next n bytes for zeros.
func (s *Writer) Skip(n int64) error {
	if n < 0 || s.in+n > s.size {
		return errTooMuch
	}
	zeros := make([]byte, GrainSize)
	for n > 0 && s.err == nil {
		if len(s.buf) == 0 && n >= GrainSize {
			s.in, n = s.in+GrainSize, n-GrainSize
			s.next()
			continue
		}
		k := min(int64(GrainSize-len(s.buf)), n)
		if _, err := s.Write(zeros[:k]); err != nil {
			return err
		}
		n -= k
	}
	return s.err
}

// flush writes the grain that is full, or the last.
func (s *Writer) flush() {
	if !zero(s.buf) {
		grain := append(s.buf, make([]byte, GrainSize-len(s.buf))...)
		s.zbuf.Reset()
		s.zbuf.Write(make([]byte, 12))
		s.z.Reset(&s.zbuf)
		s.z.Write(grain) // a buffer takes everything
		s.z.Close()
		b := s.zbuf.Bytes()
		binary.LittleEndian.PutUint64(b, uint64(s.grain*grainSectors))
		binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-12))
		s.table[s.grain%tableEntries], s.used = uint32(s.at), true
		s.zbuf.Write(make([]byte, (SectorSize-len(b)%SectorSize)%SectorSize))
		s.put(s.zbuf.Bytes())
	}
	s.buf = s.buf[:0]
	s.next()
}

func (s *Writer) next() {
	s.grain++
	if s.grain%tableEntries == 0 {
		s.endTable()
	}
}

func (s *Writer) endTable() {
	if !s.used {
		s.dir = append(s.dir, 0)
		return
	}
	s.mark(tableEntries*4/SectorSize, markTable)
	s.dir = append(s.dir, uint32(s.at))
	s.put(words(s.table[:]))
	s.table, s.used = [tableEntries]uint32{}, false
}

// words are numbers as bytes, filled up to a sector.
func words(list []uint32) []byte {
	b := make([]byte, 0, (len(list)*4+SectorSize-1)/SectorSize*SectorSize)
	for _, v := range list {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b[:cap(b)]
}

func zero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Close writes what an image ends with. What was not written of the disk is
// zeros. It does not close the writer below.
func (s *Writer) Close() error {
	if len(s.buf) > 0 {
		s.flush()
	}
	for s.grain*GrainSize < s.size {
		s.next()
	}
	if s.grain%tableEntries != 0 {
		s.endTable()
	}
	dir := words(s.dir)
	s.mark(uint64(len(dir)/SectorSize), markDirectory)
	foot := s.head
	foot.Directory = uint64(s.at)
	s.put(dir)
	s.mark(1, markFooter)
	s.put(foot.bytes())
	s.mark(0, markEnd)
	return s.err
}
