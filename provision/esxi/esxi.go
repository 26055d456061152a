// Package esxi knows VMware ESXi from 4.1 on: its media, its boot loader's
// configuration, its kickstart, and what a host without a disk needs.
package esxi

import (
	"fmt"
	"io/fs"
	"path"
	"slices"

	"margay/netboot"
	"margay/nodedb"
	"margay/provision"
	"margay/templates"
)

// A Family is ESXi, as provision wants it. It keeps no state.
type Family struct{ templates *templates.Set }

// New returns the family; set has the texts that hosts are sent.
func New(set *templates.Set) *Family { return &Family{templates: set} }

// Name implements provision.Family.
func (f *Family) Name() string { return "esxi" }

// Owns implements provision.Family: esxi and a version, as copycds makes them.
func (f *Family) Owns(os string) bool { return OSVersion(os) != nil }

// Files implements provision.Family.
func (f *Family) Files(b *provision.Boot) []string {
	var names []string
	if !b.HTTPBoot && !b.TFTP {
		names = append(names, "script")
	}
	v := version(b)
	if v.AtLeast(5) {
		names = append(names, "boot.cfg")
	}
	switch b.Mode {
	case nodedb.ModeInstall:
		names = append(names, "ks.cfg")
	case nodedb.ModeNetboot:
		if state, err := saved(b); err != nil || len(state) > 0 {
			names = append(names, stateName) // Make says what is wrong with it
		}
		names = append(names, overlayName(v))
	}
	return names
}

// Make implements provision.Family.
func (f *Family) Make(b *provision.Boot, name string) ([]byte, error) {
	if !slices.Contains(f.Files(b), name) {
		return nil, fmt.Errorf("%s: no such file in this boot: %w", name, nodedb.ErrNotFound)
	}
	h, err := newHost(b)
	if err != nil {
		return nil, err
	}
	switch name {
	case "script":
		return f.script(h)
	case "boot.cfg":
		return h.bootConfig()
	case "ks.cfg":
		return f.kickstart(h)
	case stateName:
		return saved(b)
	}
	return f.overlay(h)
}

// Until says for which step a file with secrets is meant: the installer has
// read its kickstart when %pre reports, and a stateless host has its modules
// when it reports that it is up.
func (f *Family) Until(b *provision.Boot, name string) provision.Phase {
	if name == "ks.cfg" {
		return provision.PhaseInstalling
	}
	return provision.PhaseBooted
}

// Secure implements provision.Securer. The installer checks no certificate, but
// old ones offer no TLS that is still spoken: 5.x, and early 6.x.
func (f *Family) Secure(b *provision.Boot) error {
	if v := version(b); !v.AtLeast(6, 5) {
		return fmt.Errorf("the installer of %s may know no TLS 1.2, 6.5 and later do: %w", b.OS, nodedb.ErrInvalid)
	}
	return nil
}

// stateName is what ESXi restores its configuration from, if a module is
// called so.
const stateName = "state.tgz"

// saved is what the host saved of itself, nothing if it has not. ESXi 4 saves
// in another form, which is not read.
func saved(b *provision.Boot) ([]byte, error) {
	if b.State == nil || !version(b).AtLeast(5) {
		return nil, nil
	}
	return b.State()
}

// Modules implements provision.Family.
func (f *Family) Modules(b *provision.Boot) ([]provision.Module, error) {
	h, err := newHost(b)
	if err != nil {
		return nil, err
	}
	c, err := h.config()
	if err != nil {
		return nil, err
	}
	c.dropInstaller(h)
	out := h.loaders()
	list, err := files(h.tree, c.Config)
	return append(out, list...), err
}

// Loader implements provision.Family. BIOS starts nothing of ESXi's by itself.
func (f *Family) Loader(b *provision.Boot) (string, error) {
	h := &host{Boot: b, tree: newTree(b.Tree), version: version(b)}
	name := h.uefiLoader()
	if name == "" {
		return "", fmt.Errorf("%s: no UEFI boot loader for %s in the install tree: %w", b.OS, b.Firmware, nodedb.ErrNotFound)
	}
	return name, nil
}

// version is that of the install tree, whatever the operator called it; an
// unreadable tree is taken at its name.
func version(b *provision.Boot) Version {
	v := OSVersion(b.OS)
	if b.Tree == nil {
		return v
	}
	t := newTree(b.Tree)
	if id, err := fromMetadata(t, nil); err == nil && id.version != nil {
		return id.version
	}
	return v
}

// A host is one node's boot with what all of its files need.
type host struct {
	*provision.Boot
	tree    *tree
	version Version
	set     settings
}

// newHost checks what every file of a boot depends on.
func newHost(b *provision.Boot) (*host, error) {
	h := &host{Boot: b, tree: newTree(b.Tree), version: version(b)}
	switch {
	case h.version == nil:
		return nil, fmt.Errorf("os %q: not an ESXi release; use a name that copycds made, as esxi8.0.2: %w", b.OS, nodedb.ErrInvalid)
	case !h.version.AtLeast(4, 1):
		return nil, fmt.Errorf("os %s: ESXi 4.1 and later can be booted: %w", b.OS, nodedb.ErrInvalid)
	case b.Mode != nodedb.ModeInstall && b.Mode != nodedb.ModeNetboot:
		return nil, fmt.Errorf("node %s: state %q has no boot of ESXi: %w", b.Node.Name, b.Mode, nodedb.ErrInvalid)
	case b.HTTPBoot && !h.version.AtLeast(7):
		return nil, fmt.Errorf("%s: its boot loader knows no UEFI HTTP boot, 7.0 and later do; let the node boot by PXE: %w", b.OS, nodedb.ErrNotFound)
	case b.Firmware == netboot.UEFI32:
		return nil, fmt.Errorf("%s: ESXi has no boot loader for 32-bit UEFI: %w", b.OS, nodedb.ErrInvalid)
	}
	set, err := readSettings(b)
	if err != nil {
		return nil, err
	}
	h.set = set
	return h, nil
}

// isUEFI says whether the machine that asks boots by UEFI.
func (h *host) isUEFI() bool {
	return h.Firmware == netboot.UEFI64 || h.Firmware == netboot.UEFIARM64
}

// uefiLoader is the tree's own spelling of the UEFI loader, "" if none.
func (h *host) uefiLoader() string {
	name := "efi/boot/bootx64.efi"
	switch h.Firmware {
	case netboot.UEFI64, netboot.FirmwareUnknown:
	case netboot.UEFIARM64:
		name = "efi/boot/bootaa64.efi"
	default:
		return ""
	}
	real, err := h.tree.find(name)
	if err != nil {
		return ""
	}
	return real
}

// biosLoader is the tree's own spelling of the BIOS loader, "" if none.
func (h *host) biosLoader() string {
	real, err := h.tree.find("mboot.c32")
	if err != nil {
		return ""
	}
	return real
}

// loaders are the programs that run before the kernel, with sizes.
func (h *host) loaders() []provision.Module {
	names := []string{"mboot.c32"}
	if h.isUEFI() {
		loader := h.uefiLoader()
		names = []string{loader, path.Join(path.Dir(loader), "crypto64.efi")}
	}
	var out []provision.Module
	for _, name := range names {
		if real, err := h.tree.find(name); err == nil {
			size, _ := h.tree.size(real)
			out = append(out, provision.Module{Name: real, Size: size})
		}
	}
	return out
}

// config is the medium's own boot configuration for the machine's firmware.
func (h *host) config() (*derived, error) {
	names := []string{biosConfig, uefiConfig}
	if h.isUEFI() {
		names = []string{uefiConfig, biosConfig}
	}
	if !h.version.AtLeast(5) {
		text, err := h.tree.read("isolinux.cfg")
		if err != nil {
			return nil, err
		}
		c, err := bootLine(text)
		return &derived{c}, err
	}
	for _, name := range names {
		text, err := h.tree.read(name)
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		c, err := ParseConfig(text)
		return &derived{c}, err
	}
	return nil, fmt.Errorf("%s: no boot.cfg in the install tree; run copycds again: %w", h.OS, fs.ErrNotExist)
}
