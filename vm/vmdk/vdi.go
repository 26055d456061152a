package vmdk

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
)

// A VDI image of VirtualBox, dynamic or of fixed size: blocks of one MiB that
// are found through one table. What there is on paper of it is VirtualBox's
// own source and QEMU's block/vdi.c, which agree in what is read here.
type vdi struct {
	file
	fileSize int64
	size     int64
	block    int64
	data     int64
	table    []uint32
}

const (
	vdiMagic = 0xbeda107f
	vdiText  = "<<< Oracle VM VirtualBox Disk Image >>>\n"
	vdiBlock = 1 << 20
	vdiNone  = 0xffffffff // never written
	vdiZero  = 0xfffffffe // written with zeros
)

// A vdiHeader is the header of version 1.1.
type vdiHeader struct {
	Text                               [64]byte
	Magic, Version, Length, Type, Flag uint32
	Description                        [256]byte
	TableAt, DataAt                    uint32
	Cylinders, Heads, Sectors          uint32
	SectorSize, _                      uint32
	Size                               uint64
	Block, Extra, Blocks, Used         uint32
	UUID, Snapshot, Link, Parent       [16]byte
	_                                  [56]byte
}

func openVDI(f file, size int64) (Disk, error) {
	b := make([]byte, 512)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	var h vdiHeader
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &h); err != nil {
		return nil, invalidf("vdi: %v", err)
	}
	none := [16]byte{}
	switch {
	case h.Magic != vdiMagic || h.Version>>16 != 1:
		return nil, invalidf("vdi: version %d.%d is not read here", h.Version>>16, h.Version&0xffff)
	case h.Type != 1 && h.Type != 2 || h.Link != none || h.Parent != none:
		return nil, invalidf("vdi: the image is a difference or a snapshot, and holds only what differs from another; clone it first: VBoxManage clonemedium")
	case h.Block < 1<<16 || h.Block > 64<<20 || h.Block%GrainSize != 0 || h.Extra != 0:
		return nil, invalidf("vdi: blocks of %d bytes", h.Block)
	case h.Size == 0 || h.Size > MaxSize:
		return nil, invalidf("vdi: size %d", h.Size)
	case (h.Size+uint64(h.Block)-1)/uint64(h.Block) > uint64(h.Blocks):
		return nil, invalidf("vdi: %d blocks for %d bytes", h.Blocks, h.Size)
	}
	v := &vdi{file: f, fileSize: size, size: int64(h.Size+SectorSize-1) / SectorSize * SectorSize, block: int64(h.Block), data: int64(h.DataAt)}
	n := (v.size + v.block - 1) / v.block
	if int64(h.TableAt)+n*4 > size {
		return nil, invalidf("vdi: the table lies outside the file")
	}
	t := make([]byte, n*4)
	if _, err := f.ReadAt(t, int64(h.TableAt)); err != nil && err != io.EOF {
		return nil, err
	}
	v.table = make([]uint32, n)
	for i := range v.table {
		v.table[i] = binary.LittleEndian.Uint32(t[4*i:])
	}
	return v, nil
}

// Size is the disk's size in bytes.
func (v *vdi) Size() int64 { return v.size }

func (v *vdi) hole(off int64) bool { return v.table[off/v.block] >= vdiZero }

// Grains calls fn with what is not zeros.
func (v *vdi) Grains(fn func(int64, []byte) error) error { return grains(v, fn) }

// ReadAt reads the disk.
func (v *vdi) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= v.size {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && off < v.size {
		in := off % v.block
		k := int(min(int64(len(p)-n), v.block-in, v.size-off))
		if err := v.part(p[n:n+k], v.table[off/v.block], in); err != nil {
			return n, err
		}
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (v *vdi) part(p []byte, b uint32, in int64) error {
	if b >= vdiZero {
		clear(p)
		return nil
	}
	at := v.data + int64(b)*v.block + in
	if at >= v.fileSize {
		return invalidf("vdi: a block lies outside the file")
	}
	n, err := v.file.ReadAt(p, at)
	if err == io.EOF {
		clear(p[n:])
		err = nil
	}
	return err
}

// A vdiWriter makes a dynamic VDI image.
type vdiWriter struct {
	w     io.WriterAt
	size  int64
	table []byte
	data  int64
	used  uint32
}

func newVDI(w io.WriterAt, size int64) *vdiWriter {
	n := (size + vdiBlock - 1) / vdiBlock
	v := &vdiWriter{w: w, size: size, table: bytes.Repeat([]byte{0xff}, int(n*4))}
	v.data = (512 + int64(len(v.table)) + vdiBlock - 1) / vdiBlock * vdiBlock
	return v
}

// put takes a grain; they come in order.
func (v *vdiWriter) put(off int64, p []byte) error {
	i := off / vdiBlock * 4
	b := binary.LittleEndian.Uint32(v.table[i:])
	if b == vdiNone {
		b = v.used
		v.used++
		binary.LittleEndian.PutUint32(v.table[i:], b)
		// The whole block is there, even if no more is written of it.
		if _, err := v.w.WriteAt([]byte{0}, v.data+int64(b+1)*vdiBlock-1); err != nil {
			return err
		}
	}
	_, err := v.w.WriteAt(p, v.data+int64(b)*vdiBlock+off%vdiBlock)
	return err
}

// close writes the table and the header.
func (v *vdiWriter) close() error {
	h := vdiHeader{Magic: vdiMagic, Version: 0x00010001, Length: 400, Type: 1, TableAt: 512, DataAt: uint32(v.data), SectorSize: SectorSize,
		Size: uint64(v.size), Block: vdiBlock, Blocks: uint32(len(v.table) / 4), Used: v.used}
	copy(h.Text[:], vdiText)
	rand.Read(h.UUID[:])
	rand.Read(h.Snapshot[:])
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, &h) // a buffer takes everything
	if _, err := v.w.WriteAt(b.Bytes(), 0); err != nil {
		return err
	}
	_, err := v.w.WriteAt(v.table, 512)
	return err
}
