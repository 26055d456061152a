package esxi

import (
	"context"
	"net/netip"
	"os"
	"testing"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision"
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

// BenchmarkBootConfigAgain is a boot.cfg as the service sends it when nothing has
// changed since it was made.
func BenchmarkBootConfigAgain(b *testing.B) {
	ctx := context.Background()
	db := nodedbtest.New(b,
		nodedbtest.Node("esx1", "all", "mac.mac=00:50:56:aa:bb:cc", "hosts.ip=10.1.0.11", "nodetype.arch=x86_64"),
		nodedbtest.Network("mgt", "10.1.0.0", "255.255.0.0"),
		nodedbtest.Password("vmware", "root", "cluster"))
	s := provision.NewService(provision.Config{
		DB: db, State: b.TempDir(), Families: []provision.Family{family()}, HTTPPort: 80,
		Medium: func(path string) (provision.MediumFile, error) { return media.Open(path) },
		Local:  func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16")} },
	})
	iso := provisiontest.MakeESXi(b, provisiontest.ESXi{Version: "8.0.2", Total: 1 << 20})
	if _, err := s.Copycds(ctx, provision.Copy{Path: iso}); err != nil {
		b.Fatal(err)
	}
	if res, err := s.Nodeset(ctx, []string{"esx1"}, provision.Action{Image: "esxi8.0.2-x86_64-install-base"}); err != nil || res[0].Err != nil {
		b.Fatal(err, res)
	}
	m := netboot.Machine{Addr: netip.MustParseAddr("10.1.0.11"), Local: netip.MustParseAddr("10.1.0.1"), Firmware: netboot.UEFI64}
	get := func(name string) {
		f, err := s.Open(ctx, m, name)
		if err != nil {
			b.Fatal(err)
		}
		f.Body.Close()
	}
	get("boot/esx1/script")
	b.ReportAllocs()
	for b.Loop() {
		get("boot/esx1/boot.cfg")
	}
}
