package vmdk

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"io"
	"io/fs"
)

// An Image is a disk to be read. It is for many goroutines.
type Image struct {
	Descriptor *Descriptor
	embedded   bool
	size       int64
	extents    []extent
}

// An extent is a stretch of the disk.
type extent struct {
	start, size int64
	r           reader
	close       io.Closer
}

type reader interface {
	// readAt reads within the extent; zeros are said not to be there at all.
	readAt(p []byte, off int64) error
	// hole says whether the grain at off is zeros, without reading it.
	hole(off int64) bool
}

// Open opens the image whose descriptor, or whose one file, is called name.
// Linked disks, which are nothing without their parents, are refused.
func Open(fsys fs.FS, name string) (*Image, error) {
	f, size, err := open(fsys, name)
	if err != nil {
		return nil, err
	}
	d, embedded, err := describe(f, size)
	if err != nil {
		f.Close()
		return nil, err
	}
	if d.ParentCID != NoParent || d.ParentHint != "" {
		f.Close()
		return nil, invalidf("%s is linked to %q and holds only what differs from it", name, d.ParentHint)
	}
	img := &Image{Descriptor: d, embedded: embedded}
	if embedded {
		err = img.add(d.Extents[0], f, size)
	} else {
		f.Close()
		for _, e := range d.Extents {
			if err = img.openExtent(fsys, e); err != nil {
				break
			}
		}
	}
	if err != nil {
		img.Close()
		return nil, err
	}
	return img, nil
}

type file interface {
	io.ReaderAt
	io.Closer
}

func open(fsys fs.FS, name string) (file, int64, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	ra, ok := f.(file)
	if !ok {
		f.Close()
		return nil, 0, invalidf("%s cannot be read at any place", name)
	}
	return ra, st.Size(), nil
}

// describe reads the descriptor: the file itself, or a part of it.
func describe(f file, size int64) (d *Descriptor, embedded bool, err error) {
	h, err := readHeader(f, 0)
	if err != nil {
		b := make([]byte, min(size, 64<<10))
		if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
			return nil, false, err
		}
		d, err = ParseDescriptor(b)
		return d, false, err
	}
	if h.Descriptor == 0 || h.Room == 0 || h.Room > 2048 || h.Descriptor > 1<<20 {
		return nil, false, invalidf("the extent of an image; open its descriptor")
	}
	b := make([]byte, h.Room*SectorSize)
	if _, err := f.ReadAt(b, int64(h.Descriptor)*SectorSize); err != nil && err != io.EOF {
		return nil, false, err
	}
	if d, err = ParseDescriptor(b); err != nil {
		return nil, false, err
	}
	if len(d.Extents) != 1 {
		return nil, false, invalidf("%d extents in one file", len(d.Extents))
	}
	return d, true, nil
}

func (img *Image) openExtent(fsys fs.FS, e Extent) error {
	if e.Type == "ZERO" {
		return img.add(e, nil, 0)
	}
	f, size, err := open(fsys, e.File)
	if err != nil {
		return err
	}
	if err := img.add(e, f, size); err != nil {
		f.Close()
		return err
	}
	return nil
}

func (img *Image) add(e Extent, f file, size int64) error {
	x := extent{start: img.size, size: e.Sectors * SectorSize}
	switch e.Type {
	case "ZERO":
		x.r = nothing{}
	case "VMFS", "FLAT":
		off := e.Offset * SectorSize
		if size-off < x.size {
			return invalidf("%s has %d bytes of %d", e.File, size-off, x.size)
		}
		x.r, x.close = &flat{r: f, off: off, size: x.size, holes: holes{f: f}}, f
	case "SPARSE":
		s, err := newSparse(f, size, x.size)
		if err != nil {
			return err
		}
		x.r, x.close = s, f
	default:
		return invalidf("extents of type %s are not read", e.Type)
	}
	img.size += x.size
	img.extents = append(img.extents, x)
	return nil
}

// Embedded says whether the image is one file, which holds its descriptor.
func (img *Image) Embedded() bool { return img.embedded }

// Size is the disk's size in bytes.
func (img *Image) Size() int64 { return img.size }

// Close closes the image's files.
func (img *Image) Close() error {
	var err error
	for _, x := range img.extents {
		if x.close != nil {
			if e := x.close.Close(); err == nil {
				err = e
			}
		}
	}
	return err
}

// ReadAt reads the disk.
func (img *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, invalidf("offset %d", off)
	}
	n := 0
	for _, x := range img.extents {
		if n == len(p) {
			return n, nil
		}
		at := off + int64(n) - x.start
		if at < 0 || at >= x.size {
			continue
		}
		k := int(min(int64(len(p)-n), x.size-at))
		if err := x.r.readAt(p[n:n+k], at); err != nil {
			return n, err
		}
		n += k
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Grains calls fn with each stretch of at most GrainSize bytes that is not
// zeros, in order.
func (img *Image) Grains(fn func(off int64, p []byte) error) error { return grains(img, fn) }

func (img *Image) hole(off int64) bool {
	for _, x := range img.extents {
		if off >= x.start && off+GrainSize <= x.start+x.size {
			return x.r.hole(off - x.start)
		}
	}
	return false // it lies across two, or at the end
}

// Stream writes the disk as a stream-optimized image.
func (img *Image) Stream(w io.Writer, name string, cid uint32) error {
	return Stream(img, w, name, cid, nil)
}

// Flat writes the disk's data at their places; the rest of w is to be zeros,
// as a new file of the disk's size is.
func (img *Image) Flat(w io.WriterAt) error {
	return img.Grains(func(off int64, p []byte) error {
		_, err := w.WriteAt(p, off)
		return err
	})
}

type nothing struct{}

func (nothing) readAt(p []byte, _ int64) error { clear(p); return nil }
func (nothing) hole(int64) bool                { return true }

type flat struct {
	r         io.ReaderAt
	off, size int64
	holes     holes
}

func (f *flat) readAt(p []byte, off int64) error {
	_, err := f.r.ReadAt(p, f.off+off)
	if err == io.EOF {
		err = nil
	}
	return err
}

func (f *flat) hole(off int64) bool {
	return f.holes.at(f.off+off, f.off+min(off+GrainSize, f.size))
}

// A sparse extent, with its directory in memory: four bytes for each 32 MiB.
type sparse struct {
	r          io.ReaderAt
	size       int64 // of the file
	grain      int64 // bytes
	entries    int64
	compressed bool
	dir        []uint32
}

func readHeader(r io.ReaderAt, off int64) (*header, error) {
	b := make([]byte, SectorSize)
	if _, err := r.ReadAt(b, off); err != nil {
		return nil, invalidf("no header: %v", err)
	}
	var h header
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &h); err != nil || h.Magic != magic {
		return nil, invalidf("no sparse extent")
	}
	return &h, nil
}

func newSparse(f file, size, want int64) (*sparse, error) {
	h, err := readHeader(f, 0)
	if err != nil {
		return nil, err
	}
	if h.Directory == atEnd { // the footer is before the last marker
		if h, err = readHeader(f, size-2*SectorSize); err != nil {
			return nil, err
		}
	}
	if h.Newline != '\n' || h.Blank != ' ' || h.Return != '\r' || h.ReturnNewline != '\n' {
		return nil, invalidf("line ends were changed; it was copied as text")
	}
	if h.Grain < 8 || h.Grain > 2048 || h.Grain&(h.Grain-1) != 0 || h.Entries == 0 || h.Entries > 4096 || h.Compression > 1 {
		return nil, invalidf("grains of %d sectors, %d to a table", h.Grain, h.Entries)
	}
	if int64(h.Capacity) != want/SectorSize {
		return nil, invalidf("extent of %d sectors where %d are named", h.Capacity, want/SectorSize)
	}
	s := &sparse{r: f, size: size, grain: int64(h.Grain) * SectorSize, entries: int64(h.Entries), compressed: h.Flags&flagCompressed != 0}
	tables := (want + s.grain*s.entries - 1) / (s.grain * s.entries)
	if h.Directory > uint64(size/SectorSize) || tables*4 > size {
		return nil, invalidf("directory lies outside the file")
	}
	s.dir, err = s.numbers(int64(h.Directory)*SectorSize, tables)
	return s, err
}

func (s *sparse) numbers(off, n int64) ([]uint32, error) {
	b := make([]byte, n*4)
	if _, err := s.r.ReadAt(b, off); err != nil {
		return nil, invalidf("tables end early: %v", err)
	}
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return out, nil
}

// entry is where the grain at off is, in sectors; 0 and 1 are nowhere.
func (s *sparse) entry(off int64) (uint32, error) {
	g := off / s.grain
	t := s.dir[g/s.entries]
	if t == 0 {
		return 0, nil
	}
	e, err := s.numbers(int64(t)*SectorSize+g%s.entries*4, 1)
	if err != nil {
		return 0, err
	}
	return e[0], nil
}

func (s *sparse) hole(off int64) bool {
	if s.grain != GrainSize {
		return false
	}
	e, err := s.entry(off)
	return err == nil && e < 2
}

func (s *sparse) readAt(p []byte, off int64) error {
	for len(p) > 0 {
		in := off % s.grain
		k := min(int64(len(p)), s.grain-in)
		if err := s.part(p[:k], off, in); err != nil {
			return err
		}
		p, off = p[k:], off+k
	}
	return nil
}

// part reads within one grain.
func (s *sparse) part(p []byte, off, in int64) error {
	e, err := s.entry(off)
	if err != nil {
		return err
	}
	at := int64(e) * SectorSize
	switch {
	case e < 2:
		clear(p)
		return nil
	case at >= s.size:
		return invalidf("grain lies outside the file")
	case s.compressed:
		return s.inflate(p, at, in)
	}
	if _, err := s.r.ReadAt(p, at+in); err != nil && err != io.EOF {
		return err
	}
	return nil
}

func (s *sparse) inflate(p []byte, at, in int64) error {
	var mark [12]byte
	if _, err := s.r.ReadAt(mark[:], at); err != nil {
		return invalidf("grain ends early: %v", err)
	}
	n := int64(binary.LittleEndian.Uint32(mark[8:]))
	if n > 2*s.grain {
		return invalidf("grain of %d bytes", n)
	}
	z, err := zlib.NewReader(io.NewSectionReader(s.r, at+12, n))
	if err != nil {
		return invalidf("grain: %v", err)
	}
	defer z.Close()
	if _, err := io.CopyN(io.Discard, z, in); err != nil && err != io.EOF {
		return invalidf("grain: %v", err)
	}
	got, err := io.ReadFull(z, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		clear(p[got:]) // the last grain may hold less
		return nil
	}
	if err != nil {
		return invalidf("grain: %v", err)
	}
	return nil
}
