package media

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"margay/provision/provisiontest"
)

// bigMedium is an ESXi medium of the usual 450 MB.
func bigMedium(b *testing.B) string {
	file := filepath.Join(b.TempDir(), "big.iso")
	if err := provisiontest.WriteESXi(file, provisiontest.ESXi{Version: "8.0.2", Total: provisiontest.MediumSize}); err != nil {
		b.Fatal(err)
	}
	return file
}

// BenchmarkUnpack compares with xorriso in one run: -bench Unpack. Each
// includes putting all of it on disk.
func BenchmarkUnpack(b *testing.B) {
	file := bigMedium(b)
	b.Run("margay", func(b *testing.B) {
		benchUnpack(b, func(dir string) error {
			im, err := Open(file)
			if err != nil {
				return err
			}
			defer im.Close()
			return im.Unpack(context.Background(), dir, nil)
		})
	})
	xorriso, err := exec.LookPath("xorriso")
	if err != nil {
		b.Skip(err)
	}
	b.Run("xorriso", func(b *testing.B) {
		benchUnpack(b, func(dir string) error {
			if err := exec.Command(xorriso, "-osirrox", "on", "-indev", file, "-extract", "/", dir).Run(); err != nil {
				return err
			}
			return exec.Command("sync", "-f", dir).Run()
		})
	})
}

func benchUnpack(b *testing.B, unpack func(dir string) error) {
	b.SetBytes(provisiontest.MediumSize)
	for b.Loop() {
		dir, err := os.MkdirTemp(b.TempDir(), "x")
		if err != nil {
			b.Fatal(err)
		}
		if err := unpack(dir); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		os.RemoveAll(dir)
		b.StartTimer()
	}
}

// BenchmarkOpen is what importing in place costs.
func BenchmarkOpen(b *testing.B) {
	file := bigMedium(b)
	for b.Loop() {
		im, err := Open(file)
		if err != nil {
			b.Fatal(err)
		}
		im.Close()
	}
}
