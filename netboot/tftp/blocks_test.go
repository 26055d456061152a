package tftp

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// What is read of a file is the same whether it is in memory, on disk, or ends.
func TestCached(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{name, "/proc/version"} { // which knows no RWF_NOWAIT, and stays as it is
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, tt := range []struct{ off, n int64 }{{0, 1}, {0, 0}, {100, 5000}, {int64(len(want)) - 10, 20}, {1 << 30, 5}} {
			a, b := make([]byte, tt.n), make([]byte, tt.n)
			n, err := cached{f}.ReadAt(a, tt.off)
			m, plain := io.NewSectionReader(f, 0, 1<<40).ReadAt(b, tt.off)
			if n != m || !bytes.Equal(a, b) || (err == nil) != (plain == nil) {
				t.Errorf("%s, %d bytes at %d: %d, %v; want %d, %v", name, tt.n, tt.off, n, err, m, plain)
			}
		}
	}
}

// A medium lies in pieces of a file, and some of it nowhere.
type medium struct {
	*bytes.Reader
	f    *os.File
	ends bool // it names its file at the end too, where no byte is
}

func (m medium) Extent(off int64) (f *os.File, at, n int64) {
	switch {
	case off < 5000:
		return m.f, 1000 + off, 5000 - off
	case off < 8000:
		return nil, 0, 8000 - off
	case off < 12000:
		return m.f, off - 8000, 12000 - off
	}
	if m.ends {
		return m.f, off - 8000, 12000 - off
	}
	return nil, 0, 0
}

// A file that lies in pieces of another reads as it is, a block or a window at
// a time.
func TestPieces(t *testing.T) {
	disk := make([]byte, 6000)
	for i := range disk {
		disk[i] = byte(i * i >> 5)
	}
	name := filepath.Join(t.TempDir(), "iso")
	if err := os.WriteFile(name, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole := append(append(bytes.Clone(disk[1000:6000]), make([]byte, 3000)...), disk[:4000]...)
	for i, size := range []int{1, 512, 1428, 12000, 20000, 1, 512, 1428, 12000, 20000} {
		r := readerAt(medium{bytes.NewReader(whole), f, i >= 5})
		if _, ok := r.(*ahead); !ok {
			t.Fatalf("read by %T", r)
		}
		var got []byte
		for err := error(nil); err == nil; {
			p := make([]byte, size)
			var n int
			n, err = r.ReadAt(p, int64(len(got)))
			if got = append(got, p[:n]...); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, whole) {
			t.Errorf("%d bytes at a time: %d of %d bytes, or others", size, len(got), len(whole))
		}
	}
}
