package linux

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"margay/netboot"
	"margay/nodedb"
	"margay/provision"
)

// grubName is the menu of one node, which GRUB reads where iPXE reads the script.
const grubName = "grub.cfg"

// A loaderPair is a distribution's own way to boot a UEFI machine: shim, which
// firmware trusts, and the GRUB that shim trusts, which can load by network.
type loaderPair struct{ shim, grub string }

// loaderPairs are the places where trees have theirs. Those that Debian and
// Ubuntu put on media load from the medium alone; theirs for the network come
// with the installer for network boot, or in Ubuntu's netboot archive.
func (d distro) loaderPairs(arch string) []loaderPair {
	x := "x64"
	if arch == "aarch64" {
		x = "aa64"
	}
	switch d.installer {
	case kickstart:
		return []loaderPair{{"EFI/BOOT/BOOT" + strings.ToUpper(x) + ".EFI", "EFI/BOOT/grub" + x + ".efi"}}
	case autoyast:
		return []loaderPair{{"EFI/BOOT/boot" + x + ".efi", "EFI/BOOT/grub.efi"}}
	}
	deb := debArch(arch)
	return []loaderPair{
		{"debian-installer/" + deb + "/bootnet" + x + ".efi", "debian-installer/" + deb + "/grub" + x + ".efi"},
		{deb + "/boot" + x + ".efi", deb + "/grub" + x + ".efi"},
		{"bootnet" + x + ".efi", "grub" + x + ".efi"},
	}
}

// signedLoaders are those that a boot may use: both there and signed, in an
// install under UEFI.
func signedLoaders(b *provision.Boot) (loaderPair, bool) {
	d, ok := parseOS(b.OS)
	if !ok || b.Tree == nil || b.Mode != nodedb.ModeInstall {
		return loaderPair{}, false
	}
	for _, p := range d.in(b.Tree, b.Arch).loaderPairs(b.Arch) {
		if signed(b.Tree, p.shim) && signed(b.Tree, p.grub) {
			return p, true
		}
	}
	return loaderPair{}, false
}

// Loader implements provision.Family: the distribution's shim, where its tree
// has one that is signed, and a GRUB that loads the way that the firmware did.
func (f *Family) Loader(b *provision.Boot) (string, error) {
	p, ok := signedLoaders(b)
	if !ok || b.Firmware == netboot.BIOS {
		return "", fmt.Errorf("there is no signed shim and GRUB for the network in its tree: %w", nodedb.ErrNotFound)
	}
	if b.HTTPBoot && !loadsHTTP(b.Tree, p.grub) {
		return "", fmt.Errorf("its signed GRUB loads by TFTP only, which PXE with netboot=grub2 gives it: %w", nodedb.ErrNotFound)
	}
	return p.shim, nil
}

// agent is what GRUB calls itself in the requests of its HTTP module. Debian
// builds none into what it signs, and with Secure Boot on no module is loaded.
var agent = []byte("User-Agent: GRUB")

// maxGRUB bounds what is read of a GRUB, in bytes.
const maxGRUB = 32 << 20

// loadsHTTP says whether a GRUB has the HTTP module built in.
func loadsHTTP(tree fs.FS, name string) bool {
	f, err := tree.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxGRUB))
	return err == nil && bytes.Contains(b, agent)
}

// Companion is the path in the tree of a program that the loader asks for
// beside itself: shim looks for GRUB under the name that it was built with.
func (f *Family) Companion(b *provision.Boot, file string) string {
	p, ok := signedLoaders(b)
	if !ok {
		return ""
	}
	switch strings.ToLower(file) {
	case "grubx64.efi", "grubaa64.efi", "grub.efi":
		return p.grub
	}
	return ""
}

// SecureBoot says why a machine with Secure Boot on could not boot so; nil if
// all that runs is signed.
func (f *Family) SecureBoot(b *provision.Boot) error {
	if _, ok := signedLoaders(b); !ok {
		return fmt.Errorf("iPXE is not signed")
	}
	n, err := newNode(b)
	if err != nil {
		return err
	}
	files, err := n.bootFiles()
	if err != nil {
		return err
	}
	if !signed(b.Tree, files.modules[0].Name) {
		return fmt.Errorf("the kernel %s is not signed", files.modules[0].Name)
	}
	return nil
}

// signed says whether a file is an EFI program with a signature in it. Whether
// it is good, firmware and shim find out.
func signed(tree fs.FS, name string) bool {
	f, err := tree.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, _ := io.ReadFull(f, head)
	return hasSignature(head[:n])
}

// hasSignature looks for a certificate table (PE format, data directory 4). The
// beginning of the file is enough.
func hasSignature(b []byte) bool {
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(b[at:])) }
	if len(b) < 0x40 || string(b[:2]) != "MZ" {
		return false
	}
	at := int(binary.LittleEndian.Uint32(b[0x3c:]))
	if at < 0x40 || at > len(b)-24 || string(b[at:at+4]) != "PE\x00\x00" {
		return false
	}
	optional := at + 24
	count := optional + 108 // NumberOfRvaAndSizes of PE32+
	if len(b) < count+4+5*8 || u16(optional) != 0x20b || binary.LittleEndian.Uint32(b[count:]) < 5 {
		return false
	}
	entry := count + 4 + 4*8
	return binary.LittleEndian.Uint32(b[entry:]) != 0 && binary.LittleEndian.Uint32(b[entry+4:]) != 0
}

// GrubData is what templates/linux/grub.cfg is filled in with.
type GrubData struct {
	Node      string
	State     string
	Server    string
	Kernel    string // paths on the server
	Initrd    string
	Arguments string // as words for GRUB
	Failed    string // path at which to say that the kernel did not start
	HTTP      bool   // it can load by HTTP, and the server answers on port 80, the only one that every GRUB knows
}

// grub is the node's menu.
func (f *Family) grub(n *node) ([]byte, error) {
	files, err := n.bootFiles()
	if err != nil {
		return nil, err
	}
	args, err := n.arguments(files)
	if err != nil {
		return nil, err
	}
	for i, a := range args {
		if a == bootif {
			a = "BOOTIF=01-" + strings.ReplaceAll(n.MAC.String(), ":", "-")
		}
		args[i] = "'" + strings.ReplaceAll(a, "'", "") + "'"
	}
	host := n.Server.String()
	failed := n.CallbackURL("failed")
	d := GrubData{
		Node: n.Node.Name, State: state(n.Boot), Server: host,
		Kernel: "/" + path.Join(n.TreePath, files.modules[0].Name), Initrd: "/" + path.Join(n.TreePath, files.modules[1].Name),
		Arguments: strings.Join(args, " "), Failed: strings.TrimPrefix(failed, n.Base),
	}
	if p, ok := signedLoaders(n.Boot); ok && n.Base == "http://"+host {
		d.HTTP = loadsHTTP(n.Tree, p.grub)
	}
	t, err := f.templates.Noting(n.Looked).Find("linux/grub.cfg")
	if err != nil {
		return nil, err
	}
	return t.Render(d)
}
