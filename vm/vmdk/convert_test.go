package vmdk

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func openAny(t testing.TB, dir, name string) (Disk, string) {
	t.Helper()
	d, format, err := OpenAny(os.DirFS(dir), name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() { d.Close() })
	return d, format
}

func content(t testing.TB, d Disk) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every format that is written is read again as it was, and qemu-img finds
// the same disk in it and no fault.
func TestConvert(t *testing.T) {
	for _, n := range []int{512, GrainSize + 512, 33<<20 + 1536} {
		dir := t.TempDir()
		data := disk(n)
		write(t, filepath.Join(dir, "x.raw"), data)
		src, format := openAny(t, dir, "x.raw")
		if format != FormatRaw {
			t.Errorf("x.raw is %s", format)
		}
		for _, f := range Formats() {
			name := "to-" + f + Extension(f)
			files, err := Convert(src, dir, name, f, nil)
			if err != nil || files[0] != name {
				t.Fatalf("%s of %d bytes: %v, %v", f, n, files, err)
			}
			d, got := openAny(t, dir, name)
			if got != f && got != createTypes[f] {
				t.Errorf("%s is read as %s", name, got)
			}
			if !bytes.Equal(content(t, d), data) {
				t.Errorf("%s of %d bytes comes back otherwise", f, n)
			}
			if _, err := Convert(src, dir, name, f, nil); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s was written over: %v", name, err)
			}
		}
		againstQemu(t, dir)
	}
}

func againstQemu(t *testing.T, dir string) {
	t.Helper()
	bin := qemuImg(t)
	for _, f := range Formats() {
		kind := "vmdk"
		if ext := Extension(f); ext != ".vmdk" {
			kind = ext[1:]
		}
		name := filepath.Join(dir, "to-"+f+Extension(f))
		run(t, bin, "compare", "-f", "raw", "-F", kind, filepath.Join(dir, "x.raw"), name)
		switch f {
		case FormatQCOW2, FormatVDI, "monolithicSparse", "streamOptimized", "2gbsparse":
			run(t, bin, "check", "-f", kind, name)
		}
	}
}

// What qemu-img writes is read, in all the ways in which it writes it.
func TestReadQemu(t *testing.T) {
	bin := qemuImg(t)
	for _, n := range []int{512, 3<<20 + 1536} {
		dir := t.TempDir()
		data := disk(n)
		in := filepath.Join(dir, "x.raw")
		write(t, in, data)
		for i, o := range [][]string{
			{"qcow2", "-o", "compat=0.10"}, {"qcow2", "-o", "compat=1.1"}, {"qcow2", "-o", "cluster_size=512"}, {"qcow2", "-o", "cluster_size=2M"},
			{"qcow2", "-c"}, {"qcow2", "-c", "-o", "cluster_size=512"}, {"qcow2", "-c", "-o", "compression_type=zstd"}, {"qcow2", "-c", "-o", "compression_type=zstd,cluster_size=2M"},
			{"qcow2", "-o", "preallocation=full"}, {"qcow2", "-o", "lazy_refcounts=on"}, {"vdi"}, {"vdi", "-o", "static=on"},
		} {
			name := strings.ReplaceAll(strings.Join(o, "_"), "=", "-") + "." + o[0]
			run(t, bin, append(append([]string{"convert", "-f", "raw", "-O"}, o...), in, filepath.Join(dir, name))...)
			d, format := openAny(t, dir, name)
			if format != o[0] {
				t.Errorf("%d: %s is read as %s", i, name, format)
			}
			if !bytes.Equal(content(t, d)[:n], data) {
				t.Errorf("%s of %d bytes is read otherwise", name, n)
			}
		}
	}
}

// What cannot be read whole is refused, with what to do about it.
func TestRefused(t *testing.T) {
	bin := qemuImg(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	run(t, bin, "create", "-f", "qcow2", at("base.qcow2"), "1M")
	run(t, bin, "create", "-f", "qcow2", "-b", at("base.qcow2"), "-F", "qcow2", at("overlay.qcow2"))
	run(t, bin, "create", "-f", "qcow2", "-o", "extended_l2=on", at("split.qcow2"), "1M")
	run(t, bin, "create", "-f", "qcow2", "-o", "data_file="+at("data")+",data_file_raw=on", at("external.qcow2"), "1M")
	run(t, bin, "create", "-f", "qcow2", "--object", "secret,id=s,data=x", "-o", "encrypt.format=aes,encrypt.key-secret=s", at("secret.qcow2"), "1M")
	write(t, at("some.txt"), []byte("text"))
	write(t, at("x-flat.vmdk"), make([]byte, 512))
	write(t, at("win.vhdx"), append([]byte("vhdxfile"), make([]byte, 512)...))
	write(t, at("empty.raw"), nil)
	for name, part := range map[string]string{
		"overlay.qcow2": "flatten it first: qemu-img convert", "split.qcow2": "extended_l2", "external.qcow2": "data in another file", "secret.qcow2": "encrypted",
		"some.txt": "raw with a name that ends in .raw", "x-flat.vmdk": "name its descriptor, x.vmdk", "win.vhdx": "Hyper-V", "empty.raw": "size 0",
	} {
		if _, _, err := OpenAny(os.DirFS(dir), name); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, want %q in it", name, err, part)
		}
	}
	for word, want := range map[string]string{"twoGbMaxExtentSparse": "2gbsparse", "FLAT": "vmfs", "QCOW2": "qcow2", "stream": "streamOptimized"} {
		if got, err := ParseFormat(word); err != nil || got != want {
			t.Errorf("ParseFormat(%q) = %q, %v", word, got, err)
		}
	}
	if _, err := ParseFormat("vhd"); err == nil {
		t.Error("vhd is taken for a format")
	}
}

// A split disk of several parts, most of it holes, is cheap.
func TestSplit(t *testing.T) {
	bin := qemuImg(t)
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "x.raw"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 5 << 30
	f.Truncate(size)
	for _, at := range []int64{0, 2047<<20 - 3, size - 100} {
		f.WriteAt([]byte("here is data"), at)
	}
	f.Close()
	run(t, bin, "convert", "-f", "raw", "-O", "qcow2", filepath.Join(dir, "x.raw"), filepath.Join(dir, "x.qcow2"))
	src, _ := openAny(t, dir, "x.qcow2")
	for _, format := range []string{"2gbsparse", "2gbflat", "vmfs", FormatVDI, FormatQCOW2} {
		name := "to-" + format + Extension(format)
		files, err := Convert(src, dir, name, format, nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(format, "2gb") && len(files) != 4 {
			t.Errorf("%s: %v", format, files)
		}
		kind := strings.TrimPrefix(Extension(format), ".")
		run(t, bin, "compare", "-f", "qcow2", "-F", kind, filepath.Join(dir, "x.qcow2"), filepath.Join(dir, name))
	}
	run(t, bin, "check", filepath.Join(dir, "to-qcow2.qcow2"))
}

// A conversion that fails leaves nothing.
func TestConvertFails(t *testing.T) {
	dir := t.TempDir()
	raw := disk(3 << 20)
	src, err := openRaw(broken{bytes.NewReader(raw)}, int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Formats() {
		if _, err := Convert(src, dir, "x"+Extension(f), f, nil); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("%s: %v", f, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A broken disk cannot be read in its middle.
type broken struct{ *bytes.Reader }

func (broken) Close() error { return nil }

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off > 1<<20 {
		return 0, io.ErrNoProgress
	}
	return b.Reader.ReadAt(p, off)
}

// Patches to good images of others' formats: whatever they say, reading ends,
// and takes no more memory than a cluster and the tables of the file.
func FuzzOthers(f *testing.F) {
	var good [][]byte
	dir := f.TempDir()
	data := disk(GrainSize * 5)
	write(f, filepath.Join(dir, "x.raw"), data)
	src, _ := openAny(f, dir, "x.raw")
	for _, format := range []string{FormatQCOW2, FormatVDI, "monolithicSparse"} {
		if _, err := Convert(src, dir, "x"+Extension(format), format, nil); err != nil {
			f.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "x"+Extension(format)))
		if err != nil {
			f.Fatal(err)
		}
		good = append(good, b)
	}
	f.Add(uint8(0), []byte{0, 23, 255})
	f.Add(uint8(1), []byte{1, 112, 255})
	f.Fuzz(func(t *testing.T, which uint8, patch []byte) {
		b := bytes.Clone(good[int(which)%len(good)])
		for ; len(patch) >= 3; patch = patch[3:] {
			at := int(patch[0])<<8 | int(patch[1])
			if at >= 1024 { // where the tables are
				at *= 8
			}
			b[at%len(b)] = patch[2]
		}
		d, _, err := OpenAny(fstest.MapFS{"x": {Data: b}}, "x")
		if err != nil {
			return
		}
		defer d.Close()
		if d.Size() > 1<<30 {
			return // a large disk takes long, and that is all
		}
		d.Grains(func(int64, []byte) error { return nil })
	})
}
