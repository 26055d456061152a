package provisiontest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"hash/fnv"
	"io"
	"math/rand/v2"
)

// EmptyGzip is gzip of nothing, 20 bytes: what jumpstrt.gz, useropts.gz and
// features.gz hold on real media.
const EmptyGzip = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// GzipFile is a file of exactly size bytes that gzip unpacks (RFC 1952), with
// content that follows from its name and does not compress. Sizes under 24
// make EmptyGzip.
func GzipFile(name string, size int64) MediaFile {
	if size < 24 {
		return TextFile(name, EmptyGzip)
	}
	return MediaFile{Path: name, Size: size, Write: func(w io.Writer) error { return writeGzip(w, name, size) }}
}

// maxStored is what one stored block takes (RFC 1951 3.2.4), header included.
const maxStored = 5 + 65535

func writeGzip(w io.Writer, name string, size int64) error {
	noise := noiseOf(name)
	sum := crc32.NewIEEE()
	var raw uint32
	if _, err := w.Write([]byte(EmptyGzip[:10])); err != nil {
		return err
	}
	buf := make([]byte, maxStored)
	for left := size - 18; left > 0; {
		n := blockSize(left)
		block := buf[:n]
		left -= n
		block[0] = 0
		if left == 0 {
			block[0] = 1 // the last one
		}
		binary.LittleEndian.PutUint16(block[1:], uint16(n-5))
		binary.LittleEndian.PutUint16(block[3:], ^uint16(n-5))
		noise.fill(block[5:])
		sum.Write(block[5:])
		raw += uint32(n - 5)
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
	var tail [8]byte
	binary.LittleEndian.PutUint32(tail[:], sum.Sum32())
	binary.LittleEndian.PutUint32(tail[4:], raw)
	_, err := io.Copy(w, bytes.NewReader(tail[:]))
	return err
}

// blockSize is how much of left the next block takes, so that a whole header
// is left for the one after it.
func blockSize(left int64) int64 {
	if left > maxStored && left < maxStored+5 {
		return left - 5
	}
	return min(left, maxStored)
}

// A noiseSource makes bytes that do not compress.
type noiseSource struct{ r *rand.PCG }

func noiseOf(name string) noiseSource {
	h := fnv.New64a()
	io.WriteString(h, name)
	return noiseSource{rand.NewPCG(h.Sum64(), 1)}
}

func (n noiseSource) fill(b []byte) {
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, n.r.Uint64())
		b = b[8:]
	}
	for i := range b {
		b[i] = byte(n.r.Uint64())
	}
}
