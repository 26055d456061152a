package provisiontest

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestGzipFileUnpacks(t *testing.T) {
	for _, size := range []int64{0, 20, 24, 25, 1000, 18 + maxStored, 18 + maxStored + 1, 18 + maxStored + 4, 18 + maxStored + 5, 1 << 20} {
		var b bytes.Buffer
		f := GzipFile("x", size)
		if err := f.Write(&b); err != nil {
			t.Fatal(err)
		}
		if int64(b.Len()) != f.Size || size >= 24 && f.Size != size {
			t.Errorf("size %d: wrote %d, said %d", size, b.Len(), f.Size)
		}
		z, err := gzip.NewReader(&b)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if _, err := io.Copy(io.Discard, z); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// TestWriteESXiAgreesWithXorriso has xorriso unpack media of every shape and
// compares them, file by file, with what was asked for.
func TestWriteESXiAgreesWithXorriso(t *testing.T) {
	xorriso, err := exec.LookPath("xorriso")
	if err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal(err)
		}
		t.Skip("no xorriso")
	}
	specs := []ESXi{
		{Version: "4.1.0"},
		{Version: "5.5.0", Names: NamesRockRidge},
		{Version: "8.0.2", Names: NamesBoth, Vendor: "HPE"},
	}
	for _, spec := range specs {
		t.Run(spec.Version, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "x")
			out, err := exec.Command(xorriso, "-osirrox", "on", "-indev", MakeESXi(t, spec), "-extract", "/", dir).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, f := range spec.Tree() {
				var want bytes.Buffer
				if err := f.Write(&want); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(filepath.Join(dir, f.Path))
				if err != nil || !bytes.Equal(got, want.Bytes()) {
					t.Errorf("%s: differs (%v)", f.Path, err)
				}
			}
		})
	}
}

func TestWriteESXiIsDeterministic(t *testing.T) {
	a, err := os.ReadFile(MakeESXi(t, ESXi{Version: "7.0.3", Names: NamesJoliet}))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(MakeESXi(t, ESXi{Version: "7.0.3", Names: NamesJoliet}))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("the same medium came out twice, differing")
	}
}
