package provisiontest

import (
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// A Linux describes an installer medium to make: with the marks and the boot
// files of a real one of that release, and little else.
type Linux struct {
	OS      string            // one of LinuxReleases
	Files   map[string][]byte // put these in, over the medium's own
	Without []string          // leave these files out
}

// A LinuxRelease is a release whose media can be made.
type LinuxRelease struct {
	OS     string // what copycds calls it
	Arch   string // in xCAT's words
	Title  string // what copycds says it is
	Kernel string // where its kernel lies
	Initrd string
	marks  map[string]string
}

// LinuxReleases are releases of every family, with what their media say of
// themselves, one or more for each way to say it.
func LinuxReleases() []LinuxRelease {
	return []LinuxRelease{
		redHat("rhels6.10", "Red Hat Enterprise Linux 6.10", "x86_64", discinfo),
		redHat("rhels7.9", "Red Hat Enterprise Linux 7.9", "x86_64", discinfo|mediaRepo),
		redHat("rhels8.10", "Red Hat Enterprise Linux 8.10", "x86_64", treeinfo|mediaRepo),
		redHat("rhels9.4", "Red Hat Enterprise Linux 9.4", "x86_64", treeinfo),
		redHat("rhels10.0", "Red Hat Enterprise Linux 10.0", "aarch64", treeinfo),
		redHat("centos7.9", "CentOS Linux 7.9", "x86_64", discinfo|treeinfo),
		redHat("centos9", "CentOS Stream 9", "x86_64", treeinfo),
		redHat("rocky9.4", "Rocky Linux 9.4", "x86_64", treeinfo),
		redHat("alma8.9", "AlmaLinux 8.9", "x86_64", treeinfo),
		redHat("ol8.8", "Oracle Linux 8.8", "x86_64", treeinfo),
		redHat("fedora40", "Fedora 40", "x86_64", treeinfo),
		suse("sles12.5", "SUSE Linux Enterprise Server 12 SP5", map[string]string{
			"content": "CONTENTSTYLE 11\nDATADIR suse\nDESCRDIR suse/setup/descr\nDISTRO cpe:/o:suse:sles:12:sp5,SUSE Linux Enterprise Server 12 SP5\n" +
				"LABEL SUSE Linux Enterprise Server 12 SP5\nREPOID obsproduct://build.suse.de/SUSE:SLE-12-SP5:GA/SLES/12.5/DVD/x86_64\n",
		}),
		suse("sles15.5", "SUSE Linux Enterprise Server 15.5", map[string]string{
			"media.1/media":    "SUSE - SLE-15-SP5-Full-x86_64-Build107.7-Media\nSLE-15-SP5-Full-x86_64-Build107.7\n1\n",
			"media.1/products": "/ SLES15-SP5 15.5-0\n/Module-Basesystem sle-module-basesystem 15.5-0\n/Product-SLES SLES 15.5-0\n",
		}),
		suse("opensuse15.6", "openSUSE Leap 15.6", map[string]string{
			"media.1/media":    "openSUSE - openSUSE-Leap-15.6-DVD-x86_64-Build709.1-Media\nopenSUSE-Leap-15.6-DVD-x86_64-Build709.1\n1\n",
			"media.1/products": "/ openSUSE-Leap 15.6-1\n",
		}),
		suse("sles16.0", "SUSE - SUSE-Linux-Enterprise-Server-16.0-x86_64-Build1.1-Media", map[string]string{
			"media.1/media": "SUSE - SUSE-Linux-Enterprise-Server-16.0-x86_64-Build1.1-Media\n",
		}),
		debian("debian10.13", `Debian GNU/Linux 10.13.0 "Buster" - Official amd64 DVD Binary-1 20220910-19:13`, ".disk/info", "install.amd/vmlinuz", "install.amd/initrd.gz"),
		debian("debian12.5", `Debian GNU/Linux 12.5.0 "Bookworm" - Official amd64 NETINST with firmware 20240210-11:27`, ".disk/info", "install.amd/vmlinuz", "install.amd/initrd.gz"),
		debian("debian13", `Debian GNU/Linux 13 "Trixie" - amd64 mini.iso 20250803`, ".disk/mini-info", "linux", "initrd.gz"),
		debian("debian11", "Debian version:  11 (bullseye)\nInstaller build: 20210731+deb11u9\n", "version.info", "debian-installer/amd64/linux", "debian-installer/amd64/initrd.gz").titled("Debian 11 for network boot"),
		debian("ubuntu18.04.6", `Ubuntu-Server 18.04.6 LTS "Bionic Beaver" - Release amd64 (20210915)`, ".disk/info", "install/netboot/ubuntu-installer/amd64/linux", "install/netboot/ubuntu-installer/amd64/initrd.gz"),
		debian("ubuntu20.04.6", `Ubuntu-Server 20.04.6 LTS "Focal Fossa" - Release amd64 (20230314)`, ".disk/info", "casper/vmlinuz", "casper/initrd"),
		debian("ubuntu24.04", `Ubuntu-Server 24.04 LTS "Noble Numbat" - Release amd64 (20240423)`, ".disk/info", "casper/vmlinuz", "casper/initrd"),
		debian("ubuntu26.04", `Ubuntu-Server 26.04 LTS "Resolute Raccoon" - Release arm64 (20260423)`, ".disk/info", "casper/vmlinuz", "casper/initrd").on("aarch64"),
	}
}

// WriteLinux writes the medium to file.
func WriteLinux(file string, spec Linux) error {
	files, err := spec.Tree()
	if err != nil {
		return err
	}
	return WriteISO(file, ISO{Volume: "LINUX", Names: NamesRockRidge, Files: files})
}

// MakeLinux writes the medium into a directory of the test's and returns its path.
func MakeLinux(tb testing.TB, spec Linux) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), spec.OS+".iso")
	if err := WriteLinux(file, spec); err != nil {
		tb.Fatal(err)
	}
	return file
}

// Tree is the medium's files, sorted.
func (l Linux) Tree() ([]MediaFile, error) {
	all := map[string]string{}
	for _, r := range LinuxReleases() {
		if r.OS != l.OS {
			continue
		}
		all[r.Kernel], all[r.Initrd] = "kernel of "+r.OS+"\n", "initrd of "+r.OS+"\n"
		for name, text := range r.marks {
			all[name] = text
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no medium of %s is known", l.OS)
	}
	for name, data := range l.Files {
		all[name] = string(data)
	}
	for _, name := range l.Without {
		delete(all, name)
	}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	var files []MediaFile
	for _, name := range names {
		files = append(files, TextFile(name, all[name]))
	}
	return files, nil
}

// Marks that media of Red Hat's family may have.
const (
	discinfo = 1 << iota
	mediaRepo
	treeinfo
)

func redHat(os, title, arch string, which int) LinuxRelease {
	r := LinuxRelease{OS: os, Arch: arch, Title: title, Kernel: "images/pxeboot/vmlinuz", Initrd: "images/pxeboot/initrd.img", marks: map[string]string{}}
	i := strings.LastIndexByte(title, ' ')
	name, version := title[:i], title[i+1:]
	if which&discinfo != 0 {
		r.marks[".discinfo"] = "1527763199.157413\n" + title + "\n" + arch + "\n"
	}
	if which&mediaRepo != 0 {
		r.marks["media.repo"] = "[InstallMedia]\nname=" + title + "\nmediaid=1708517103.286190\nmetadata_expire=-1\ngpgcheck=0\ncost=500\n"
	}
	if which&treeinfo != 0 {
		r.marks[".treeinfo"] = "[general]\narch = " + arch + "\nfamily = " + name + "\nname = " + title + "\nversion = " + version + "\n\n" +
			"[header]\ntype = productmd.treeinfo\nversion = 1.2\n\n[release]\nname = " + name + "\nshort = X\nversion = " + version + "\n"
	}
	return r
}

func suse(os, title string, marks map[string]string) LinuxRelease {
	return LinuxRelease{OS: os, Arch: "x86_64", Title: title, Kernel: "boot/x86_64/loader/linux", Initrd: "boot/x86_64/loader/initrd", marks: marks}
}

func debian(os, info, mark, kernel, initrd string) LinuxRelease {
	return LinuxRelease{OS: os, Arch: "x86_64", Title: info, Kernel: kernel, Initrd: initrd, marks: map[string]string{mark: info}}
}

func (r LinuxRelease) titled(title string) LinuxRelease { r.Title = title; return r }
func (r LinuxRelease) on(arch string) LinuxRelease      { r.Arch = arch; return r }
