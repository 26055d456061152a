package media

import (
	"encoding/binary"
	"fmt"
	"io"
)

var le = binary.LittleEndian

// sector is the unit of volume descriptors (ECMA-119 6.1.2).
const sector = 2048

// What an index may take. Real media stay far below: the largest Linux ones
// have some 100,000 entries, 10 MB of directories.
const (
	maxEntries = 2_000_000
	maxDepth   = 128
	maxDir     = 64 << 20  // bytes of one directory
	maxIndex   = 512 << 20 // bytes of all directories and descriptors
)

// A scan reads an image's index. It bounds what it reads by the image's true
// size, never by what the image claims.
type scan struct {
	r       io.ReaderAt
	size    int64
	read    int64 // bytes of index so far
	entries int
}

// open picks the richest tree of the image and fills im from it.
func (s *scan) open(im *Image) error {
	iso, isoErr := s.openISO()
	if isoErr == nil && iso.rockRidge {
		return iso.tree(im)
	}
	if !s.hasUDF() {
		if isoErr != nil {
			return isoErr
		}
		return iso.tree(im)
	}
	udfErr := s.openUDF(im)
	if udfErr == nil {
		return nil
	}
	// Windows' own media have an ISO 9660 tree that holds one text file and
	// says to use UDF; others have the same files in both.
	if isoErr == nil && iso.tree(im) == nil && len(im.root.kids) > 1 {
		return nil
	}
	return udfErr
}

// bytes reads n bytes at off.
func (s *scan) bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > s.size || n > s.size-off {
		return nil, fmt.Errorf("something that should lie at byte %d of the image does not, as it has %d: %w", off, s.size, ErrCut)
	}
	if s.read += n; n > maxDir || s.read > maxIndex {
		return nil, fmt.Errorf("directories take more than %d MiB: %w", maxIndex>>20, ErrFormat)
	}
	b := make([]byte, n)
	if got, err := s.r.ReadAt(b, off); int64(got) < n {
		return nil, fmt.Errorf("reading %d bytes at %d: %w", n, off, noEOF(err))
	}
	return b, nil
}

// count counts one entry of the index.
func (s *scan) count() error {
	if s.entries++; s.entries > maxEntries {
		return fmt.Errorf("more than %d files: %w", maxEntries, ErrFormat)
	}
	return nil
}

// inside checks that an extent lies in the image.
func (s *scan) inside(name string, e Extent) error {
	if e.Len == 0 || e.Off == -1 {
		return nil
	}
	if e.Off < 0 || e.Len < 0 || e.Off > s.size || e.Len > s.size-e.Off {
		return fmt.Errorf("file %s should end at byte %d, the image has %d: %w; fetch it again", name, e.Off+e.Len, s.size, ErrCut)
	}
	return nil
}
