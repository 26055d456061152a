package vmdk

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A qcow2 image, versions 2 and 3, as QEMU's docs/interop/qcow2.txt has it:
// clusters that are found through two levels of tables, some of them
// compressed.
type qcow2 struct {
	file
	fileSize int64
	size     int64
	bits     uint // of a cluster's size
	zstd     bool
	l1       []uint64

	mu     sync.Mutex
	l2At   uint64   // where the table in l2 is; guarded by mu, as all below
	l2     []uint64 // the last table that was read
	packed uint64   // the entry whose cluster is in plain
	plain  []byte
	z      *zstd.Decoder
}

const (
	qcowMagic       = 0x514649fb
	qcowMaxL1       = 32 << 20 // bytes; QEMU's own limit
	qcowOffset      = 0x00fffffffffffe00
	qcowPacked      = 1 << 62
	qcowZero        = 1
	qcowDirty       = 1 << 0
	qcowCorrupt     = 1 << 1
	qcowExternal    = 1 << 2
	qcowPacking     = 1 << 3
	qcowSubclusters = 1 << 4
)

// A qcowHeader is the first part of the header; version 3 has the rest.
type qcowHeader struct {
	Magic, Version      uint32
	BackingAt           uint64
	BackingSize         uint32
	Bits                uint32
	Size                uint64
	Crypt               uint32
	L1Size              uint32
	L1At                uint64
	RefcountAt          uint64
	RefcountClusters    uint32
	Snapshots           uint32
	SnapshotsAt         uint64
	Incompatible        uint64
	Compatible, Autoclr uint64
	RefcountOrder       uint32
	HeaderLength        uint32
	Compression         uint8
	_                   [7]uint8
}

const qcowHeaderSize = 112

func openQCOW2(f file, size int64) (Disk, error) {
	b := make([]byte, qcowHeaderSize)
	if n, err := f.ReadAt(b, 0); err != nil && (err != io.EOF || n < 72) {
		return nil, invalidf("qcow2: no header: %v", err)
	}
	var h qcowHeader
	if err := binary.Read(bytes.NewReader(b), binary.BigEndian, &h); err != nil {
		return nil, invalidf("qcow2: %v", err)
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	q := &qcow2{file: f, fileSize: size, size: int64(h.Size), bits: uint(h.Bits)}
	if h.Version >= 3 {
		q.zstd = h.Incompatible&qcowPacking != 0 && h.HeaderLength > 104 && h.Compression == 1
	}
	if rest := q.size % SectorSize; rest != 0 {
		q.size += SectorSize - rest
	}
	covers := int64(1) << (2*q.bits - 3) // bytes that one entry of the first level stands for
	need := (int64(h.Size) + covers - 1) / covers
	if need*8 > qcowMaxL1 || int64(h.L1Size) < need {
		return nil, invalidf("qcow2: first table of %d entries for %d bytes", h.L1Size, h.Size)
	}
	var err error
	q.l1, err = q.table(h.L1At, need)
	return q, err
}

func (h *qcowHeader) check() error {
	switch {
	case h.Magic != qcowMagic || h.Version < 2 || h.Version > 3:
		return invalidf("qcow2: version %d is not read here", h.Version)
	case h.Bits < 9 || h.Bits > 21:
		return invalidf("qcow2: clusters of 2^%d bytes", h.Bits)
	case h.Size == 0 || h.Size > MaxSize:
		return invalidf("qcow2: size %d", h.Size)
	case h.BackingAt != 0:
		return invalidf("qcow2: the image is an overlay, and holds only what differs from another; flatten it first: qemu-img convert -O qcow2")
	case h.Crypt != 0:
		return invalidf("qcow2: the image is encrypted")
	case h.Version == 2:
		return nil
	case h.Incompatible&qcowCorrupt != 0:
		return invalidf("qcow2: the image is marked corrupt; qemu-img check -r all may mend it")
	case h.Incompatible&qcowExternal != 0:
		return invalidf("qcow2: the image keeps its data in another file")
	case h.Incompatible&qcowSubclusters != 0:
		return invalidf("qcow2: clusters are split (extended_l2), which is not read here; convert it: qemu-img convert -O qcow2")
	case h.Incompatible&^uint64(qcowDirty|qcowPacking) != 0:
		return invalidf("qcow2: features %#x are unknown", h.Incompatible)
	case h.Incompatible&qcowPacking != 0 && h.HeaderLength > 104 && h.Compression > 1:
		return invalidf("qcow2: compression %d is unknown", h.Compression)
	}
	return nil
}

// table reads numbers; they must lie in the file.
func (q *qcow2) table(at uint64, n int64) ([]uint64, error) {
	if at > uint64(q.fileSize) || int64(at)+n*8 > q.fileSize {
		return nil, invalidf("qcow2: a table lies outside the file")
	}
	b := make([]byte, n*8)
	if _, err := q.file.ReadAt(b, int64(at)); err != nil && err != io.EOF {
		return nil, err
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return out, nil
}

// entry is the second level's entry for a place, 0 if there is none. It is
// called with q.mu held.
func (q *qcow2) entry(off int64) (uint64, error) {
	i := off >> (2*q.bits - 3)
	at := q.l1[i] & qcowOffset
	if at == 0 {
		return 0, nil
	}
	if q.l2 == nil || q.l2At != at {
		t, err := q.table(at, 1<<(q.bits-3))
		if err != nil {
			return 0, err
		}
		q.l2, q.l2At = t, at
	}
	return q.l2[off>>q.bits&(1<<(q.bits-3)-1)], nil
}

// Size is the disk's size in bytes.
func (q *qcow2) Size() int64 { return q.size }

func (q *qcow2) hole(off int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for end := min(off+GrainSize, q.size); off < end; off += 1 << q.bits {
		e, err := q.entry(off)
		if err != nil || !empty(e) {
			return false
		}
	}
	return true
}

// empty says whether an entry stands for zeros.
func empty(e uint64) bool {
	return e&qcowPacked == 0 && (e&qcowZero != 0 || e&qcowOffset == 0)
}

// Grains calls fn with what is not zeros.
func (q *qcow2) Grains(fn func(int64, []byte) error) error { return grains(q, fn) }

// ReadAt reads the disk.
func (q *qcow2) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= q.size {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && off < q.size {
		in := off & (1<<q.bits - 1)
		k := int(min(int64(len(p)-n), 1<<q.bits-in, q.size-off))
		if err := q.part(p[n:n+k], off, in); err != nil {
			return n, err
		}
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// part reads within one cluster.
func (q *qcow2) part(p []byte, off, in int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, err := q.entry(off)
	if err != nil {
		return err
	}
	switch {
	case empty(e):
		clear(p)
		return nil
	case e&qcowPacked != 0:
		if err := q.unpack(e); err != nil {
			return err
		}
		copy(p, q.plain[in:])
		return nil
	}
	at := int64(e&qcowOffset) + in
	if at >= q.fileSize {
		return invalidf("qcow2: a cluster lies outside the file")
	}
	n, err := q.file.ReadAt(p, at)
	if err == io.EOF {
		clear(p[n:]) // QEMU leaves the last cluster short
		err = nil
	}
	return err
}

// unpack decompresses a cluster into q.plain. It is called with q.mu held.
func (q *qcow2) unpack(e uint64) error {
	if q.plain != nil && q.packed == e {
		return nil
	}
	shift := 62 - (q.bits - 8)
	at := int64(e & (1<<shift - 1))
	size := int64(e>>shift&(1<<(q.bits-8)-1)+1)*SectorSize - at%SectorSize
	if at >= q.fileSize {
		return invalidf("qcow2: a compressed cluster lies outside the file")
	}
	if q.plain == nil {
		q.plain = make([]byte, 1<<q.bits)
	}
	q.packed = 0
	src := io.NewSectionReader(q.file, at, min(size, q.fileSize-at))
	n, err := io.ReadFull(q.reader(src), q.plain)
	if err != nil && err != io.ErrUnexpectedEOF {
		return invalidf("qcow2: compressed cluster: %v", err)
	}
	if n < len(q.plain) {
		return invalidf("qcow2: a compressed cluster holds %d bytes of %d", n, len(q.plain))
	}
	q.packed = e
	return nil
}

func (q *qcow2) reader(src io.Reader) io.Reader {
	if !q.zstd {
		return flate.NewReader(src)
	}
	if q.z == nil {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(16<<20), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return failed{err}
		}
		q.z = z
	}
	if err := q.z.Reset(src); err != nil {
		return failed{err}
	}
	return q.z
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// Close closes the file.
func (q *qcow2) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.z != nil {
		q.z.Close()
	}
	return q.file.Close()
}

// A qcowWriter makes a qcow2 image, version 3, with clusters of 64 KiB.
type qcowWriter struct {
	w    io.WriterAt
	size int64
	next int64 // cluster that is free
	l1   []uint64
	l2   []byte // of the table that is being filled
	at   int64  // whose number in l1 that is; -1: none
}

const (
	qcowCluster = GrainSize
	qcowEntries = qcowCluster / 8
	qcowCopied  = 1 << 63
)

func newQCOW2(w io.WriterAt, size int64) *qcowWriter {
	covers := int64(qcowCluster) * qcowEntries
	return &qcowWriter{w: w, size: size, next: 1, l1: make([]uint64, (size+covers-1)/covers), l2: make([]byte, qcowCluster), at: -1}
}

// put takes a cluster; they come in order.
func (q *qcowWriter) put(off int64, p []byte) error {
	c := off / qcowCluster
	if c/qcowEntries != q.at {
		if err := q.endTable(); err != nil {
			return err
		}
		q.at = c / qcowEntries
	}
	if len(p) < qcowCluster {
		p = append(p[:len(p):len(p)], make([]byte, qcowCluster-len(p))...)
	}
	if _, err := q.w.WriteAt(p, q.next*qcowCluster); err != nil {
		return err
	}
	binary.BigEndian.PutUint64(q.l2[c%qcowEntries*8:], uint64(q.next)*qcowCluster|qcowCopied)
	q.next++
	return nil
}

func (q *qcowWriter) endTable() error {
	if q.at < 0 {
		return nil
	}
	if _, err := q.w.WriteAt(q.l2, q.next*qcowCluster); err != nil {
		return err
	}
	q.l1[q.at] = uint64(q.next)*qcowCluster | qcowCopied
	q.next++
	clear(q.l2)
	return nil
}

// close writes the tables, the counts of references, and the header last.
func (q *qcowWriter) close() error {
	if err := q.endTable(); err != nil {
		return err
	}
	l1 := q.next
	b := make([]byte, (len(q.l1)*8+qcowCluster-1)/qcowCluster*qcowCluster)
	for i, e := range q.l1 {
		binary.BigEndian.PutUint64(b[8*i:], e)
	}
	if _, err := q.w.WriteAt(b, l1*qcowCluster); err != nil {
		return err
	}
	q.next += int64(len(b)) / qcowCluster
	refs, clusters, err := q.refcounts()
	if err != nil {
		return err
	}
	h := qcowHeader{Magic: qcowMagic, Version: 3, Bits: 16, Size: uint64(q.size), L1Size: uint32(len(q.l1)), L1At: uint64(l1) * qcowCluster,
		RefcountAt: uint64(refs) * qcowCluster, RefcountClusters: uint32(clusters), RefcountOrder: 4, HeaderLength: qcowHeaderSize}
	var head bytes.Buffer
	binary.Write(&head, binary.BigEndian, &h) // a buffer takes everything
	head.Write(make([]byte, qcowCluster-head.Len()))
	_, err = q.w.WriteAt(head.Bytes(), 0)
	return err
}

// refcounts counts each cluster once, those of the counts too.
func (q *qcowWriter) refcounts() (at, clusters int64, err error) {
	const each = qcowCluster / 2
	blocks, clusters := int64(0), int64(1)
	for { // the counts count themselves
		total := q.next + blocks + clusters
		b := (total + each - 1) / each
		c := (b*8 + qcowCluster - 1) / qcowCluster
		if b == blocks && c == clusters {
			break
		}
		blocks, clusters = b, c
	}
	total := q.next + blocks + clusters
	table := make([]byte, clusters*qcowCluster)
	for i := range blocks {
		binary.BigEndian.PutUint64(table[8*i:], uint64(q.next+clusters+i)*qcowCluster)
		b := make([]byte, qcowCluster)
		for k := range min(int64(each), total-i*each) {
			binary.BigEndian.PutUint16(b[2*k:], 1)
		}
		if _, err := q.w.WriteAt(b, (q.next+clusters+i)*qcowCluster); err != nil {
			return 0, 0, err
		}
	}
	_, err = q.w.WriteAt(table, q.next*qcowCluster)
	return q.next, clusters, err
}
