// Package linux knows the Linux distributions that guests and machines are
// installed with: their media, their installers' boot files and answer files,
// and roots for nodes without a disk.
package linux

import (
	"fmt"
	"slices"

	"margay/nodedb"
	"margay/provision"
	"margay/templates"
)

// A Family is Linux, as provision wants it. It keeps no state.
type Family struct{ templates *templates.Set }

// New returns the family; set has the texts that nodes are sent.
func New(set *templates.Set) *Family { return &Family{templates: set} }

// Name implements provision.Family.
func (f *Family) Name() string { return "linux" }

// Owns implements provision.Family: a distribution's word and a version, as
// copycds makes them.
func (f *Family) Owns(os string) bool {
	_, ok := parseOS(os)
	return ok
}

// Names of the files that are made for a node's boot, beside its answer file.
const (
	scriptName = "script"
	postName   = "mypostscript"    // a shell script: what the node is, and which postscripts it runs
	packName   = "postscripts.tgz" // the postscripts themselves
)

// Files implements provision.Family.
func (f *Family) Files(b *provision.Boot) []string {
	names := []string{scriptName}
	if _, ok := signedLoaders(b); ok {
		names = append(names, grubName)
	}
	if d, ok := parseOS(b.OS); ok && b.Mode == nodedb.ModeInstall {
		names = append(names, d.in(b.Tree, b.Arch).answers()...)
	}
	names = append(names, postName)
	if hasPostscripts(b) {
		names = append(names, packName)
	}
	return names
}

// Make implements provision.Family.
func (f *Family) Make(b *provision.Boot, name string) ([]byte, error) {
	if !slices.Contains(f.Files(b), name) {
		return nil, fmt.Errorf("%s: no such file in this boot: %w", name, nodedb.ErrNotFound)
	}
	n, err := newNode(b)
	if err != nil {
		return nil, err
	}
	switch name {
	case scriptName:
		return f.script(n)
	case grubName:
		return f.grub(n)
	case postName:
		return f.mypostscript(n)
	case packName:
		return packPostscripts(b.Install)
	case "meta-data":
		return n.metaData(), nil
	case "vendor-data":
		return []byte("#cloud-config\n{}\n"), nil
	}
	return f.answer(n)
}

// Until says for which step each file with secrets is meant. An answer file has
// been read when its first command runs, which says so; postscripts are fetched
// at the end of an install, and by a diskless system at its beginning.
func (f *Family) Until(b *provision.Boot, name string) provision.Phase {
	switch {
	case b.Mode == nodedb.ModeNetboot:
		return provision.PhaseBooted
	case name == postName || name == packName:
		return provision.PhaseInstalled
	}
	return provision.PhaseInstalling
}

// Modules implements provision.Family: kernel and initial RAM disk.
func (f *Family) Modules(b *provision.Boot) ([]provision.Module, error) {
	n, err := newNode(b)
	if err != nil {
		return nil, err
	}
	files, err := n.bootFiles()
	if err != nil {
		return nil, err
	}
	return files.modules, nil
}

// Kernel is the path of the kernel that iPXE starts.
func (f *Family) Kernel(b *provision.Boot) (string, error) {
	mods, err := f.Modules(b)
	if err != nil {
		return "", err
	}
	return mods[0].Name, nil
}

// A node is one boot with what all of its files need.
type node struct {
	*provision.Boot
	distro distro
	set    settings
}

// newNode checks what every file of a boot depends on.
func newNode(b *provision.Boot) (*node, error) {
	d, ok := parseOS(b.OS)
	switch {
	case !ok:
		return nil, fmt.Errorf("os %q: not a Linux distribution that is known; use a name that copycds made, as rhels9.4: %w", b.OS, nodedb.ErrInvalid)
	case b.Mode != nodedb.ModeInstall && b.Mode != nodedb.ModeNetboot:
		return nil, fmt.Errorf("node %s: state %q has no boot of Linux: %w", b.Node.Name, b.Mode, nodedb.ErrInvalid)
	case d.tooOld():
		return nil, fmt.Errorf("%s: older than what can be installed: %w", b.OS, nodedb.ErrInvalid)
	case b.Mode == nodedb.ModeInstall && d.name == "ubuntu" && d.major < 20 && d.in(b.Tree, b.Arch).installer != preseed:
		return nil, fmt.Errorf("%s: the live server of 18.04 takes no answers; use the medium with the older installer, ubuntu-18.04-server: %w", b.OS, nodedb.ErrInvalid)
	}
	set, err := readSettings(b)
	if err != nil {
		return nil, err
	}
	return &node{Boot: b, distro: d.in(b.Tree, b.Arch), set: set}, nil
}
