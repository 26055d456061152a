package esxi

import (
	"fmt"
	"strings"

	"margay/netboot"
	"margay/nodedb"
	"margay/provision"
)

// ScriptData is what templates/ipxe/esxi.ipxe is filled in with.
type ScriptData struct {
	Node    string // the host's name
	State   string // "install esxi8.0.2-x86_64-base", as nodeset says it
	Version string // "8.0.2"
	Server  string // our address

	// Which half of the script a machine needs; both while its firmware is not
	// known, and the script then asks iPXE.
	BIOS, UEFI bool

	BIOSLoader string // address of mboot.c32
	UEFILoader string // address of bootx64.efi; empty: the medium has none
	Config     string // address of boot.cfg
	Options    string // further arguments of the loader, with a blank before: " -S 1"
	Leave      string // " -e" where the loader can come back to the script
	Failed     string // where to report that the loader did not start
	Line       string // ESXi 4: kernel, options and modules for mboot.c32
}

// script is the iPXE script that starts the medium's own boot loader.
func (f *Family) script(h *host) ([]byte, error) {
	d := ScriptData{
		Node: h.Node.Name, State: state(h.Boot), Version: h.version.String(), Server: h.Server.String(),
		BIOS: !h.isUEFI(), UEFI: h.isUEFI() || h.Firmware == netboot.FirmwareUnknown,
		Config: h.URL("boot.cfg"), Options: h.set.loaderOptions(h.version), Failed: h.CallbackURL("failed"),
	}
	if h.version.AtLeast(6, 7) { // older loaders are not known to take it, and an unknown option hangs them
		d.Leave = " -e"
	}
	if err := h.loaderURLs(&d); err != nil {
		return nil, err
	}
	name := "ipxe/esxi.ipxe"
	if !h.version.AtLeast(5) {
		name = "ipxe/esxi4.ipxe"
		line, err := h.line4()
		if err != nil {
			return nil, err
		}
		d.Line = line
	}
	t, err := f.templates.Noting(h.Looked).Find(name)
	if err != nil {
		return nil, err
	}
	return t.Render(d)
}

// state is a boot in nodeset's words.
func state(b *provision.Boot) string {
	return fmt.Sprintf("%s %s-%s-%s", b.Mode, b.OS, b.Arch, b.Profile)
}

// loaderURLs fills in the loaders that the machine may need.
func (h *host) loaderURLs(d *ScriptData) error {
	if name := h.biosLoader(); d.BIOS && name != "" {
		d.BIOSLoader = h.TreeURL() + "/" + name
	}
	if name := h.uefiLoader(); d.UEFI && name != "" {
		d.UEFILoader = h.TreeURL() + "/" + name
	}
	switch {
	case h.isUEFI() && d.UEFILoader == "":
		return fmt.Errorf("%s: the medium has no boot loader for %s; let the node boot by BIOS: %w", h.OS, h.Firmware, nodedb.ErrNotFound)
	case h.Firmware == netboot.BIOS && d.BIOSLoader == "":
		return fmt.Errorf("%s: the medium has no boot loader for BIOS; let the node boot by UEFI: %w", h.OS, nodedb.ErrNotFound)
	}
	d.BIOS, d.UEFI = d.BIOS && d.BIOSLoader != "", d.UEFI && d.UEFILoader != ""
	return nil
}

// loaderOptions are the loader's own options; -S and -s are known to all.
func (s settings) loaderOptions(v Version) string {
	if s.serial.port == 0 || !v.AtLeast(5) {
		return ""
	}
	return fmt.Sprintf(" -S %d -s %s", s.serial.port, s.serial.speed)
}

// line4 is ESXi 4's boot line: mboot.c32 gets it as its arguments, and every
// file by its whole address.
func (h *host) line4() (string, error) {
	c, err := h.config()
	if err != nil {
		return "", err
	}
	c.dropInstaller(h)
	if err := c.resolve(h); err != nil {
		return "", err
	}
	url := func(p string) string { return h.TreeURL() + "/" + p }
	options := c.options(h)
	if i := indexOf(options, "runweasel"); i >= 0 { // 5.0 brought it
		options = append(options[:i], options[i+1:]...)
	}
	for _, o := range options {
		if strings.ContainsAny(o, "${}") || o == "&&" || o == "||" || strings.Contains(o, "---") {
			return "", fmt.Errorf("kernel option %q cannot stand in an iPXE script and ESXi 4's boot line; change addkcmdline: %w", o, nodedb.ErrInvalid)
		}
	}
	options = append(options, "BOOTIF=01-${netX/mac:hexhyp}") // the interface that loaded the script
	items := []string{strings.Join(append([]string{url(c.Kernel().Path)}, options...), " ")}
	for _, m := range c.Modules() {
		items = append(items, url(m.Path))
	}
	own, err := h.ownModules()
	if err != nil {
		return "", err
	}
	for _, name := range own {
		items = append(items, h.SecretURL(name))
	}
	return strings.Join(items, " --- "), nil
}

func indexOf(list []string, word string) int {
	for i, w := range list {
		if w == word {
			return i
		}
	}
	return -1
}

// overlayName is what the last module of a stateless boot is called.
func overlayName(v Version) string {
	if !v.AtLeast(5) {
		return "mod.tgz"
	}
	return "overlay.tgz"
}
