package provisiontest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An ESXi describes an installer medium to make: laid out as VMware's own of
// that version, filled with noise. Only Version is needed.
type ESXi struct {
	Version string // "4.1.0", "5.5.0", "8.0.2"
	Release string // "update.patch", as in boot.cfg's build=: "0.55"; default "0.0"
	Build   string // default by version
	Arch    string // "x86_64" (default) or "aarch64"
	Vendor  string // an OEM's word ("HPE"): its profile name and extra modules
	Names   Names  // of the medium; 4.1 always has Rock Ridge
	Mixed   bool   // boot.cfg spells one module in mixed case, as some media do

	Total      int64             // bytes of all modules; default 64 KiB a module
	NoMetadata bool              // leave the UPGRADE directory out
	Without    []string          // leave these files out: "s.v00"
	Empty      []string          // make these files 0 bytes long
	Files      map[string][]byte // put these in, over the medium's own
}

// Sizes of real media, for Total.
const (
	MiB        = 1 << 20
	MediumSize = 450 * MiB
)

// WriteESXi writes the medium to file.
func WriteESXi(file string, spec ESXi) error {
	if spec.isESXi4() && spec.Names == NamesUpper {
		spec.Names = NamesRockRidge
	}
	return WriteISO(file, ISO{Volume: spec.volume(), Names: spec.Names, Files: spec.Tree()})
}

// MakeESXi writes the medium into a directory of the test's and returns its path.
func MakeESXi(tb testing.TB, spec ESXi) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), spec.FileName())
	if err := WriteESXi(file, spec); err != nil {
		tb.Fatal(err)
	}
	return file
}

// WriteTree lays the medium's files out in dir, as an import of it would.
func WriteTree(dir string, spec ESXi) error {
	for _, f := range spec.Tree() {
		name := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		var b bytes.Buffer
		if err := f.Write(&b); err != nil {
			return err
		}
		if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// FileName is what VMware would call the medium.
func (e ESXi) FileName() string {
	return fmt.Sprintf("VMware-VMvisor-Installer-%s-%s.%s.iso", e.Version, e.build(), e.arch())
}

// Tree is the medium's files by their true names, sorted.
func (e ESXi) Tree() []MediaFile {
	files := e.tree50()
	if e.isESXi4() {
		files = e.tree41()
	}
	out := files[:0]
	for _, f := range files {
		switch _, replaced := e.Files[f.Path]; {
		case replaced, slices.Contains(e.Without, f.Path):
			continue
		case slices.Contains(e.Empty, f.Path):
			f = TextFile(f.Path, "")
		}
		out = append(out, f)
	}
	for name, content := range e.Files {
		out = append(out, TextFile(name, string(content)))
	}
	slices.SortFunc(out, func(a, b MediaFile) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func (e ESXi) isESXi4() bool { return strings.HasPrefix(e.Version, "4.") }

// atLeast says whether the version is that or newer; both have three parts.
func (e ESXi) atLeast(v string) bool { return e.Version >= v }

func (e ESXi) arch() string {
	if e.Arch != "" {
		return e.Arch
	}
	return "x86_64"
}

func (e ESXi) build() string {
	if e.Build != "" {
		return e.Build
	}
	builds := []string{"4.1", "260247", "5.0", "469512", "5.1", "799733", "5.5", "1331820", "6.0", "2494585",
		"6.5", "4564106", "6.7", "8169922", "7.0", "15843807", "8.0", "20513097", "9.0", "24755229"}
	for i := 0; i < len(builds); i += 2 {
		if strings.HasPrefix(e.Version, builds[i]) {
			return builds[i+1]
		}
	}
	return "1"
}

func (e ESXi) release() string {
	if e.Release != "" {
		return e.Release
	}
	return "0.0"
}

func (e ESXi) profile() string {
	if e.Vendor != "" {
		return fmt.Sprintf("%s-ESXi-%s-%s.custom", e.Vendor, e.Version, e.build())
	}
	return fmt.Sprintf("ESXi-%s-%s-standard", e.Version, e.build())
}

func (e ESXi) volume() string {
	return strings.ToUpper(fmt.Sprintf("ESXI-%s-%s", e.Version, e.build()))
}

// tree50 is a medium of 5.0 or later.
func (e ESXi) tree50() []MediaFile {
	kernel, modules := e.modules()
	cfg := e.bootCfg(kernel, modules)
	files := []MediaFile{
		TextFile("boot.cfg", cfg),
		TextFile("efi/boot/boot.cfg", cfg),
		TextFile("isolinux.cfg", isolinux50(e.profile())),
		TextFile("vmware-esx-base-readme", fmt.Sprintf("VMware ESXi %s\n\nWelcome to the VMware ESXi release.\n", e.Version[:3])),
		TextFile("vmware-esx-base-osl.txt", "Open source licenses.\n"),
		GzipFile("efiboot.img", 4096),
	}
	for _, l := range e.loaders() {
		files = append(files, LoaderFile(l, e.Version))
	}
	if !e.NoMetadata {
		files = append(files, e.upgrade()...)
	}
	size := e.moduleSize(len(modules) + 1)
	for _, m := range append([]string{kernel}, modules...) {
		files = append(files, moduleFile(m, size))
	}
	return files
}

func (e ESXi) loaders() []string {
	if e.arch() == "aarch64" {
		return []string{"efi/boot/bootaa64.efi", "efi/boot/crypto64.efi"}
	}
	l := []string{"mboot.c32", "safeboot.c32", "menu.c32", "isolinux.bin", "efi/boot/bootx64.efi"}
	if e.atLeast("7.0.2") {
		l = append(l, "efi/boot/crypto64.efi", "safeboot.efi")
	}
	return l
}

func (e ESXi) moduleSize(count int) int64 {
	if e.Total == 0 {
		return 64 << 10
	}
	return e.Total / int64(count)
}

// moduleFile is one module: three are gzip of nothing on real media, archives
// are archives, all else is noise that gzip unpacks.
func moduleFile(name string, size int64) MediaFile {
	switch {
	case name == "jumpstrt.gz" || name == "useropts.gz" || name == "features.gz":
		return TextFile(name, EmptyGzip)
	case strings.HasSuffix(name, ".tgz"):
		return TextFile(name, smallTgz(name))
	}
	return GzipFile(name, size)
}

func smallTgz(name string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	text := "content of " + name + "\n"
	t.WriteHeader(&tar.Header{Name: "var/db/" + name + ".txt", Mode: 0o644, Size: int64(len(text))})
	t.Write([]byte(text))
	t.Close()
	z.Close()
	return b.String()
}

func (e ESXi) bootCfg(kernel string, modules []string) string {
	listed := slices.Clone(modules)
	if e.Mixed {
		if i := slices.Index(listed, "lsi_mr3.v00"); i >= 0 {
			listed[i] = "Lsi_MR3.v00"
		}
	}
	var b strings.Builder
	b.WriteString("bootstate=0\ntitle=Loading ESXi installer\n")
	if e.atLeast("6.5.0") {
		b.WriteString("timeout=5\n")
	}
	if e.atLeast("7.0.0") {
		b.WriteString("prefix=\n")
	}
	options := "runweasel"
	switch {
	case e.atLeast("7.0.0"):
		options = "runweasel cdromBoot"
	case e.atLeast("6.7.0"):
		options = "cdromBoot runweasel"
	}
	fmt.Fprintf(&b, "kernel=/%s\nkernelopt=%s\nmodules=/%s\n", kernel, options, strings.Join(listed, " --- /"))
	build := ""
	if e.atLeast("6.7.1") {
		build = fmt.Sprintf("%s-%s.%s", e.Version, e.release(), e.build())
	}
	fmt.Fprintf(&b, "build=%s\nupdated=0\n", build)
	return b.String()
}

func isolinux50(profile string) string {
	return `DEFAULT menu.c32
MENU TITLE ` + profile + ` Boot Menu
NOHALT 1
PROMPT 0
TIMEOUT 80
LABEL install
  KERNEL mboot.c32
  APPEND -c boot.cfg
  MENU LABEL ` + profile + ` ^Installer
LABEL hddboot
  LOCALBOOT 0x80
  MENU LABEL ^Boot from local disk
`
}

func (e ESXi) upgrade() []MediaFile {
	return []MediaFile{
		TextFile("upgrade/metadata.xml", fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<vum>
  <product>
    <name>VMware ESXi</name>
    <esxVersion>%s</esxVersion>
    <esxRelease>%s</esxRelease>
    <build>%s</build>
  </product>
</vum>
`, e.Version, e.release(), e.build())),
		TextFile("upgrade/profile.xml", "<imageprofile><name>"+e.profile()+"</name></imageprofile>\n"),
		TextFile("upgrade/precheck.py", "# checks\n"),
		TextFile("upgrade/prep.py", "# prepares\n"),
		GzipFile("upgrade/metadata.zip", 2000),
	}
}

// tree41 is a medium of 4.1: no boot.cfg, the menu holds the boot line.
func (e ESXi) tree41() []MediaFile {
	text := "VMware ESXi " + e.Version[:3] + "\n\nWelcome to VMware ESXi.\n"
	files := []MediaFile{
		TextFile("README.txt", text),
		TextFile("license.txt", "License.\n"),
		TextFile("isolinux.cfg", isolinux41),
		TextFile("mboot.c32", "loader mboot.c32 of "+e.Version+"\n"),
		TextFile("menu.c32", "menu\n"),
		TextFile("isolinux.bin", "isolinux\n"),
		TextFile("imagedd.md5", "0 imagedd\n"),
	}
	modules := []string{"vmkboot.gz", "vmkernel.gz", "sys.vgz", "cim.vgz", "ienviron.vgz", "install.vgz", "imagedd.bz2"}
	for _, m := range modules {
		files = append(files, GzipFile(m, e.moduleSize(len(modules))))
	}
	return files
}

const isolinux41 = `default menu.c32
menu title VMware VMvisor Boot Menu
timeout 80

label ESXi Installer
menu label ^ESXi Installer
kernel mboot.c32
append vmkboot.gz --- vmkernel.gz --- sys.vgz --- cim.vgz --- ienviron.vgz --- install.vgz
ipappend 2

label ^Boot from local disk
menu label ^Boot from local disk
localboot 0x80
`
