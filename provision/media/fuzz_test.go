package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"margay/provision/provisiontest"
)

// images are small media of each kind, for the fuzzer to patch.
func images(f *testing.F) [][]byte {
	dir := f.TempDir()
	read := func(file string) []byte {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	var out [][]byte
	files := []provisiontest.MediaFile{provisiontest.TextFile("a", "a"), provisiontest.TextFile("dir/b.txt", "bb"), provisiontest.GzipFile("dir/sub/c", 5000)}
	for _, names := range []provisiontest.Names{provisiontest.NamesUpper, provisiontest.NamesRockRidge, provisiontest.NamesJoliet} {
		file := filepath.Join(dir, "x.iso")
		if err := provisiontest.WriteISO(file, provisiontest.ISO{Volume: "X", Names: names, Files: files, Extent: 4096}); err != nil {
			f.Fatal(err)
		}
		out = append(out, read(file))
	}
	src := filepath.Join(dir, "src")
	deep := filepath.Join(src, "a/b/c/d/e/f/g/h/i")
	os.MkdirAll(deep, 0o755)
	os.WriteFile(filepath.Join(deep, "file"), []byte("deep"), 0o644)
	os.WriteFile(filepath.Join(src, "a-name-that-goes-on-for-long-enough-to-be-continued-elsewhere-in-the-image-as-it-does-not-fit-one-record-of-a-directory-with-all-else"), []byte("x"), 0o644)
	os.Symlink("a/b", filepath.Join(src, "link"))
	for _, args := range [][]string{{"-R"}, {"-udf"}} {
		file := filepath.Join(dir, "g.iso")
		run(f, "genisoimage", append(args, "-quiet", "-o", file, src)...)
		out = append(out, read(file))
	}
	return out
}

// FuzzImage patches good media, five bytes a patch: four of place, one of
// value. Whatever comes out must be refused or be an fs.FS that keeps its
// promises and unpacks inside its directory.
func FuzzImage(f *testing.F) {
	imgs := images(f)
	f.Add(byte(0), []byte{0, 0, 0x80, 0x9e, 1})
	f.Add(byte(1), []byte{0, 0, 0xa0, 0x02, 0x13, 0, 0, 0xa0, 0x0a, 0xff})
	f.Add(byte(3), []byte{0, 0, 0xe8, 0x10, 0})
	f.Add(byte(4), []byte{0, 8, 1, 0, 9})
	f.Fuzz(func(t *testing.T, which byte, patch []byte) {
		b := bytes.Clone(imgs[int(which)%len(imgs)])
		for ; len(patch) >= 5; patch = patch[5:] {
			b[int(binary.BigEndian.Uint32(patch))%len(b)] = patch[4]
		}
		im, err := New(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		fs.WalkDir(im, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				t.Fatalf("%s: %v", p, err)
			}
			if !fs.ValidPath(p) {
				t.Fatalf("bad path %q", p)
			}
			if d.Type().IsRegular() {
				check(t, im, p)
			}
			return nil
		})
	})
}

// check reads a file and sees that its extents add up to it.
func check(t *testing.T, im *Image, p string) {
	file, err := im.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	fi, _ := file.Stat()
	n, err := io.Copy(io.Discard, io.LimitReader(file, 1<<20))
	if err != nil || n != min(fi.Size(), 1<<20) {
		t.Fatalf("%s: read %d of %d: %v", p, n, fi.Size(), err)
	}
	extents, err := im.Extents(p)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, e := range extents {
		if sum += e.Len; e.Off < -1 || e.Len <= 0 || e.Off+e.Len > im.Size() {
			t.Fatalf("%s: extent %+v of an image of %d", p, e, im.Size())
		}
	}
	if sum != fi.Size() {
		t.Fatalf("%s: extents of %d bytes, size %d", p, sum, fi.Size())
	}
}

// TestHostileNames: an image whose Rock Ridge names lead elsewhere is refused
// whole.
func TestHostileNames(t *testing.T) {
	for _, name := range []string{"../../escape", "..", "/etc/passwd", "a\x00b"} {
		iso := filepath.Join(t.TempDir(), "x.iso")
		marker := "MARKER-NAME-" // is overwritten below, byte for byte
		for len(marker) < len(name) {
			marker += "-"
		}
		marker = marker[:len(name)]
		if err := provisiontest.WriteISO(iso, provisiontest.ISO{Names: provisiontest.NamesRockRidge, Files: []provisiontest.MediaFile{provisiontest.TextFile(marker, "x")}}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(iso)
		if err != nil {
			t.Fatal(err)
		}
		nm := append([]byte{'N', 'M', byte(5 + len(name)), 1, 0}, marker...)
		if !bytes.Contains(b, nm) {
			t.Fatal("no name to patch")
		}
		b = bytes.ReplaceAll(b, nm, append([]byte{'N', 'M', byte(5 + len(name)), 1, 0}, name...))
		if _, err := New(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%q: taken", name)
		}
	}
}

// TestDirectoryLoop: a directory that holds itself is refused.
func TestDirectoryLoop(t *testing.T) {
	iso := filepath.Join(t.TempDir(), "x.iso")
	files := []provisiontest.MediaFile{provisiontest.TextFile("dir/sub/x", "x")}
	if err := provisiontest.WriteISO(iso, provisiontest.ISO{Names: provisiontest.NamesUpper, Files: files}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(b, []byte("\x03SUB")) // SUB's record in DIR; its place is 30 bytes before
	copy(b[at-30:at-26], b[16*sector+158:])     // the root's
	if _, err := New(bytes.NewReader(b), int64(len(b))); err == nil {
		t.Error("a loop was taken")
	}
}

// TestDirectoryTwice: a directory in two places would let a small image name
// 2^n files.
func TestDirectoryTwice(t *testing.T) {
	iso := filepath.Join(t.TempDir(), "x.iso")
	files := []provisiontest.MediaFile{provisiontest.TextFile("one/x", "x"), provisiontest.TextFile("two/y", "y")}
	if err := provisiontest.WriteISO(iso, provisiontest.ISO{Names: provisiontest.NamesUpper, Files: files}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	one, two := bytes.LastIndex(b, []byte("\x03ONE")), bytes.LastIndex(b, []byte("\x03TWO"))
	copy(b[two-30:two-22], b[one-30:one-22])
	if _, err := New(bytes.NewReader(b), int64(len(b))); err == nil {
		t.Error("taken")
	}
}

// TestUnpackReplacesNothing and leaves when told to.
func TestUnpackReplacesNothing(t *testing.T) {
	im := open(t, provisiontest.MakeESXi(t, provisiontest.ESXi{Version: "5.0.0"}))
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "boot.cfg"), []byte("mine"), 0o644)
	if err := im.Unpack(context.Background(), dir, nil); err == nil {
		t.Error("a file was replaced")
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "boot.cfg")); string(b) != "mine" {
		t.Error("a file was written over")
	}
	ctx, cancel := context.WithCancel(context.Background())
	err := im.Unpack(ctx, t.TempDir(), func(done, total int64) { cancel() })
	if err != context.Canceled {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// TestUnpackDoesNotFollowLinksOfTheDirectory: a link that stands in the way is
// not a way out.
func TestUnpackDoesNotFollowLinksOfTheDirectory(t *testing.T) {
	im := open(t, provisiontest.MakeESXi(t, provisiontest.ESXi{Version: "5.0.0"}))
	dir, out := t.TempDir(), t.TempDir()
	if err := os.Symlink(out, filepath.Join(dir, "efi")); err != nil {
		t.Fatal(err)
	}
	if err := im.Unpack(context.Background(), dir, nil); err == nil {
		t.Error("unpacked through a link")
	}
	if list, _ := os.ReadDir(out); len(list) > 0 {
		t.Error("wrote outside")
	}
}

func TestMapFSAndImageListAlike(t *testing.T) {
	m := fstest.MapFS{"a": {Data: []byte("1")}, "d/b": {Data: []byte("2")}, "d/c": {}}
	var files []provisiontest.MediaFile
	for name, f := range m {
		files = append(files, provisiontest.TextFile(name, string(f.Data)))
	}
	iso := filepath.Join(t.TempDir(), "x.iso")
	if err := provisiontest.WriteISO(iso, provisiontest.ISO{Files: files}); err != nil {
		t.Fatal(err)
	}
	compare(t, "plain", listing(t, open(t, iso)), listing(t, m))
}
