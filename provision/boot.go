package provision

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"margay/nodedb"
)

// A target is what a node is to boot, before it is in the table: nodeset
// renders with it and then writes it.
type target struct {
	mode    nodedb.Mode
	os      string
	arch    string
	profile string
	image   *nodedb.Image
	arg     string // runcmd's and runimage's
}

// state is the target in xCAT's words: "install esxi8.0.2-x86_64-base".
func (t target) state() string {
	if t.arg != "" {
		return string(t.mode) + "=" + t.arg
	}
	if t.mode != nodedb.ModeInstall && t.mode != nodedb.ModeNetboot {
		return string(t.mode)
	}
	return fmt.Sprintf("%s %s-%s-%s", t.mode, t.os, t.arch, t.profile)
}

// workTarget is what a node loads that is no operating system of its own.
func workTarget(n *nodedb.Node, mode nodedb.Mode, arg string) target {
	t := target{mode: mode, os: n.OS, arch: n.Arch, profile: n.Profile, arg: arg}
	switch {
	case mode.Works():
		t.os = osWork
	case mode == nodedb.ModeMemtest:
		t.os = osMemtest
	default:
		return t
	}
	if t.profile = ""; t.arch == "" || t.arch == "x86" {
		t.arch = "x86_64"
	}
	return t
}

// current is the target that the table holds for a node.
func current(snap *nodedb.Snapshot, n *nodedb.Node) target {
	if n.Mode.Works() || n.Mode == nodedb.ModeMemtest {
		_, arg, _ := strings.Cut(n.CurrState, "=")
		return workTarget(n, n.Mode, arg)
	}
	t := target{mode: n.Mode, os: n.OS, arch: n.Arch, profile: n.Profile}
	if img, err := snap.Image(n.ProvMethod); err == nil {
		t.image = img
	}
	return t
}

// boot gathers all that a family renders a node's boot from.
func (s *Service) boot(snap *nodedb.Snapshot, n *nodedb.Node, t target, server netip.Addr) (*Boot, Family, error) {
	return s.bootSeen(snap, n, t, server, nil)
}

// bootSeen is boot, and has seen note which files on disk it depends on.
func (s *Service) bootSeen(snap *nodedb.Snapshot, n *nodedb.Node, t target, server netip.Addr, seen *witness) (*Boot, Family, error) {
	f, err := s.family(t.os)
	if err != nil {
		return nil, nil, err
	}
	seen.source(s.treeSource(snap, t.os, t.arch))
	if m, ok := mediaOf(snap, t.os, t.arch); ok {
		seen.source(m.ISO)
	}
	tree, err := s.tree(snap, t.os, t.arch)
	switch {
	case err != nil && t.os == osWork:
		return nil, nil, fmt.Errorf("there is no small system for work on %s machines; make it with mknb %s: %w", t.arch, t.arch, nodedb.ErrInvalid)
	case err != nil && t.os == osMemtest:
		return nil, nil, fmt.Errorf("there is no memtest86+ for %s machines; install Debian's package memtest86+, then run mknb %s --memtest: %w", t.arch, t.arch, nodedb.ErrInvalid)
	case err != nil && !s.hasImage(snap, t):
		return nil, nil, err
	}
	if tree == nil {
		seen.secret() // what diskless images are made of is not watched
	}
	b := &Boot{
		Snap: snap, Node: n, Image: t.image, Mode: t.mode,
		OS: t.os, Arch: t.arch, Profile: t.profile, Arg: t.arg,
		Server: server, Base: s.base(server),
		Tree: seen.watchTree(tree), TreePath: "install/" + t.os + "/" + t.arch,
		Install: seen.watchTree(os.DirFS(s.InstallDir(snap))),
	}
	if _, err := s.wholeMedium(snap, t.os, t.arch); err == nil {
		b.MediumURL = b.TreeURL() + "/" + mediumName
	}
	b.HostCert = func(given bool, names HostNames) (*HostCert, error) {
		if given {
			return s.givenCert(n.Name)
		}
		return s.madeCert(n.Name, names, b.HostKey != nil)
	}
	b.State = func() ([]byte, error) {
		data, err := s.hostState(n.Name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return data, err
	}
	if seen != nil {
		seen.watch(s, b)
	}
	if b.MAC = bootMAC(n); b.MAC == nil {
		return nil, nil, fmt.Errorf("No MAC address available for this node; set it with chdef %s mac=MAC: %w", n.Name, nodedb.ErrInvalid)
	}
	b.Secure, err = s.secure(f, b)
	return b, f, err
}

// secure is the address of our HTTPS service for a node that is to use it.
func (s *Service) secure(f Family, b *Boot) (string, error) {
	if !s.wantsTLS(b.Snap, b.Node, f) {
		return "", nil
	}
	way := fmt.Sprintf("chdef %s esxihttpmethod=http", b.Node.Name)
	switch method := httpMethod(b.Snap, b.Node); {
	case method != "https":
		return "", fmt.Errorf("httpmethod %q: it is http or https; %s: %w", method, way, nodedb.ErrInvalid)
	case s.TLSPort == 0:
		return "", fmt.Errorf("httpmethod is https, and this server serves none: start it with --https :443, or %s: %w", way, nodedb.ErrInvalid)
	}
	if err := f.(Securer).Secure(b); err != nil {
		return "", fmt.Errorf("httpmethod is https, but %w; %s", err, way)
	}
	return s.secureBase(b.Server), nil
}

// wantsTLS says whether a node is to be sent by HTTPS what it can. It holds for
// families of which some can; the installers of others trust authorities of
// their own, and always get HTTP.
func (s *Service) wantsTLS(snap *nodedb.Snapshot, n *nodedb.Node, f Family) bool {
	_, can := f.(Securer)
	return can && httpMethod(snap, n) != "http"
}

func httpMethod(snap *nodedb.Snapshot, n *nodedb.Node) string {
	return cmp.Or(strings.TrimSpace(n.Attr("esxi.httpmethod")), strings.TrimSpace(snap.Site("httpmethod")), "http")
}

// hasImage says whether a target is a diskless image, which may have been made
// without a medium.
func (s *Service) hasImage(snap *nodedb.Snapshot, t target) bool {
	if t.mode != nodedb.ModeNetboot || !plainName(t.os) || !plainName(t.arch) || !plainName(t.profile) {
		return false
	}
	fi, err := os.Stat(filepath.Join(s.InstallDir(snap), "netboot", t.os, t.arch, t.profile))
	return err == nil && fi.IsDir()
}

// withTry adds what only a machine that asks brings: its try's token, its
// firmware and its protocol.
func (b *Boot) withTry(a *Attempt, from origin) {
	if a != nil && from.try > 0 {
		b.Token = a.token(from.try, b.MAC)
		b.Step = a.stepID()
	}
	b.Firmware, b.HTTPBoot, b.TFTP = from.firmware, from.httpBoot, from.tftp
}

// exitScript is what iPXE runs on a node that is to boot from its disk.
// BIOS: iPXE's exit leaves the boot to the next device, which some machines
// never reach; booting the first disk by hand works on all. UEFI: an exit
// status other than 0 makes the firmware try its next boot option.
func exitScript(state string, why string) []byte {
	var b strings.Builder
	b.WriteString("#!ipxe\n#" + state + "\n")
	if why != "" {
		b.WriteString("echo " + clean(why) + "\n")
	}
	b.WriteString("iseq ${platform} efi && exit 1 ||\n")
	b.WriteString("sanboot --no-describe --drive 0x80 || exit\n")
	return []byte(b.String())
}

// clean makes text safe on an iPXE script's echo line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune("${}&|;", r) {
			return ' '
		}
		return r
	}, s)
}
