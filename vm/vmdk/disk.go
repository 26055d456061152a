package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
)

// A Disk is a disk of any format, to be read. It is for many goroutines.
type Disk interface {
	io.ReaderAt
	io.Closer
	// Size is the disk's size in bytes.
	Size() int64
	// Grains calls fn with each stretch of at most GrainSize bytes that is not
	// zeros, in order.
	Grains(fn func(off int64, p []byte) error) error
}

// The formats of disks that are no VMware's own; those are named as a
// descriptor's createType has them.
const (
	FormatRaw   = "raw"
	FormatQCOW2 = "qcow2"
	FormatVDI   = "vdi"
)

// OpenAny opens a disk of any format that is read here and says which it is. A
// file of no format passes for a raw disk if its name says so: guests write
// the first bytes of raw disks, and a name they cannot write.
func OpenAny(fsys fs.FS, name string) (Disk, string, error) {
	f, size, err := open(fsys, name)
	if err != nil {
		return nil, "", err
	}
	head := make([]byte, min(size, 1024))
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		f.Close()
		return nil, "", err
	}
	format := recognize(head, name)
	var d Disk
	switch format {
	case FormatQCOW2:
		d, err = openQCOW2(f, size)
	case FormatVDI:
		d, err = openVDI(f, size)
	case FormatRaw:
		d, err = openRaw(f, size)
	case "vmdk":
		f.Close()
		img, err := Open(fsys, name)
		if err != nil {
			return nil, "", err
		}
		return img, img.Descriptor.CreateType, nil
	default:
		err = invalidf("%s", format)
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return d, format, nil
}

// recognize says what a file is by its first bytes and its name, or why it is
// nothing that is read here.
func recognize(head []byte, name string) string {
	base := strings.ToLower(path.Base(name))
	has := func(suffixes ...string) bool {
		for _, s := range suffixes {
			if strings.HasSuffix(base, s) {
				return true
			}
		}
		return false
	}
	switch {
	case has(".raw", ".img", ".bin", ".dd"):
		if bytes.HasPrefix(head, []byte("QFI\xfb")) && !has(".raw") {
			return FormatQCOW2 // cloud images are often called .img
		}
		return FormatRaw
	case bytes.HasPrefix(head, []byte("QFI\xfb")):
		return FormatQCOW2
	case len(head) >= 68 && binary.LittleEndian.Uint32(head[64:]) == vdiMagic:
		return FormatVDI
	case bytes.HasPrefix(head, []byte("COWD")):
		return "the data of a snapshot or linked disk of ESXi; open its descriptor"
	case bytes.HasPrefix(head, []byte("vhdxfile")), bytes.HasPrefix(head, []byte("conectix")):
		return "a disk of Hyper-V, which is not read here; convert it to qcow2 or raw first"
	case has("-flat.vmdk"):
		return "the data of a disk; name its descriptor, " + strings.TrimSuffix(path.Base(name), "-flat.vmdk") + ".vmdk, which must lie beside it"
	case has(".vmdk"):
		return "vmdk"
	}
	if n := binaryMagic(head); n == magic {
		return "vmdk"
	}
	return "not a disk of a format that is read here: vmdk, qcow2, vdi, or raw with a name that ends in .raw or .img"
}

func binaryMagic(head []byte) uint32 {
	if len(head) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(head)
}

// source is what every reader has, for grains.
type source interface {
	io.ReaderAt
	Size() int64
	// hole says whether the grain at off is known to be zeros without reading it.
	hole(off int64) bool
}

// grains is Grains for any source.
func grains(s source, fn func(off int64, p []byte) error) error {
	buf := make([]byte, GrainSize)
	for off := int64(0); off < s.Size(); off += GrainSize {
		if s.hole(off) {
			continue
		}
		p := buf[:min(GrainSize, s.Size()-off)]
		if n, err := s.ReadAt(p, off); err != nil && (err != io.EOF || n < len(p)) {
			return err
		}
		if zero(p) {
			continue
		}
		if err := fn(off, p); err != nil {
			return err
		}
	}
	return nil
}

// A raw disk is its own data.
type raw struct {
	file
	size  int64
	holes holes
}

// openRaw takes a file for a disk; its last sector may not be full.
func openRaw(f file, size int64) (Disk, error) {
	if size <= 0 || size > MaxSize {
		return nil, invalidf("size %d", size)
	}
	return &raw{file: f, size: size, holes: holes{f: f}}, nil
}

func (r *raw) Size() int64 { return (r.size + SectorSize - 1) / SectorSize * SectorSize }

func (r *raw) hole(off int64) bool { return r.holes.at(off, min(off+GrainSize, r.size)) }

func (r *raw) Grains(fn func(int64, []byte) error) error { return grains(r, fn) }

// ReadAt reads the disk; what is missing of its last sector is zeros.
func (r *raw) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= r.Size() {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), r.Size()-off))
	got := 0
	if off < r.size {
		var err error
		got, err = r.file.ReadAt(p[:min(int64(n), r.size-off)], off)
		if err != nil && err != io.EOF {
			return got, err
		}
	}
	clear(p[got:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// holes asks the file system where a file has none of its blocks: a large disk
// that is mostly empty need not be read.
type holes struct {
	f  any // an *os.File tells; others do not
	mu sync.Mutex
	// from and to are a stretch that is known, data says of what. Guarded by mu.
	from, to int64
	data     bool
}

// Whence of lseek(2) on Linux.
const (
	seekData = 3
	seekHole = 4
)

// at says whether the stretch is known to be a hole.
func (h *holes) at(off, end int64) bool {
	f, ok := h.f.(*os.File)
	if !ok || off >= end {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if off < h.from || off >= h.to {
		next, err := f.Seek(off, seekData)
		switch {
		case errors.Is(err, syscall.ENXIO): // no data from here on
			h.from, h.to, h.data = off, math.MaxInt64, false
		case err != nil: // it cannot tell
			h.from, h.to, h.data = 0, math.MaxInt64, true
		case next > off:
			h.from, h.to, h.data = off, next, false
		default:
			if next, err = f.Seek(off, seekHole); err != nil || next <= off {
				next = off + 1
			}
			h.from, h.to, h.data = off, next, true
		}
	}
	return !h.data && end <= h.to
}
