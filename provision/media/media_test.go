package media

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"margay/provision/provisiontest"
)

// tool returns the path of an oracle. It must be there when MARGAY_TEST_REAL
// is set.
func tool(tb testing.TB, name string) string {
	tb.Helper()
	p, err := exec.LookPath(name)
	if err == nil {
		return p
	}
	if os.Getenv("MARGAY_TEST_REAL") != "" {
		tb.Fatal(err)
	}
	tb.Skipf("%s is not installed", name)
	return ""
}

func run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if out, err := exec.Command(tool(tb, name), args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func open(tb testing.TB, file string) *Image {
	tb.Helper()
	im, err := Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { im.Close() })
	return im
}

// listing says all that is in a directory: names, kinds, contents, targets.
func listing(tb testing.TB, fsys fs.FS) map[string]string {
	tb.Helper()
	out := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == "." {
			return err
		}
		switch {
		case d.IsDir():
			out[p] = "dir"
		case d.Type()&fs.ModeSymlink != 0:
			target, err := fs.ReadLink(fsys, p)
			out[p] = "link " + target
			return err
		default:
			b, err := fs.ReadFile(fsys, p)
			out[p] = fmt.Sprintf("file %d %x", len(b), sha256.Sum256(b))
			return err
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func compare(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for p, w := range want {
		if g, ok := got[p]; !ok {
			t.Errorf("%s: %s is missing", what, p)
		} else if g != w {
			t.Errorf("%s: %s is %s, want %s", what, p, g, w)
		}
	}
	for p, g := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s: %s is not on the medium (%s)", what, p, g)
		}
	}
}

// tree makes a directory with all that strains a reader: long names, depth,
// links, empty files, many files, names of other alphabets.
func tree(tb testing.TB) string {
	dir := tb.TempDir()
	put := func(name, text string) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	put("empty", "")
	put("README", "read me")
	put("noext.", "dot at the end")
	put("two.dots.tar.gz", "x")
	put("Mixed-Case_Name.Txt", "mixed")
	put(strings.Repeat("long", 50), "a name of 200 letters")
	put(strings.Repeat("ü", 30)+".txt", "umlauts")
	put("日本語/資料.txt", "japanese")
	put("a/b/c/d/e/f/g/h/i/j/k/l/deep.txt", "deep")
	put("big", strings.Repeat("0123456789abcdef", 100_000))
	put("sector", strings.Repeat("x", 2048))
	for i := range 80 {
		put(fmt.Sprintf("many/file-with-a-name-%04d.rpm", i), fmt.Sprint(i))
	}
	for name, target := range map[string]string{
		"link": "README", "a/b/up": "../../README", "self": ".",
		"long": "", "dangling": "nowhere",
	} {
		if name == "long" {
			target = "many/" + strings.Repeat("./", 120) + "file-with-a-name-0001.rpm"
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func TestRockRidgeAsXorrisoAndGenisoimageWriteIt(t *testing.T) {
	dir := tree(t)
	want := listing(t, os.DirFS(dir))
	for _, tt := range []struct {
		name string
		tool string
		args []string
	}{
		{"xorriso", "xorriso", []string{"-as", "mkisofs", "-R"}},
		{"xorriso with Joliet", "xorriso", []string{"-as", "mkisofs", "-R", "-J", "-joliet-long"}},
		{"xorriso level 3", "xorriso", []string{"-as", "mkisofs", "-R", "-iso-level", "3"}},
		{"xorriso hybrid", "xorriso", []string{"-as", "mkisofs", "-R", "-partition_offset", "16"}},
		{"xorriso level 4", "xorriso", []string{"-as", "mkisofs", "-R", "-iso-level", "4", "-hfsplus"}},
		{"genisoimage", "genisoimage", []string{"-quiet", "-R", "-D"}},
		{"genisoimage relocated", "genisoimage", []string{"-quiet", "-R", "-J", "-joliet-long"}},
		{"genisoimage with UDF", "genisoimage", []string{"-quiet", "-R", "-udf"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			iso := filepath.Join(t.TempDir(), "x.iso")
			run(t, tt.tool, append(tt.args, "-o", iso, dir)...)
			im := open(t, iso)
			if im.Format != "rockridge" {
				t.Errorf("format %s, want rockridge", im.Format)
			}
			compare(t, tt.name, listing(t, im), want)
			unpackAndCompare(t, im, want)
		})
	}
}

func unpackAndCompare(t *testing.T, im *Image, want map[string]string) {
	t.Helper()
	dir := t.TempDir()
	var last, total int64
	err := im.Unpack(context.Background(), dir, func(done, all int64) { last, total = done, all })
	if err != nil {
		t.Fatal(err)
	}
	if last != total || total != im.Total() {
		t.Errorf("progress ended at %d of %d, want %d", last, total, im.Total())
	}
	compare(t, "unpacked", listing(t, os.DirFS(dir)), want)
}

func TestJolietOnly(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"A rather long name that is kept.txt", "short.txt", "Ünïcode.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	iso := filepath.Join(t.TempDir(), "x.iso")
	run(t, "genisoimage", "-quiet", "-J", "-o", iso, dir)
	im := open(t, iso)
	if im.Format != "joliet" {
		t.Errorf("format %s, want joliet", im.Format)
	}
	compare(t, "joliet", listing(t, im), listing(t, os.DirFS(dir)))
}

// TestPlainNamesAreFolded: VMware's own media.
func TestPlainNamesAreFolded(t *testing.T) {
	spec := provisiontest.ESXi{Version: "8.0.2"}
	im := open(t, provisiontest.MakeESXi(t, spec))
	if im.Format != "iso9660" {
		t.Errorf("format %s, want iso9660", im.Format)
	}
	for _, f := range spec.Tree() {
		var want bytes.Buffer
		if err := f.Write(&want); err != nil {
			t.Fatal(err)
		}
		got, err := fs.ReadFile(im, f.Path)
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s: differs (%v)", f.Path, err)
		}
	}
	unpackAndCompare(t, im, listing(t, im))
}

func TestImageIsAnFS(t *testing.T) {
	dir := tree(t)
	for _, link := range []string{"dangling", "self"} { // TestFS opens every entry
		os.Remove(filepath.Join(dir, link))
	}
	iso := filepath.Join(t.TempDir(), "x.iso")
	run(t, "xorriso", "-as", "mkisofs", "-R", "-o", iso, dir)
	if err := fstest.TestFS(open(t, iso), "README", "a/b/c/d/e/f/g/h/i/j/k/l/deep.txt", "many/file-with-a-name-0079.rpm"); err != nil {
		t.Error(err)
	}
}

// TestLongLinkParts go on in the next SL entry. genisoimage writes such ones
// with wrong lengths.
func TestLongLinkParts(t *testing.T) {
	dir := t.TempDir()
	target := "many/" + strings.Repeat("p", 250) + "/" + strings.Repeat("q", 250)
	if err := os.Symlink(target, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	iso := filepath.Join(t.TempDir(), "x.iso")
	run(t, "xorriso", "-as", "mkisofs", "-R", "-o", iso, dir)
	if got, err := open(t, iso).ReadLink("link"); err != nil || got != target {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLinksAreFollowedInside(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "real/sub"), 0o755)
	os.WriteFile(filepath.Join(dir, "real/sub/f"), []byte("here"), 0o644)
	for name, target := range map[string]string{"dir": "real", "real/back": "../dir/sub", "out": "../../etc/passwd", "abs": "/etc/passwd", "loop": "loop2", "loop2": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	iso := filepath.Join(t.TempDir(), "x.iso")
	run(t, "xorriso", "-as", "mkisofs", "-R", "-o", iso, dir)
	im := open(t, iso)
	for name, want := range map[string]string{"dir/sub/f": "here", "dir/back/f": "here", "out": "", "abs": "", "loop": "", "dir/nothing": ""} {
		b, err := fs.ReadFile(im, name)
		if string(b) != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, b, err, want)
		}
	}
	if err := im.Unpack(context.Background(), t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "leads out") {
		t.Errorf("unpacked links that lead out: %v", err)
	}
}

// TestMultiExtent: files in several pieces, as those over 4 GiB are.
func TestMultiExtent(t *testing.T) {
	for _, names := range []provisiontest.Names{provisiontest.NamesUpper, provisiontest.NamesRockRidge, provisiontest.NamesJoliet} {
		iso := filepath.Join(t.TempDir(), "x.iso")
		files := []provisiontest.MediaFile{
			provisiontest.GzipFile("dir/one", 100_000), provisiontest.GzipFile("dir/two", 4096), provisiontest.TextFile("empty", ""),
		}
		if err := provisiontest.WriteISO(iso, provisiontest.ISO{Volume: "X", Names: names, Files: files, Extent: 4096}); err != nil {
			t.Fatal(err)
		}
		im := open(t, iso)
		for _, f := range files {
			var want bytes.Buffer
			f.Write(&want)
			if got, err := fs.ReadFile(im, f.Path); err != nil || !bytes.Equal(got, want.Bytes()) {
				t.Errorf("names %d: %s differs (%v)", names, f.Path, err)
			}
			if got := fromExtents(t, im, f.Path, int64(want.Len())); !bytes.Equal(got, want.Bytes()) {
				t.Errorf("names %d: %s differs where its extents are said to lie", names, f.Path)
			}
		}
		if x, err := im.Extents("dir/one"); err != nil || len(x) != 25 || x[24].Len != 100_000-24*4096 {
			t.Errorf("extents %v, %v: want 25", x, err)
		}
		unpackAndCompare(t, im, listing(t, im))
	}
}

// fromExtents reads a file as one who sends it does: from the image.
func fromExtents(t *testing.T, im *Image, name string, size int64) (all []byte) {
	t.Helper()
	file, err := im.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	x := file.(interface {
		Extent(off int64) (*os.File, int64, int64)
	})
	for off := int64(0); off < size; {
		f, at, n := x.Extent(off)
		if f == nil || n <= 0 {
			t.Fatalf("%s at %d: lies nowhere", name, off)
		}
		p := make([]byte, min(n, 1000)) // from amidst an extent too
		if _, err := f.ReadAt(p, at); err != nil {
			t.Fatal(err)
		}
		all = append(all, p...)
		off += int64(len(p))
	}
	if f, _, n := x.Extent(size); f != nil || n != 0 {
		t.Errorf("%s: %d bytes beyond its end", name, n)
	}
	return all
}

// TestOver4GiB: such a file as xorriso writes it. It takes 4 GiB of disk.
func TestOver4GiB(t *testing.T) {
	if os.Getenv("MARGAY_TEST_REAL") == "" {
		t.Skip("takes half a minute and 4 GiB; set MARGAY_TEST_REAL=1")
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 4<<30 + 12345
	f.Truncate(size)
	f.WriteAt([]byte("start"), 0)
	f.WriteAt([]byte("over the edge"), 4<<30-4)
	f.WriteAt([]byte("end"), size-3)
	f.Close()
	iso := filepath.Join(t.TempDir(), "x.iso")
	run(t, "xorriso", "-as", "mkisofs", "-R", "-iso-level", "3", "-o", iso, dir)
	os.Remove(filepath.Join(dir, "huge"))
	im := open(t, iso)
	fi, err := fs.Stat(im, "huge")
	if err != nil || fi.Size() != size {
		t.Fatalf("got %v, %v, want %d bytes", fi, err, int64(size))
	}
	file, err := im.Open("huge")
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64]string{0: "start", 4<<30 - 4: "over the edge", size - 3: "end"} {
		got := make([]byte, len(want))
		if _, err := file.(io.ReaderAt).ReadAt(got, off); err != nil || string(got) != want {
			t.Errorf("at %d: got %q, %v, want %q", off, got, err, want)
		}
	}
}

func TestWhatIsNotAMedium(t *testing.T) {
	whole, err := os.ReadFile(provisiontest.MakeESXi(t, provisiontest.ESXi{Version: "7.0.0"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not a readable"},
		{"text", []byte(strings.Repeat("hello ", 10000)), "not a readable"},
		{"cut in the files", whole[:len(whole)/2], "cut short"},
		{"cut in the last file", whole[:len(whole)-3000], "cut short"},
		{"cut in the index", whole[:18*sector], "cut short"},
	} {
		_, err := New(bytes.NewReader(tt.data), int64(len(tt.data)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.name, err, tt.want)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("opened a directory")
	}
}
