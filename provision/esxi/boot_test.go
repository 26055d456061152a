package esxi

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision"
	"margay/provision/media"
	"margay/provision/provisiontest"
	"margay/templates"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// lines are ESXi's lines as media of them are laid out.
var lines = []string{"4.1.0", "5.0.0", "5.5.0", "6.0.0", "6.5.0", "6.7.0", "7.0.3", "8.0.2", "9.0.0"}

// medium opens a synthetic medium.
func medium(t testing.TB, spec provisiontest.ESXi) fs.FS {
	t.Helper()
	im, err := media.Open(provisiontest.MakeESXi(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

// trees are those that treeOf made, by version.
var trees sync.Map

// treeOf is a medium's files in memory, made once a version.
func treeOf(t testing.TB, version string) fs.FS {
	t.Helper()
	if tree, ok := trees.Load(version); ok {
		return tree.(fs.FS)
	}
	m := fstest.MapFS{}
	for _, f := range (provisiontest.ESXi{Version: version, Total: 1 << 20}).Tree() {
		var b bytes.Buffer
		if err := f.Write(&b); err != nil {
			t.Fatal(err)
		}
		m[f.Path] = &fstest.MapFile{Data: b.Bytes()}
	}
	trees.Store(version, m)
	return m
}

// attrs are a node's columns: "esxi.vlan=12".
type attrs []string

// bootOf is a node's boot from a tree, as provision would put it together.
func bootOf(t testing.TB, tree fs.FS, os string, mode nodedb.Mode, fw netboot.Firmware, more ...string) *provision.Boot {
	t.Helper()
	var key []nodedb.Record // prodkey is a table of its own
	more = slices.DeleteFunc(slices.Clone(more), func(attr string) bool {
		v, ok := strings.CutPrefix(attr, "prodkey.key=")
		if ok {
			key = append(key, nodedb.Record{Key: nodedb.Key{Kind: "prodkey", Name: "esx1" + nodedb.KeySep + "esx"}, Attrs: map[string]string{"prodkey.key": v}})
		}
		return ok
	})
	db := nodedbtest.New(t, append(key,
		nodedbtest.Node("esx1", "hosts", append([]string{"mac.mac=00:50:56:aa:bb:cc", "hosts.ip=10.1.0.11"}, more...)...),
		nodedbtest.Network("mgt", "10.1.0.0", "255.255.0.0", "networks.gateway=10.1.0.254", "networks.domain=cluster.example",
			"networks.nameservers=<xcatmaster>", "networks.ntpservers=10.1.0.2"),
		nodedbtest.Network("other", "10.2.0.0", "255.255.255.0", "networks.gateway=10.2.0.1"),
		nodedbtest.Password("vmware", "root", "cluster"),
		nodedbtest.Site("domain", "cluster.example"),
		nodedbtest.Site("sshkeys", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHn root@mn"),
	)...)
	snap := db.Snapshot()
	n, err := snap.Node("esx1")
	if err != nil {
		t.Fatal(err)
	}
	profile := "base"
	if mode == nodedb.ModeNetboot {
		profile = "hypervisor"
	}
	return &provision.Boot{
		Snap: snap, Node: n, Mode: mode, OS: os, Arch: "x86_64", Profile: profile,
		Server: netip.MustParseAddr("10.1.0.1"), Base: "http://10.1.0.1", Tree: tree,
		TreePath: "install/" + os + "/x86_64", Token: "esx1.1.0123456789abcdef0123456789abcdef", Firmware: fw,
		MAC: net.HardwareAddr{0, 0x50, 0x56, 0xaa, 0xbb, 0xcc},
	}
}

func family() *Family { return New(templates.New("")) }

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; go test -run %s -update rewrites it\ngot:\n%s\nwant:\n%s", file, t.Name(), got, want)
	}
}

// A way is how a machine comes to ESXi's boot loader.
type way struct {
	name     string
	firmware netboot.Firmware
	http     bool
	tftp     bool
	since    Version
}

var ways = []way{
	{name: "bios", firmware: netboot.BIOS},
	{name: "uefi", firmware: netboot.UEFI64, since: Version{5}},
	{name: "uefi-http", firmware: netboot.UEFI64, http: true, since: Version{7}},
	{name: "uefi-tftp", firmware: netboot.UEFI64, tftp: true, since: Version{5}},
}

// TestGolden is every file of every line, firmware and mode.
func TestGolden(t *testing.T) {
	for _, v := range lines {
		tree := medium(t, provisiontest.ESXi{Version: v})
		rel, err := family().Recognize(tree)
		if err != nil || rel == nil {
			t.Fatalf("%s: %v", v, err)
		}
		for _, mode := range []nodedb.Mode{nodedb.ModeInstall, nodedb.ModeNetboot} {
			for _, w := range ways {
				if ParseVersion(v).Compare(w.since) >= 0 {
					goldenBoot(t, bootOf(t, tree, rel.OS, mode, w.firmware), w)
				}
			}
		}
	}
}

// goldenBoot is every file of one boot. The kickstart is the same whatever the
// firmware.
func goldenBoot(t *testing.T, b *provision.Boot, w way) {
	t.Helper()
	b.HTTPBoot, b.TFTP = w.http, w.tftp
	for _, name := range family().Files(b) {
		text, err := family().Make(b, name)
		if err != nil {
			t.Errorf("%s %s %s %s: %v", b.OS, b.Mode, w.name, name, err)
			continue
		}
		switch {
		case strings.HasSuffix(name, ".tgz"):
		case name == "ks.cfg":
			golden(t, filepath.Join(b.OS, name), text)
		default:
			golden(t, filepath.Join(b.OS, string(b.Mode)+"-"+w.name, name), text)
		}
	}
}

func TestARM64(t *testing.T) {
	tree := medium(t, provisiontest.ESXi{Version: "8.0.3", Arch: "aarch64"})
	b := bootOf(t, tree, "esxi8.0.3", nodedb.ModeInstall, netboot.UEFIARM64)
	b.Arch, b.TreePath = "aarch64", "install/esxi8.0.3/aarch64"
	goldenBoot(t, b, way{name: "arm64"})
	b.Firmware = netboot.UEFI64
	if _, err := family().Make(b, "script"); err == nil || !strings.Contains(err.Error(), "no boot loader for uefi") {
		t.Errorf("x64 firmware, arm64 medium: %v", err)
	}
}

// TestPrefixOfTheMedium: discs that hold several systems keep each in a
// directory of its own.
func TestPrefixOfTheMedium(t *testing.T) {
	tree := fstest.MapFS{}
	for name, text := range map[string]string{
		"boot.cfg":   "kernel=b.b00\nprefix=/ESX8\nkernelopt=runweasel\nmodules=k.b00 --- /other/s.v00\nbuild=8.0.2-0.0.22380479\n",
		"ESX8/B.B00": "x", "ESX8/K.B00": "x", "other/s.v00": "x", "mboot.c32": "x",
	} {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	rel, err := family().Recognize(tree)
	if err != nil || len(rel.Modules) != 3 || rel.Modules[0].Name != "ESX8/B.B00" {
		t.Fatalf("%+v, %v", rel, err)
	}
	text, err := family().Make(bootOf(t, tree, rel.OS, nodedb.ModeInstall, netboot.BIOS), "boot.cfg")
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]string{"kernel=": "kernel=ESX8/B.B00", "modules=": "modules=ESX8/K.B00 --- other/s.v00", "prefix=": "prefix=http://10.1.0.1/install/esxi8.0.2/x86_64"} {
		if got := lineOf(string(text), word); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestUnknownFirmwareGetsAScriptForBoth(t *testing.T) {
	tree := medium(t, provisiontest.ESXi{Version: "8.0.2"})
	text, err := family().Make(bootOf(t, tree, "esxi8.0.2", nodedb.ModeInstall, netboot.FirmwareUnknown), "script")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "script-unknown", text)
}

func TestHTTPBootHasNoScript(t *testing.T) {
	tree := medium(t, provisiontest.ESXi{Version: "8.0.2"})
	b := bootOf(t, tree, "esxi8.0.2", nodedb.ModeInstall, netboot.UEFI64)
	b.HTTPBoot = true
	if got := family().Files(b); !slices.Equal(got, []string{"boot.cfg", "ks.cfg"}) {
		t.Errorf("files %v", got)
	}
	if name, err := family().Loader(b); err != nil || name != "efi/boot/bootx64.efi" {
		t.Errorf("loader %s, %v", name, err)
	}
	old := bootOf(t, medium(t, provisiontest.ESXi{Version: "6.7.0"}), "esxi6.7", nodedb.ModeInstall, netboot.UEFI64)
	old.HTTPBoot = true
	if _, err := family().Make(old, "boot.cfg"); err == nil || !strings.Contains(err.Error(), "knows no UEFI HTTP boot") {
		t.Errorf("6.7 by HTTP: %v", err)
	}
}

// TestTFTPBoot: VMware's loader, started by the firmware's PXE, knows no URLs;
// the installer after it does.
func TestTFTPBoot(t *testing.T) {
	for mode, want := range map[nodedb.Mode]string{
		nodedb.ModeInstall: "ks=http://10.1.0.1/boot/esx1/ks.cfg?t=",
		nodedb.ModeNetboot: " --- /boot/esx1/overlay.tgz?t=esx1.1.0123456789abcdef0123456789abcdef\n",
	} {
		b := bootOf(t, treeOf(t, "8.0.2"), "esxi8.0.2", mode, netboot.UEFI64)
		b.TFTP = true
		text, err := family().Make(b, "boot.cfg")
		if err != nil {
			t.Fatal(err)
		}
		if got := lineOf(string(text), "prefix="); got != "prefix=/install/esxi8.0.2/x86_64" || !strings.Contains(string(text), want) {
			t.Errorf("%s: got %q and no %q in\n%s", mode, got, want, text)
		}
		if slices.Contains(family().Files(b), "script") {
			t.Errorf("%s: a script by TFTP", mode)
		}
	}
}

func TestLoaderIsUEFIOnly(t *testing.T) {
	tree := medium(t, provisiontest.ESXi{Version: "7.0.3"})
	if _, err := family().Loader(bootOf(t, tree, "esxi7.0.3", nodedb.ModeInstall, netboot.BIOS)); !errors.Is(err, nodedb.ErrNotFound) {
		t.Errorf("BIOS: %v, want ErrNotFound", err)
	}
	arm := medium(t, provisiontest.ESXi{Version: "8.0.3", Arch: "aarch64"})
	if name, err := family().Loader(bootOf(t, arm, "esxi8.0.3", nodedb.ModeInstall, netboot.UEFIARM64)); err != nil || name != "efi/boot/bootaa64.efi" {
		t.Errorf("arm64: %s, %v", name, err)
	}
}

// TestModulesAreWhatBootCfgNames: the sum of sizes is what progress is
// measured against.
func TestModulesAreWhatBootCfgNames(t *testing.T) {
	spec := provisiontest.ESXi{Version: "8.0.2", Mixed: true}
	tree := medium(t, spec)
	for mode, without := range map[nodedb.Mode]string{nodedb.ModeInstall: "", nodedb.ModeNetboot: "weaselin.v00"} {
		b := bootOf(t, tree, "esxi8.0.2", mode, netboot.UEFI64)
		list, err := family().Modules(b)
		if err != nil {
			t.Fatal(err)
		}
		text, err := family().Make(b, "boot.cfg")
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := ParseConfig(string(text))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"efi/boot/bootx64.efi", "efi/boot/crypto64.efi", cfg.Kernel().Path}
		for _, m := range cfg.Modules() {
			if !isAbsolute(m.Path) {
				want = append(want, m.Path)
			}
		}
		var got []string
		for _, m := range list {
			got = append(got, m.Name)
			if fi, err := fs.Stat(tree, m.Name); err != nil || fi.Size() != m.Size || m.Size == 0 {
				t.Errorf("%s: size %d, tree says %v, %v", m.Name, m.Size, fi, err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v\nwant %v", mode, got, want)
		}
		if without != "" && slices.Contains(got, without) {
			t.Errorf("%s: %s is still there", mode, without)
		}
	}
}
