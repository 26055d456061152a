package provision

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"margay/netboot"
)

func (o *openFiles) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.files)
}

func (o *openFiles) keeps(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.files[name] != nil
}

// A file that stays open is the one that its name is, as it is now.
func TestOpenFilesFollowTheirNames(t *testing.T) {
	s, _ := newService(t)
	const name = "install/esxi8/x86_64/b.b00"
	at := filepath.Join(s.State, name)
	held, err := s.Open(t.Context(), from1, name)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(name, want string) {
		t.Helper()
		for range 2 {
			if got, err := s.get(from1, name); got != want || err != nil {
				t.Errorf("%s is %q, %v; want %q", name, got, err, want)
			}
		}
	}
	expect(name, "12345")
	if n := s.open.count(); n != 1 {
		t.Fatalf("%d files are kept open", n)
	}
	if f, _ := s.Open(t.Context(), from1, name); f.Body.(*openBody).file != held.Body.(*openBody).file {
		t.Error("opened anew")
	}

	must(os.WriteFile(at, []byte("longer than it was"), 0o644))
	expect(name, "longer than it was")
	must(os.WriteFile(at+".new", []byte("swapped"), 0o644))
	must(os.Rename(at+".new", at))
	expect(name, "swapped")
	if text, err := io.ReadAll(held.Body); string(text) != "longe" || err != nil {
		t.Errorf("who reads has %q, %v", text, err) // its first 5 bytes, as promised
	}
	must(held.Body.Close())
	must(held.Body.Close())

	outside := filepath.Join(t.TempDir(), "secret")
	must(os.WriteFile(outside, []byte("secret"), 0o600))
	must(os.Remove(at))
	must(os.Symlink(outside, at))
	if text, err := s.get(from1, name); err == nil {
		t.Errorf("a link that leads out is followed: %q", text)
	}
	must(os.Remove(at))
	must(os.Symlink("S.V00", at))
	expect(name, "123456")
	expect("install/esxi8/x86_64/s.v00", "123456") // its name is found without case

	tree := filepath.Join(s.State, "install", "esxi8")
	must(os.Rename(tree, tree+".old"))
	if _, err := s.get(from1, name); err == nil {
		t.Error("a tree that is gone is served")
	}
	must(os.MkdirAll(filepath.Dir(at), 0o755))
	must(os.WriteFile(at, []byte("of a new tree"), 0o644))
	expect(name, "of a new tree")
}

// What no one asks for is closed after a moment, and what is read is not.
func TestOpenFilesAreClosed(t *testing.T) {
	s, _ := newService(t)
	dir := filepath.Join(s.State, "install/esxi8/x86_64")
	for i := range maxOpenFiles + 10 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), fmt.Append(nil, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		open := func(i int) *netboot.File {
			f, err := s.openTreeFile(s.DB.Snapshot(), "esxi8", "x86_64", fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		first := open(0)
		for i := range maxOpenFiles + 10 {
			open(i).Body.Close()
			time.Sleep(time.Millisecond)
		}
		if n := s.open.count(); n != maxOpenFiles {
			t.Errorf("%d files are kept, want %d", n, maxOpenFiles)
		}
		if !s.open.keeps(filepath.Join(dir, "0")) || s.open.keeps(filepath.Join(dir, "1")) {
			t.Error("what is read was given up before what was not read for longest")
		}
		time.Sleep(2 * keepOpen)
		if n := s.open.count(); n != 1 {
			t.Errorf("%d files are kept, want the one that is read", n)
		}
		f := first.Body.(*openBody).file.f
		first.Body.Close()
		time.Sleep(2 * keepOpen)
		if _, err := f.Stat(); err == nil || s.open.count() > 0 {
			t.Errorf("%d files are open, Stat: %v", s.open.count(), err)
		}
		// With as many readers, further files are opened for themselves.
		var all []*netboot.File
		for i := range maxOpenFiles + 10 {
			all = append(all, open(i))
		}
		for i, f := range all {
			if text, err := io.ReadAll(f.Body); string(text) != fmt.Sprint(i) || err != nil {
				t.Errorf("%d is %q, %v", i, text, err)
			}
			f.Body.Close()
		}
		time.Sleep(3 * keepOpen)
		if n := s.open.count(); n != 0 {
			t.Errorf("%d files are left open", n)
		}
	})
}

func TestOpenFilesAtOnce(t *testing.T) {
	s, _ := newService(t)
	at := filepath.Join(s.State, "install/esxi8/x86_64/b.b00")
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 200 {
				if text, err := s.get(from1, "install/esxi8/x86_64/b.b00"); err != nil || text != "12345" && text != "67890" {
					t.Errorf("%q, %v", text, err)
				}
			}
		})
	}
	for i := range 50 {
		if err := os.WriteFile(at+".new", []byte([]string{"12345", "67890"}[i%2]), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(at+".new", at); err != nil {
			t.Fatal(err)
		}
	}
	readers.Wait()
}

// Nothing lies at the end of a file and beyond.
func TestOpenFileEnds(t *testing.T) {
	s, _ := newService(t)
	f, err := s.Open(t.Context(), from1, "install/esxi8/x86_64/b.b00")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Body.Close()
	body := f.Body.(*openBody)
	for off, want := range map[int64]int64{0: 5, 4: 1, 5: 0, 6: 0} {
		in, at, n := body.Extent(off)
		if n != want || (in != nil) != (want > 0) || in != nil && at != off {
			t.Errorf("at %d: %v, %d, %d; want %d bytes", off, in, at, n, want)
		}
	}
}

// A file is local where its file system is one of those that ask nobody.
func TestIsLocal(t *testing.T) {
	for name, want := range map[string]bool{"/dev/shm": true, "/proc/self/status": false, "/sys/kernel": false} {
		f, err := os.Open(name)
		if err != nil {
			t.Skip(err)
		}
		if got := isLocal(int(f.Fd())); got != want {
			t.Errorf("%s is local: %v", name, got)
		}
		f.Close()
	}
	if isLocal(-1) {
		t.Error("what is not open is local")
	}
}
