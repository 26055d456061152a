package esxi

import (
	"context"
	"os"
	"testing"

	"margay/netboot"
	"margay/nodedb"
	"margay/provision/media"
	"margay/provision/provisiontest"
)

// benchBoot is a boot from an unpacked tree, as the server has it.
func benchBoot(b *testing.B, mode nodedb.Mode, name string) {
	im, err := media.Open(provisiontest.MakeESXi(b, provisiontest.ESXi{Version: "8.0.2"}))
	if err != nil {
		b.Fatal(err)
	}
	defer im.Close()
	dir := b.TempDir()
	if err := im.Unpack(context.Background(), dir, nil); err != nil {
		b.Fatal(err)
	}
	f := family()
	boot := bootOf(b, os.DirFS(dir), "esxi8.0.2", mode, netboot.UEFI64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Make(boot, name); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBootConfig(b *testing.B) { benchBoot(b, nodedb.ModeInstall, "boot.cfg") }
func BenchmarkKickstart(b *testing.B)  { benchBoot(b, nodedb.ModeInstall, "ks.cfg") }
func BenchmarkScript(b *testing.B)     { benchBoot(b, nodedb.ModeInstall, "script") }
func BenchmarkOverlay(b *testing.B)    { benchBoot(b, nodedb.ModeNetboot, "overlay.tgz") }

func BenchmarkRecognize(b *testing.B) {
	im, err := media.Open(provisiontest.MakeESXi(b, provisiontest.ESXi{Version: "8.0.2"}))
	if err != nil {
		b.Fatal(err)
	}
	defer im.Close()
	for b.Loop() {
		if _, err := family().Recognize(im); err != nil {
			b.Fatal(err)
		}
	}
}
