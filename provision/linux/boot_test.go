package linux

import (
	"bytes"
	"flag"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"margay/netboot"
	"margay/nodedb"
	"margay/nodedb/nodedbtest"
	"margay/provision"
	"margay/provision/provisiontest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const token = "vm1.1.0123456789abcdef0123456789abcdef"

// hashed is a password's hash, so that golden files do not change with salts.
const hashed = "$6$saltsalt$UsfM2ow8H4ZKHAeKlTYZjd5O9cCvkqkVsDPcLaVPxvpp/OG0/JfBAvkBv3vZF8Hb1EvxDLWw0jHB5kKuO8ZO01"

// A setup is what a test's node and its image are.
type setup struct {
	os      string
	mode    nodedb.Mode
	attrs   []string // of the node
	image   []string // of its osimage; nil: none
	records []nodedb.Record
	install fstest.MapFS
	tree    fs.FS // nil: that of the medium
}

func (s setup) boot(t testing.TB) *provision.Boot {
	t.Helper()
	if s.mode == "" {
		s.mode = nodedb.ModeInstall
	}
	arch := "x86_64"
	for _, r := range provisiontest.LinuxReleases() {
		if r.OS == s.os {
			arch = r.Arch
		}
	}
	records := append([]nodedb.Record{
		nodedbtest.Node("vm1", "vms", append([]string{"mac.mac=00:50:56:aa:bb:cc", "hosts.ip=10.1.0.11"}, s.attrs...)...),
		nodedbtest.Network("lan", "10.1.0.0", "255.255.0.0", "networks.gateway=10.1.0.254", "networks.domain=cluster.example",
			"networks.nameservers=<xcatmaster>", "networks.ntpservers=10.1.0.2"),
		nodedbtest.Network("storage", "10.2.0.0", "255.255.255.0"),
		nodedbtest.Password("system", "root", hashed),
		nodedbtest.Site("sshkeys", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHn root@mn"),
		nodedbtest.Site("timezone", "Europe/Berlin"),
	}, s.records...)
	b := &provision.Boot{
		Mode: s.mode, OS: s.os, Arch: arch, Profile: "compute",
		Server: netip.MustParseAddr("10.1.0.1"), Base: "http://10.1.0.1", TreePath: "install/" + s.os + "/" + arch, Token: token,
		Firmware: netboot.BIOS, MAC: net.HardwareAddr{0, 0x50, 0x56, 0xaa, 0xbb, 0xcc}, MediumURL: "http://10.1.0.1/install/" + s.os + "/" + arch + "/medium.iso",
	}
	if s.image != nil {
		attrs := map[string]string{}
		for _, a := range s.image {
			k, v, _ := strings.Cut(a, "=")
			attrs[k] = v
		}
		records = append(records, nodedb.Record{Key: nodedb.Key{Kind: nodedb.KindImage, Name: "img"}, Attrs: attrs})
	}
	b.Snap = nodedbtest.New(t, records...).Snapshot()
	var err error
	if b.Node, err = b.Snap.Node("vm1"); err != nil {
		t.Fatal(err)
	}
	if s.image != nil {
		if b.Image, err = b.Snap.Image("img"); err != nil {
			t.Fatal(err)
		}
	}
	if s.install != nil {
		b.Install = s.install
	}
	switch {
	case s.tree != nil:
		b.Tree = s.tree
	case s.mode == nodedb.ModeInstall:
		b.Tree = treeOf(t, provisiontest.Linux{OS: s.os})
	}
	return b
}

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
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run go test -update and read the diff. Got:\n%s", name, got)
	}
}

// cdOnly are media whose installers know no network.
func cdOnly(os string) bool { return os == "debian10.13" || os == "debian12.5" }

// TestGolden renders every file of an install of every release: by DHCP on a
// bare node, and with all that the table can say.
func TestGolden(t *testing.T) {
	scripts := fstest.MapFS{"postscripts/setup": {Data: []byte("#!/bin/sh\n"), Mode: 0o755}, "postscripts/late": {Data: []byte("#!/bin/sh\n"), Mode: 0o755}}
	full := []string{
		"nodehm.serialport=0", "nodehm.serialspeed=115200", "nodehm.serialflow=hard", "nics.nicips=eth1!10.2.0.11",
		"bootparams.addkcmdline=net.ifnames=0 R::mitigations=off rack=#NODEATTRIB:nodepos:rack#", "nodepos.rack=r7",
		"postscripts.postscripts=setup a 'b", "postscripts.postbootscripts=late",
	}
	for _, r := range provisiontest.LinuxReleases() {
		for name, s := range map[string]setup{
			"plain": {os: r.OS},
			"full": {os: r.OS, attrs: full, install: scripts, records: []nodedb.Record{nodedbtest.Site("managedaddressmode", "static")},
				image: []string{"osimage.osvers=" + r.OS, "linuximage.addkcmdline=quiet"}},
		} {
			t.Run(r.OS+" "+name, func(t *testing.T) {
				if cdOnly(r.OS) {
					s.tree = treeOf(t, provisiontest.Linux{OS: r.OS, Files: map[string][]byte{
						"debian-installer/amd64/linux": []byte("k"), "debian-installer/amd64/initrd.gz": []byte("i"),
					}})
				}
				b := s.boot(t)
				for _, file := range family().Files(b) {
					text, err := family().Make(b, file)
					if err != nil {
						t.Fatalf("%s: %v", file, err)
					}
					if file != packName && (file != postName || r.OS == "rhels9.4" || r.OS == "debian12.5") && file != "vendor-data" {
						golden(t, r.OS+"."+name+"."+file, text)
					}
				}
			})
		}
	}
}
