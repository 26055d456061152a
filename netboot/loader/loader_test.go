//go:build !noipxe

package loader

import (
	"io"
	"testing"
)

func TestFS(t *testing.T) {
	for name, magic := range map[string]string{"xnba.efi": "MZ", "xnba-arm64.efi": "MZ", "xnba.kpxe": "", "xnba.iso": ""} {
		f, err := FS().Open(name)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(f)
		fi, _ := f.Stat()
		if len(data) < 60_000 || int64(len(data)) != fi.Size() || string(data[:len(magic)]) != magic {
			t.Errorf("%s: %d bytes beginning with % x, stat says %d", name, len(data), data[:2], fi.Size())
		}
	}
	if _, err := FS().Open("../etc/passwd"); err == nil {
		t.Error("a name that is no loader was opened")
	}
}
