package vmdk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// disk is a raw disk with data here and there: zeros at the start, random
// grains, a repeated one, and a last one that is not full.
func disk(size int) []byte {
	r := rand.NewChaCha8([32]byte{7})
	b := make([]byte, size)
	step := 5 * GrainSize
	if size > 4<<20 {
		step = 50 * GrainSize // compressing takes its time
	}
	for off := GrainSize; off < size; off += step {
		r.Read(b[off:min(size, off+GrainSize+1000)])
	}
	if size > 0 {
		b[size-1] = 0x5a
	}
	return b
}

func sizes() []int {
	return []int{512, GrainSize, GrainSize + 512, 33 << 20, 40<<20 + 1536}
}

func stream(t testing.TB, raw []byte, chunk int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, "x.vmdk", int64(len(raw)), 0x12345678)
	if err != nil {
		t.Fatal(err)
	}
	for p := raw; len(p) > 0; {
		n := min(chunk, len(p))
		if _, err := w.Write(p[:n]); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readAll(t testing.TB, img *Image) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(img, 0, img.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStreamComesBack(t *testing.T) {
	for _, n := range sizes() {
		raw := disk(n)
		for _, chunk := range []int{len(raw), 70001} {
			b := stream(t, raw, chunk)
			img, err := Open(fstest.MapFS{"x.vmdk": {Data: b}}, "x.vmdk")
			if err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if !bytes.Equal(readAll(t, img), raw) {
				t.Errorf("%d bytes written by %d come back otherwise", n, chunk)
			}
			var again bytes.Buffer
			if err := img.Stream(&again, "x.vmdk", 0x12345678); err != nil || !bytes.Equal(again.Bytes(), b) {
				t.Errorf("%d bytes: streamed again otherwise: %v", n, err)
			}
			img.Close()
		}
	}
}

func TestWriterLimits(t *testing.T) {
	w, err := NewWriter(io.Discard, "x.vmdk", 1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 2048)); err == nil {
		t.Error("more than the disk is let pass")
	}
	for _, size := range []int64{0, -1, MaxSize + 1} {
		if _, err := NewWriter(io.Discard, "x.vmdk", size, 1); !errors.Is(err, ErrInvalid) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

func TestDescriptor(t *testing.T) {
	d := NewFlat("vm1.vmdk", 4<<30, 0xfffffffe, true)
	got, err := ParseDescriptor(d.Format())
	if err != nil || got.Size() != 4<<30 || !got.Thin() || got.ParentCID != NoParent || got.Extents[0].File != "vm1-flat.vmdk" {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, bad := range []string{
		"", "createType=\"x\"", "createType=\"x\"\nRW 10 FLAT \"../x\"", "createType=\"x\"\nRW 10 FLAT \"/etc/passwd\"", "createType=\"x\"\nRW -1 FLAT \"x\"",
		"createType=\"x\"\nRW 99999999999999 FLAT \"x\"", "createType=\"x\"\nRW 1 FLAT", "createType=\"x\"\nCID=zz\nRW 1 ZERO", "createType=\"x\"\nwhat\nRW 1 ZERO",
	} {
		if _, err := ParseDescriptor([]byte(bad)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if n, err := DescriptorName("a-flat-flat.vmdk"); err != nil || n != "a-flat.vmdk" {
		t.Errorf("DescriptorName = %q, %v", n, err)
	}
	if _, err := DescriptorName("a.vmdk"); err == nil {
		t.Error("a file that is no pair's is let pass")
	}
}

func TestFlatPairAndZero(t *testing.T) {
	raw := disk(1 << 20)
	text := "createType=\"twoGbMaxExtentFlat\"\nRW 2048 FLAT \"a-f001.vmdk\" 0\nRW 128 ZERO\n"
	img, err := Open(fstest.MapFS{"a.vmdk": {Data: []byte(text)}, "a-f001.vmdk": {Data: raw}}, "a.vmdk")
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, img); !bytes.Equal(got, append(raw, make([]byte, 64<<10)...)) {
		t.Error("flat extent and zeros come back otherwise")
	}
	if _, err := Open(fstest.MapFS{"a.vmdk": {Data: []byte(text)}, "a-f001.vmdk": {Data: raw[:100]}}, "a.vmdk"); !errors.Is(err, ErrInvalid) {
		t.Errorf("of a short extent: %v", err)
	}
	child := "createType=\"vmfsSparse\"\nparentCID=fffffffe\nparentFileNameHint=\"p.vmdk\"\nRW 1 VMFSSPARSE \"c-delta.vmdk\"\n"
	if _, err := Open(fstest.MapFS{"c.vmdk": {Data: []byte(child)}}, "c.vmdk"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "linked") {
		t.Errorf("of a linked disk: %v", err)
	}
}

func qemuImg(t testing.TB) string {
	t.Helper()
	bin, err := exec.LookPath("qemu-img")
	if err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal("qemu-img is not installed (package qemu-utils)")
		}
		t.Skip("qemu-img is not installed (package qemu-utils)")
	}
	return bin
}

func run(t testing.TB, bin string, args ...string) {
	t.Helper()
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", bin, args, err, out)
	}
}

// qemu-img, which shares no code with us, finds the same disk in what we
// write, and we in all kinds that it writes.
func TestAgainstQemuImg(t *testing.T) {
	bin := qemuImg(t)
	for _, n := range []int{512, GrainSize + 512, 33<<20 + 1536} {
		dir := t.TempDir()
		raw := filepath.Join(dir, "raw")
		data := disk(n)
		write(t, raw, data)
		ours := filepath.Join(dir, "ours.vmdk")
		write(t, ours, stream(t, data, GrainSize))
		run(t, bin, "check", ours)
		run(t, bin, "compare", "-f", "raw", "-F", "vmdk", raw, ours)

		pair := filepath.Join(dir, "pair.vmdk")
		write(t, pair, NewFlat("pair.vmdk", int64(n), 1, true).Format())
		write(t, filepath.Join(dir, "pair-flat.vmdk"), data)
		run(t, bin, "compare", "-f", "raw", "-F", "vmdk", raw, pair)

		for _, kind := range []string{"monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized"} {
			name := kind + ".vmdk"
			run(t, bin, "convert", "-O", "vmdk", "-o", "subformat="+kind, raw, filepath.Join(dir, name))
			img, err := Open(os.DirFS(dir), name)
			if err != nil {
				t.Errorf("%s of %d bytes: %v", kind, n, err)
				continue
			}
			if !bytes.Equal(readAll(t, img)[:n], data) {
				t.Errorf("%s of %d bytes is read otherwise", kind, n)
			}
			img.Close()
		}
	}
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A disk far larger than memory costs by what it holds.
func TestSparseIsCheap(t *testing.T) {
	bin := qemuImg(t)
	name := filepath.Join(t.TempDir(), "x.vmdk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	const size = 40 << 30
	w, err := NewWriter(f, "x.vmdk", size, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Skip(39 << 30); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("at 39 GiB"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	st, err := os.Stat(name)
	if err != nil || st.Size() > 1<<20 {
		t.Errorf("%d bytes, %v", st.Size(), err)
	}
	run(t, bin, "check", name)
	img, err := Open(os.DirFS(filepath.Dir(name)), "x.vmdk")
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	b := make([]byte, 9)
	if _, err := img.ReadAt(b, 39<<30); err != nil || string(b) != "at 39 GiB" {
		t.Errorf("%q, %v", b, err)
	}
}

// Patches to a good image: whole images as input find nothing new.
func FuzzOpen(f *testing.F) {
	good := stream(f, disk(GrainSize*3), GrainSize)
	f.Add([]byte{0, 12, 255})
	f.Fuzz(func(t *testing.T, patch []byte) {
		b := bytes.Clone(good)
		for ; len(patch) >= 3; patch = patch[3:] {
			at := (int(patch[0])<<8 | int(patch[1])) * 7 % len(b)
			b[at] = patch[2]
		}
		img, err := Open(fstest.MapFS{"x.vmdk": {Data: b}}, "x.vmdk")
		if err != nil {
			return
		}
		defer img.Close()
		img.Grains(func(int64, []byte) error { return nil })
	})
}

func FuzzDescriptor(f *testing.F) {
	f.Add(NewFlat("x.vmdk", 1<<20, 1, true).Format())
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDescriptor(b)
		if err != nil {
			return
		}
		for _, e := range d.Extents {
			if strings.ContainsAny(e.File, `/\`) {
				t.Errorf("extent outside: %q", e.File)
			}
		}
	})
}
