package linux

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"margay/nodedb"
	"margay/provision"
)

// bootFiles are what iPXE loads.
type bootFiles struct {
	kernel  string // addresses
	initrd  string
	modules []provision.Module // the same by name below the tree, with sizes
	cd      bool               // they start an installer that has no network
}

// A pair is a kernel and an initial RAM disk in a tree. One for a CD alone
// starts an installer that has no network.
type pair struct {
	kernel, initrd string
	cd             bool
}

// pairs are the places where installers of a distribution keep theirs, the
// likelier first.
func (d distro) pairs(arch string) []pair {
	switch d.installer {
	case kickstart:
		return []pair{
			{kernel: "images/pxeboot/vmlinuz", initrd: "images/pxeboot/initrd.img"},
			{kernel: "ppc/ppc64/vmlinuz", initrd: "ppc/ppc64/initrd.img"},
			{kernel: "images/kernel.img", initrd: "images/initrd.img"},
		}
	case autoyast:
		return []pair{
			{kernel: "boot/" + arch + "/loader/linux", initrd: "boot/" + arch + "/loader/initrd"},
			{kernel: "boot/" + arch + "/linux", initrd: "boot/" + arch + "/initrd"},
			{kernel: "boot/i386/loader/linux", initrd: "boot/i386/loader/initrd"},
		}
	case autoinstall:
		return []pair{
			{kernel: "casper/vmlinuz", initrd: "casper/initrd"}, {kernel: "casper/hwe-vmlinuz", initrd: "casper/hwe-initrd"},
			{kernel: "casper/vmlinuz", initrd: "casper/initrd.gz"}, {kernel: "casper/vmlinuz", initrd: "casper/initrd.lz"},
		}
	}
	deb := debArch(arch)
	return []pair{
		{kernel: "debian-installer/" + deb + "/linux", initrd: "debian-installer/" + deb + "/initrd.gz"},
		{kernel: "install/netboot/debian-installer/" + deb + "/linux", initrd: "install/netboot/debian-installer/" + deb + "/initrd.gz"},
		{kernel: "install/netboot/ubuntu-installer/" + deb + "/linux", initrd: "install/netboot/ubuntu-installer/" + deb + "/initrd.gz"},
		{kernel: "linux", initrd: "initrd.gz"},
		{kernel: "install." + debianShort(deb) + "/vmlinuz", initrd: "install." + debianShort(deb) + "/initrd.gz", cd: true},
		{kernel: "install/vmlinuz", initrd: "install/initrd.gz", cd: true},
	}
}

// debArch is an architecture in Debian's words.
func debArch(arch string) string {
	switch arch {
	case "x86_64":
		return "amd64"
	case "x86":
		return "i386"
	case "aarch64":
		return "arm64"
	case "ppc64le":
		return "ppc64el"
	}
	return arch
}

// installerFiles finds an installer's kernel and initial RAM disk in a tree.
func installerFiles(tree fs.FS, d distro, arch string) (bootFiles, error) {
	var tried []string
	for _, p := range d.pairs(arch) {
		files, ok, err := findPair(tree, p)
		if err != nil {
			return bootFiles{}, err
		}
		if ok {
			return files, nil
		}
		tried = append(tried, p.kernel)
	}
	hint := ""
	if d.installer == autoinstall {
		hint = "; the live server medium is the one that can be answered for"
	}
	return bootFiles{}, fmt.Errorf("no installer's kernel and initrd on it, looked for %s%s: %w", strings.Join(tried, ", "), hint, nodedb.ErrNotFound)
}

// findPair is not ok where one of the two is missing, and an error where one
// is there but empty.
func findPair(tree fs.FS, p pair) (bootFiles, bool, error) {
	var files bootFiles
	for _, name := range []string{p.kernel, p.initrd} {
		fi, err := fs.Stat(tree, name)
		if err != nil || !fi.Mode().IsRegular() {
			return files, false, nil
		}
		if fi.Size() == 0 {
			return files, false, fmt.Errorf("%s is empty: the medium is damaged", name)
		}
		files.modules = append(files.modules, provision.Module{Name: name, Size: fi.Size()})
	}
	files.kernel, files.initrd, files.cd = p.kernel, p.initrd, p.cd
	return files, true, nil
}

// bootFiles finds what this node's boot loads.
func (n *node) bootFiles() (bootFiles, error) {
	if n.Mode == nodedb.ModeNetboot {
		return n.diskless()
	}
	if n.Tree == nil {
		return bootFiles{}, fmt.Errorf("%s: no install tree; run copycds with its medium: %w", n.OS, nodedb.ErrInvalid)
	}
	files, err := installerFiles(n.Tree, n.distro, n.Arch)
	if err != nil {
		// Not ErrNotFound: no other firmware would find more.
		return files, fmt.Errorf("install tree of %s: %v; run copycds again: %w", n.OS, err, nodedb.ErrInvalid)
	}
	if files.cd {
		deb := debArch(n.Arch)
		return files, fmt.Errorf("%s: the installer on this medium installs from a CD only; put linux and initrd.gz of debian-installer-%d-netboot-%s below debian-installer/%s of its install tree: %w",
			n.OS, n.distro.major, deb, deb, nodedb.ErrInvalid)
	}
	files.kernel, files.initrd = n.TreeURL()+"/"+files.kernel, n.TreeURL()+"/"+files.initrd
	return files, nil
}

// Names of a diskless image's files, as xCAT has them but for the root, which
// is a squashfs.
const (
	imageKernel = "kernel"
	imageInitrd = "initrd-stateless.gz"
	imageRoot   = "rootimg.sfs"
)

// imageDir is a diskless image's place below the install directory.
func imageDir(os, arch, profile string) string {
	return path.Join("netboot", os, arch, profile)
}

// diskless finds what genimage made.
func (n *node) diskless() (bootFiles, error) {
	dir := imageDir(n.OS, n.Arch, n.Profile)
	var files bootFiles
	for _, name := range []string{imageKernel, imageInitrd, imageRoot} {
		var size int64
		if n.Install != nil {
			if fi, err := fs.Stat(n.Install, path.Join(dir, name)); err == nil {
				size = fi.Size()
			}
		}
		if size == 0 {
			return files, fmt.Errorf("no %s in %s of the install directory; run genimage %s-%s-netboot-%s: %w", name, dir, n.OS, n.Arch, n.Profile, nodedb.ErrInvalid)
		}
		files.modules = append(files.modules, provision.Module{Name: path.Join(n.Arch, n.Profile, name), Size: size})
	}
	base := n.Base + "/install/" + dir + "/"
	files.kernel, files.initrd = base+imageKernel, base+imageInitrd
	return files, nil
}
