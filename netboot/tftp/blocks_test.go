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
	for _, name := range []string{name, "/proc/self/status"} { // which knows no RWF_NOWAIT
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
