package ssh_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/provision/ssh"
)

// tree makes a directory with files of several sizes and names.
func tree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	for name, size := range map[string]int{"empty": 0, "small file": 10, "sub/deep/big": 3 << 20, "sub/it's": 4096, "sub/-n": 1} {
		name := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		if err := os.WriteFile(name, b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "none"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func same(t *testing.T, a, b string) {
	t.Helper()
	if out, err := exec.Command("diff", "-r", a, b).CombinedOutput(); err != nil {
		t.Errorf("%s and %s: %v\n%s", a, b, err, out)
	}
}

func TestSend(t *testing.T) {
	s := serve(t)
	c := s.dial(t)
	src, dir := tree(t), s.dir
	ctx := t.Context()
	file := filepath.Join(src, "sub/deep/big")
	old := time.Date(2020, 5, 6, 7, 8, 9, 0, time.UTC)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, ssh.Copy{Preserve: true}, []string{file}, filepath.Join(dir, "one")); err != nil {
		t.Fatal(err)
	}
	same(t, file, filepath.Join(dir, "one"))
	if fi, err := os.Stat(filepath.Join(dir, "one")); err != nil || !fi.ModTime().Equal(old) || fi.Mode().Perm() != 0o640 {
		t.Errorf("%v %v, want mode and time kept", fi, err)
	}
	if err := c.Send(ctx, ssh.Copy{}, []string{file, filepath.Join(src, "small file"), filepath.Join(src, "sub/-n")}, dir); err != nil {
		t.Fatal(err)
	}
	same(t, filepath.Join(src, "small file"), filepath.Join(dir, "small file"))
	same(t, filepath.Join(src, "sub/-n"), filepath.Join(dir, "-n"))
	if err := c.Send(ctx, ssh.Copy{Recursive: true}, []string{src}, dir); err != nil {
		t.Fatal(err)
	}
	same(t, src, filepath.Join(dir, "tree"))

	for _, tt := range []struct {
		name, from, to, want string
	}{
		{"no such directory", file, "/nowhere/at/all", "No such file or directory"},
		{"a directory without -R", src, dir, "copy it with -R"},
		{"no such file", "/nowhere/at/all", dir, "no such file"},
		{"a directory is in the way of nothing", "/dev/null", dir, "no regular file"},
	} {
		err := c.Send(ctx, ssh.Copy{}, []string{tt.from}, tt.to)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := c.Send(ctx, ssh.Copy{}, []string{file, file}, filepath.Join(dir, "one")); err == nil || !strings.Contains(err.Error(), "irectory") {
		t.Errorf("two files onto one: %v", err)
	}
}

func TestFetch(t *testing.T) {
	c := serve(t).dial(t)
	src, dir := tree(t), t.TempDir()
	ctx := t.Context()
	file := filepath.Join(src, "sub/it's")
	dest := filepath.Join(dir, "its._node1")
	for range 2 { // the second time it is there
		if err := c.Fetch(ctx, ssh.Copy{}, file, dest); err != nil {
			t.Fatal(err)
		}
		same(t, file, dest)
	}
	for range 2 {
		if err := c.Fetch(ctx, ssh.Copy{Recursive: true, Preserve: true}, src, filepath.Join(dir, "tree")); err != nil {
			t.Fatal(err)
		}
		same(t, src, filepath.Join(dir, "tree"))
	}
	for _, tt := range []struct{ from, want string }{
		{"/nowhere/at/all", "No such file or directory"},
		{src, "not a regular file"},
	} {
		err := c.Fetch(ctx, ssh.Copy{}, tt.from, filepath.Join(dir, "x"))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.from, err, tt.want)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("%v %v, want the file and the directory alone", left, err)
	}
}
