package esxi

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"margay/nodedb"
	"margay/provision/provisiontest"
)

func TestRecognizeEveryLine(t *testing.T) {
	for _, tt := range []struct {
		spec              provisiontest.ESXi
		os, build, detail string
		title, arch       string
	}{
		{spec: provisiontest.ESXi{Version: "4.1.0", Build: "260247"}, os: "esxi4.1", title: "VMware ESXi 4.1"},
		{spec: provisiontest.ESXi{Version: "5.0.0"}, os: "esxi5", build: "469512"},
		{spec: provisiontest.ESXi{Version: "5.1.0", Names: provisiontest.NamesRockRidge}, os: "esxi5.1", build: "799733"},
		{spec: provisiontest.ESXi{Version: "5.5.0", Names: provisiontest.NamesJoliet}, os: "esxi5.5", build: "1331820"},
		{spec: provisiontest.ESXi{Version: "6.0.0"}, os: "esxi6", build: "2494585"},
		{spec: provisiontest.ESXi{Version: "6.5.0"}, os: "esxi6.5", build: "4564106"},
		{spec: provisiontest.ESXi{Version: "6.7.0"}, os: "esxi6.7", build: "8169922"},
		{spec: provisiontest.ESXi{Version: "6.7.2", Release: "2.30"}, os: "esxi6.7.2", detail: "2.30"},
		{spec: provisiontest.ESXi{Version: "7.0.0"}, os: "esxi7", build: "15843807"},
		{spec: provisiontest.ESXi{Version: "7.0.3", Release: "0.55", Build: "20328353"}, os: "esxi7.0.3", build: "20328353", detail: "0.55"},
		{spec: provisiontest.ESXi{Version: "8.0.2", Build: "22380479", Names: provisiontest.NamesBoth}, os: "esxi8.0.2", build: "22380479", title: "VMware ESXi 8.0.2 build 22380479"},
		{spec: provisiontest.ESXi{Version: "8.0.3", Vendor: "DEL", Build: "24280767", Mixed: true}, os: "esxi8.0.3", title: "VMware ESXi 8.0.3 build 24280767 (DEL-ESXi-8.0.3-24280767.custom)"},
		{spec: provisiontest.ESXi{Version: "8.0.3", Arch: "aarch64"}, os: "esxi8.0.3", arch: "aarch64"},
		{spec: provisiontest.ESXi{Version: "9.0.0", Build: "24755229"}, os: "esxi9", build: "24755229"},
		{spec: provisiontest.ESXi{Version: "12.3.1", Build: "99999999"}, os: "esxi12.3.1", build: "99999999"}, // not yet out
	} {
		tree := medium(t, tt.spec)
		rel, err := family().Recognize(tree)
		if err != nil || rel == nil {
			t.Errorf("%s: %v, %v", tt.spec.Version, rel, err)
			continue
		}
		if rel.OS != tt.os || tt.build != "" && rel.Build != tt.build || rel.Detail != tt.detail {
			t.Errorf("%s: got os %s build %s detail %q, want %s %s %q", tt.spec.Version, rel.OS, rel.Build, rel.Detail, tt.os, tt.build, tt.detail)
		}
		if tt.title != "" && rel.Title != tt.title {
			t.Errorf("%s: title %q, want %q", tt.spec.Version, rel.Title, tt.title)
		}
		if want := tt.arch; want != "" && rel.Arch != want || want == "" && rel.Arch != "x86_64" {
			t.Errorf("%s: arch %s", tt.spec.Version, rel.Arch)
		}
		if len(rel.Modules) < 6 || len(rel.Images) != 3 || rel.Images[2].Mode != nodedb.ModeNetboot {
			t.Errorf("%s: %d modules, images %v", tt.spec.Version, len(rel.Modules), rel.Images)
		}
		for _, m := range rel.Modules {
			if fi, err := fs.Stat(tree, m.Name); err != nil || fi.Size() != m.Size {
				t.Errorf("%s: module %s: %v", tt.spec.Version, m.Name, err)
			}
		}
		if !family().Owns(rel.OS) || OSVersion(rel.OS).Compare(ParseVersion(rel.Version)) != 0 {
			t.Errorf("%s: name %s is not our own", tt.spec.Version, rel.OS)
		}
	}
}

// TestVersionSources: what the disc says elsewhere when metadata.xml is gone.
func TestVersionSources(t *testing.T) {
	cfg := "kernel=/b.b00\nmodules=/k.b00\nbuild=%\n"
	base := func(more map[string]string) fstest.MapFS {
		m := fstest.MapFS{}
		for name, text := range map[string]string{"BOOT.CFG": strings.ReplaceAll(cfg, "%", ""), "B.B00": "x", "K.B00": "x", "MBOOT.C32": "x"} {
			m[name] = &fstest.MapFile{Data: []byte(text)}
		}
		for name, text := range more {
			m[name] = &fstest.MapFile{Data: []byte(text)}
		}
		return m
	}
	for _, tt := range []struct {
		name, os, build string
		files           map[string]string
	}{
		{"boot.cfg", "esxi8.0.3", "24280767", map[string]string{"BOOT.CFG": strings.ReplaceAll(cfg, "%", "8.0.3-0.35.24280767")}},
		{"readme", "esxi5.5", "", map[string]string{"VMWARE-ESX-BASE-README": "VMware ESXi 5.5\nhello"}},
		{"readme of 9", "esxi9", "", map[string]string{"VMWARE-ESX-BASE-README": "VMware ESX 9.0\n"}},
		{"menu", "esxi6.7", "8169922", map[string]string{"ISOLINUX.CFG": "MENU TITLE ESXi-6.7.0-8169922-standard Boot Menu\n"}},
		{"menu with an update letter", "esxi7.0.3", "21930508", map[string]string{"ISOLINUX.CFG": "menu title ESXi-7.0U3n-21930508-standard Boot Menu\n"}},
		{"menu of a vendor", "esxi8.0.2", "22380479", map[string]string{"ISOLINUX.CFG": "MENU TITLE HPE-ESXi-8.0U2-22380479 Boot Menu\n"}},
		{"metadata first", "esxi6.5", "4564106", map[string]string{
			"UPGRADE/METADATA.XML": "<vum><product><esxVersion> 6.5.0 </esxVersion><build>4564106</build></product></vum>",
			"BOOT.CFG":             strings.ReplaceAll(cfg, "%", "8.0.3-0.35.24280767"),
		}},
		{"metadata without build", "esxi8.0.3", "24280767", map[string]string{
			"UPGRADE/METADATA.XML": "<m><esxVersion>8.0.3</esxVersion></m>",
			"BOOT.CFG":             strings.ReplaceAll(cfg, "%", "8.0.3-0.35.24280767"),
		}},
	} {
		rel, err := family().Recognize(base(tt.files))
		if err != nil || rel == nil || rel.OS != tt.os || rel.Build != tt.build {
			t.Errorf("%s: got %+v, %v, want %s build %s", tt.name, rel, err, tt.os, tt.build)
		}
	}
	if _, err := family().Recognize(base(nil)); err == nil || !strings.Contains(err.Error(), "which version") {
		t.Errorf("a disc that does not say: %v", err)
	}
}

func TestRecognizeRefusesIncompleteMedia(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec provisiontest.ESXi
		want string
	}{
		{"a module is missing", provisiontest.ESXi{Version: "8.0.2", Without: []string{"s.v00"}}, "s.v00 is missing"},
		{"the kernel is missing", provisiontest.ESXi{Version: "7.0.3", Without: []string{"b.b00"}}, "b.b00 is missing"},
		{"a module is empty", provisiontest.ESXi{Version: "6.5.0", Empty: []string{"sb.v00"}}, "sb.v00 is empty"},
		{"many", provisiontest.ESXi{Version: "6.5.0", Without: []string{"a.b00", "k.b00", "s.v00", "sb.v00", "user.b00"}}, "and 2 more"},
		{"of 4.1", provisiontest.ESXi{Version: "4.1.0", Without: []string{"install.vgz"}}, "install.vgz is missing"},
		{"no loader", provisiontest.ESXi{Version: "8.0.2", Without: []string{"mboot.c32", "efi/boot/bootx64.efi"}}, "no boot loader"},
		{"a bad boot.cfg", provisiontest.ESXi{Version: "8.0.2", Files: map[string][]byte{"boot.cfg": []byte("timeout=x\n")}}, "not a number"},
		{"an empty boot.cfg", provisiontest.ESXi{Version: "8.0.2", Files: map[string][]byte{"boot.cfg": []byte("title=x\n")}}, "no kernel="},
		{"bad metadata", provisiontest.ESXi{Version: "8.0.2", Files: map[string][]byte{"upgrade/metadata.xml": []byte("<a><b>")}}, "metadata.xml"},
	} {
		rel, err := family().Recognize(medium(t, tt.spec))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, %v, want %q", tt.name, rel, err, tt.want)
		}
	}
}

func TestRecognizeLeavesOthersAlone(t *testing.T) {
	text := func(files map[string]string) fstest.MapFS {
		m := fstest.MapFS{}
		for name, s := range files {
			m[name] = &fstest.MapFile{Data: []byte(s)}
		}
		return m
	}
	for name, m := range map[string]fstest.MapFS{
		"empty":  text(nil),
		"Linux":  text(map[string]string{".discinfo": "1\nRed Hat Enterprise Linux 9.4\n", "isolinux/isolinux.cfg": "x"}),
		"NetBSD": text(map[string]string{"boot.cfg": "menu=Boot:boot\nmenu=Boot single:boot -s\ntimeout=5\n"}),
	} {
		if rel, err := family().Recognize(m); rel != nil || err != nil {
			t.Errorf("%s: got %v, %v, want nothing", name, rel, err)
		}
	}
	for want, m := range map[string]fstest.MapFS{
		"ESXi 3.5":            text(map[string]string{"vmkernel.gz": "x", "isolinux.cfg": "menu title VMware ThinESX Installer"}),
		"service console":     text(map[string]string{"README": "x", "build_number": "1", "packages.xml": "x", "VMware/x": "x"}),
		"don't recognize":     text(map[string]string{"vmkernel.gz": "x", "README.txt": "Something else"}),
		"starts mboot.c32":    text(map[string]string{"vmkernel.gz": "x", "README.txt": "VMware ESXi 4.0", "isolinux.cfg": "label x"}),
		"vmkboot.gz is missi": text(map[string]string{"vmkernel.gz": "x", "README.txt": "VMware ESXi 4.0", "isolinux.cfg": "kernel mboot.c32\nappend vmkboot.gz --- vmkernel.gz"}),
	} {
		if rel, err := family().Recognize(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want %q", rel, err, want)
		}
	}
}

// FuzzRecognize: hostile text where a medium keeps its metadata.
func FuzzRecognize(f *testing.F) {
	f.Add("<vum><esxVersion>8.0.2</esxVersion></vum>", "kernel=b\nmodules=k\nbuild=8.0.2-0.0.1\n", "MENU TITLE ESXi-8.0U2-1-x")
	f.Add("<a>", "kernel=../../b\nmodules=a --- --- /\n", "append a --- b")
	f.Fuzz(func(t *testing.T, metadata, cfg, menu string) {
		m := fstest.MapFS{"b": {Data: []byte("x")}, "k": {Data: []byte("x")}, "vmkernel.gz": {Data: []byte("x")}, "README.txt": {Data: []byte("VMware ESXi 4.1")},
			"upgrade/metadata.xml": {Data: []byte(metadata)}, "boot.cfg": {Data: []byte(cfg)}, "isolinux.cfg": {Data: []byte(menu)}, "mboot.c32": {Data: []byte("x")}}
		rel, err := family().Recognize(m)
		if rel == nil || err != nil {
			return
		}
		if !family().Owns(rel.OS) || strings.ContainsAny(rel.OS+rel.Detail+rel.Build+rel.Arch, "/\\ \n\x00%?#") {
			t.Errorf("name %q detail %q build %q", rel.OS, rel.Detail, rel.Build)
		}
		for _, mod := range rel.Modules {
			if !fs.ValidPath(mod.Name) || mod.Size <= 0 {
				t.Errorf("module %+v", mod)
			}
		}
	})
}
