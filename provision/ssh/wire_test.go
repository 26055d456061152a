package ssh

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fetchFrom takes what a machine says for a file or directory, into dir.
func fetchFrom(t testing.TB, dir string, o Copy, says []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return newWire(io.Discard, bytes.NewReader(says)).fetch(o, root, "part")
}

// TestFetchHostile: a machine whose scp would write elsewhere, or never end, is
// refused at that word.
func TestFetchHostile(t *testing.T) {
	tests := []struct{ name, says, want string }{
		{"up", "D0755 0 x\nC0644 1 ../up\nx\x00", "leads elsewhere"},
		{"dots", "D0755 0 ..\n", "leads elsewhere"},
		{"root", "D0755 0 x\nC0644 1 /etc/passwd\nx\x00", "leads elsewhere"},
		{"cut off", "C0644 100 x\nabc", "cut off"},
		{"no record", "hello\n", "no record"},
		{"negative", "C0644 -1 x\n", "no record"},
		{"set-uid", "C44755 1 x\nx\x00", "no record"},
		{"twice", "D0755 0 d\nC0644 1 x\nx\x00C0644 1 x\ny\x00E\n", "exists"},
		{"a line without end", strings.Repeat("C", 1<<20), "without end"},
		{"deep", strings.Repeat("D0755 0 d\n", 100), "deep"},
		{"complains", "\x01scp: no space\n", "no space"},
		{"complains in between", "C0644 1 x\nx\x01scp: read error\n", "read error"},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "in"), 0o700); err != nil {
			t.Fatal(err)
		}
		err := fetchFrom(t, filepath.Join(dir, "in"), Copy{Recursive: true}, []byte(tt.says))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("%s: %v were made outside", tt.name, left)
		}
	}
}

// FuzzFetch: whatever a machine sends, nothing but "part" is made, and nothing
// in it may run as another user.
func FuzzFetch(f *testing.F) {
	for _, s := range []string{
		"C0644 3 x\nabc\x00", "D0755 0 d\nT1 0 1 0\nC0644 1 x\nx\x00D0700 0 e\nE\nE\n", "\x02scp: gone\n", "C4755 1 ../x\nx\x00", "D0755 0 ..\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, says []byte) {
		dir := t.TempDir()
		fetchFrom(t, dir, Copy{Recursive: true, Preserve: true}, says)
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(dir, path)
			if rel != "." && rel != "part" && !strings.HasPrefix(rel, "part/") {
				t.Errorf("%q was made", rel)
			}
			if fi, err := os.Lstat(path); err == nil && fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSymlink) != 0 {
				t.Errorf("%q is %v", rel, fi.Mode())
			}
			return nil
		})
	})
}
