package provision

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"margay/netboot"
	"margay/nodedb"
)

// firmwares are the ways in which a machine may boot.
var firmwares = []struct {
	name     string
	firmware netboot.Firmware
	http     bool
}{
	{"bios", netboot.BIOS, false},
	{"uefi", netboot.UEFI64, false},
	{"uefi-http", netboot.UEFI64, true},
	{"uefi-arm64", netboot.UEFIARM64, false},
	{"uefi-arm64-http", netboot.UEFIARM64, true},
}

// forArch says whether machines of an architecture may have a firmware.
func forArch(fw netboot.Firmware, arch string) bool {
	return (fw == netboot.UEFIARM64) == (arch == "aarch64")
}

// ParseFirmware reads bios, uefi, uefi-http, uefi-arm64 or uefi-arm64-http.
func ParseFirmware(name string) (fw netboot.Firmware, http bool, err error) {
	for _, f := range firmwares {
		if f.name == name {
			return f.firmware, f.http, nil
		}
	}
	return 0, false, fmt.Errorf("firmware %q: not one of bios, uefi, uefi-http, uefi-arm64, uefi-arm64-http", name)
}

// Render shows what a node would be sent now if it asked for a file. Without
// reveal the token stays hidden, and so do hashes and private keys; an archive
// is shown file by file.
func (s *Service) Render(snap *nodedb.Snapshot, n *nodedb.Node, file, firmware string, reveal bool) ([]byte, error) {
	if !n.Mode.Loads() {
		if file == "script" {
			return exitScript(n.CurrState, ""), nil
		}
		return nil, fmt.Errorf("node %s: set to %q, so there is no %s for it; run nodeset %s install", n.Name, n.CurrState, file, n.Name)
	}
	b, f, err := s.boot(snap, n, current(snap, n), s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return nil, errNode(n.Name, err)
	}
	b.Firmware = s.journal.firmware(n.Name)
	b.HTTPBoot = s.journal.httpBoot(n.Name)
	if firmware != "" {
		if b.Firmware, b.HTTPBoot, err = ParseFirmware(firmware); err != nil {
			return nil, err
		}
	}
	if a := attempt(snap, n.Name); reveal && a != nil {
		b.Token = a.token(max(s.journal.try(n.Name), 1), b.MAC)
	}
	if !slices.Contains(f.Files(b), file) {
		return nil, fmt.Errorf("node %s: no file %s in its boot; there are %s", n.Name, file, strings.Join(f.Files(b), ", "))
	}
	text, err := f.Make(b, file)
	if err != nil {
		return nil, errNode(n.Name, err)
	}
	if !reveal {
		text = concealed(file, text)
	}
	return text, nil
}

// Files are the names that Render knows for a node.
func (s *Service) Files(snap *nodedb.Snapshot, n *nodedb.Node) []string {
	b, f, err := s.boot(snap, n, current(snap, n), s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return []string{"script"}
	}
	return f.Files(b)
}

// A Link is one firmware's way to the node's system, in words.
type Link struct {
	Firmware string
	Text     string
}

// Chain says for each firmware which programs a node is sent, and why.
func (s *Service) Chain(snap *nodedb.Snapshot, n *nodedb.Node) []Link {
	var out []Link
	for _, fw := range firmwares {
		if !forArch(fw.firmware, n.Arch) {
			continue
		}
		m := netboot.Machine{Firmware: fw.firmware, HTTPBoot: fw.http, PXE: !fw.http}
		first := s.bootfile(snap, n, m, netip.Addr{})
		text := first.Why
		if first.File != "" {
			text = first.File + " (" + first.Why + ")"
		}
		own := strings.HasSuffix(first.File, "mboot.efi") || strings.HasSuffix(first.File, "shimx64.efi")
		if first.File != "" && !fw.http && !own {
			m.Loader, m.COMBOOT, m.HTTP = true, true, true
			second := s.bootfile(snap, n, m, netip.Addr{})
			text += " -> " + second.File + " -> " + s.chainEnd(snap, n, fw.firmware)
			if m.COMBOOT = false; s.bootfile(snap, n, m, netip.Addr{}).File == loaderBIOS {
				text += "; a card's own iPXE that cannot start mboot.c32 (no COMBOOT) is sent " + loaderBIOS + " first, and netboot=pxe goes this way too"
			}
		}
		if (fw.http || own) && first.File != "" && s.startsKernel(snap, n) {
			text += s.signedEnd(snap, n, fw.firmware, fw.http)
		} else if (fw.http || own) && first.File != "" {
			text += "; Secure Boot can stay on: nothing of ours runs before the system"
		} else if fw.firmware != netboot.BIOS && first.File != "" {
			text += "; Secure Boot must be off: iPXE is not signed"
		}
		out = append(out, Link{fw.name, text})
	}
	return out
}

// A signer is a family whose systems may be started by signed loaders.
type signer interface {
	// SecureBoot says why Secure Boot has to be off; nil if it can stay on.
	SecureBoot(b *Boot) error
}

// signedEnd is how a boot goes on whose firmware loads without iPXE, if it can.
func (s *Service) signedEnd(snap *nodedb.Snapshot, n *nodedb.Node, fw netboot.Firmware, http bool) string {
	b, f, err := s.boot(snap, n, current(snap, n), s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return " -> " + err.Error()
	}
	b.Firmware, b.HTTPBoot = fw, http
	end := " -> " + s.chainEnd(snap, n, fw)
	loader, err := f.Loader(b)
	if err == nil {
		text := ", " + loader + " -> GRUB, grub.cfg" + end
		if err := f.(signer).SecureBoot(b); err != nil {
			return text + "; Secure Boot must be off: " + err.Error()
		}
		return text + "; Secure Boot can stay on: shim, GRUB and kernel are signed"
	}
	return " -> iPXE" + end + "; Secure Boot must be off: iPXE is not signed, and " + strings.TrimSuffix(err.Error(), ": "+nodedb.ErrNotFound.Error())
}

// A kernelStarter is a family whose kernel iPXE starts by itself.
type kernelStarter interface {
	Kernel(b *Boot) (string, error)
}

// startsKernel says whether the node's system is started by iPXE itself.
func (s *Service) startsKernel(snap *nodedb.Snapshot, n *nodedb.Node) bool {
	if !n.Mode.Loads() {
		return false
	}
	f, err := s.family(current(snap, n).os)
	_, ok := f.(kernelStarter)
	return err == nil && ok
}

func (s *Service) chainEnd(snap *nodedb.Snapshot, n *nodedb.Node, fw netboot.Firmware) string {
	if n.Mode == nodedb.ModeBoot {
		return "the disk"
	}
	b, f, err := s.boot(snap, n, current(snap, n), s.facing(snap, n, netip.Addr{}))
	if err != nil {
		return err.Error()
	}
	b.Firmware = fw
	if k, ok := f.(kernelStarter); ok {
		kernel, err := k.Kernel(b)
		if err != nil {
			return err.Error()
		}
		return "kernel " + kernel + " of " + b.OS
	}
	loader := "mboot.c32"
	if fw != netboot.BIOS {
		if loader, err = f.Loader(b); err != nil {
			return "a boot loader that the medium has not"
		}
	} else if _, ok := foldName(b.Tree, loader); !ok {
		return "a boot loader that the medium has not"
	}
	return loader + " of " + b.OS
}
