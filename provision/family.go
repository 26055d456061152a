// Package provision decides what each machine boots. It opens no socket: the
// services of netboot ask it, the commands act through it.
package provision

import (
	"io/fs"
	"net"
	"net/netip"
	"net/url"

	"margay/netboot"
	"margay/nodedb"
)

// A Release is an installer medium that a family has recognised.
type Release struct {
	Family  string // "esxi"
	OS      string // xCAT's name: esxi8.0.2
	Version string // 8.0.2
	Detail  string // update release, as xCAT's copycds -s appends it; may be empty
	Build   string // 22380479; may be empty
	Arch    string // x86_64, aarch64
	Title   string // for the operator: "VMware ESXi 8.0.2 build 22380479"
	Modules []Module
	Images  []ImageSpec // osimages that copycds defines
	Whole   bool        // its installer loads the medium as one file
}

// A Module is a file that a medium's own boot configuration names. Name is
// its path in the medium as the configuration spells it, without leading
// slash; Size is in bytes.
type Module struct {
	Name string
	Size int64
}

// An ImageSpec is an osimage to define for a release, less what follows from
// the release itself (osvers, osarch, osdistroname).
type ImageSpec struct {
	Mode    nodedb.Mode // provmethod: install or netboot
	Profile string      // base, hypervisor
	OSName  string      // ESXi, Linux
}

// A Boot is one node's boot as a family renders it. Everything a family may
// put in a file is here, so that rendering needs neither socket nor clock.
type Boot struct {
	Snap    *nodedb.Snapshot
	Node    *nodedb.Node
	Image   *nodedb.Image // nil where nodeset was told os, arch and profile
	Mode    nodedb.Mode   // install or netboot, or one that works or tests
	Arg     string        // what runcmd and runimage are to run
	OS      string
	Arch    string
	Profile string

	Server   netip.Addr // our address as the node reaches us
	Base     string     // "http://10.1.0.1" or with ":port"; no slash at the end
	Secure   string     // the same by HTTPS, for a node that is to be sent what it can by it; empty otherwise
	Tree     fs.FS      // the install tree; nil for a diskless image that has none
	TreePath string     // its path below Base: "install/esxi8.0.2/x86_64"

	// Install is the whole install directory: postscripts, diskless images. It
	// may be nil. MediumURL is the medium of the tree as one file; empty if it
	// is no longer where copycds read it.
	Install   fs.FS
	MediumURL string

	Token string // of the attempt; "" renders the word TOKEN
	Step  string // id of the step that it is at, for work

	Firmware netboot.Firmware // of the machine that asks; unknown renders for BIOS
	HTTPBoot bool
	TFTP     bool             // the system's own loader loads by TFTP: paths must be the TFTP server's
	MAC      net.HardwareAddr // the interface that boots

	// Rehearsed says that nobody will be sent what is made: it is made to see
	// whether it can be.
	Rehearsed bool

	// HostKey returns the host's SSH key in PEM, the same at each boot; nil
	// where a boot is only rehearsed.
	HostKey func() ([]byte, error)

	// HostCert returns the certificate that a host is to show: the operator's,
	// or one for the names; nil where a boot is only rehearsed.
	HostCert func(given bool, names HostNames) (*HostCert, error)

	// Looked is told of each file outside Tree and Install that a family looks
	// for, before it does: an operator's template. It may be nil.
	Looked func(file string)

	// State returns the configuration that a stateless host last posted of
	// itself (CallbackURL("state")), a gzip tar; nothing if none is kept. It may
	// be nil.
	State func() ([]byte, error)
}

// web is where a loader has its files from: by HTTPS only if firmware loads,
// for which the server's authority can be enrolled. iPXE as it is shipped trusts
// no authority of ours, and PXE's TFTP has none.
func (b *Boot) web() string {
	if b.Secure != "" && b.HTTPBoot {
		return b.Secure
	}
	return b.Base
}

// URL is the address of a file made for this node's boot ("boot.cfg").
func (b *Boot) URL(name string) string { return b.web() + b.path(name) }

func (b *Boot) path(name string) string {
	return "/boot/" + url.PathEscape(b.Node.Name) + "/" + name
}

// SecretURL is URL with the attempt's token: for files that hold a secret.
func (b *Boot) SecretURL(name string) string {
	return b.URL(name) + "?t=" + b.token()
}

// AnswerURL is SecretURL for what the installer fetches, which takes HTTPS
// whatever the loader can.
func (b *Boot) AnswerURL(name string) string {
	base := b.Base
	if b.Secure != "" {
		base = b.Secure
	}
	return base + b.path(name) + "?t=" + b.token()
}

// CallbackURL is where the node posts that it reached a step ("installed").
func (b *Boot) CallbackURL(step string) string {
	return b.Base + "/callback/" + b.token() + "/" + step
}

// TreeURL is the address of the install tree, without slash at the end.
func (b *Boot) TreeURL() string { return b.web() + "/" + b.TreePath }

func (b *Boot) token() string {
	if b.Token == "" {
		return "TOKEN"
	}
	return b.Token
}

// An Outliner is a family that says in words what a boot would do: which disk
// it takes, how the network is set up.
type Outliner interface {
	Outline(b *Boot) ([]string, error)
}

// A Securer is a Family of which some releases can fetch by HTTPS.
type Securer interface {
	// Secure returns nil if b's can, and otherwise why not.
	Secure(b *Boot) error
}

// A Family knows the media, boot files and answer files of one kind of
// operating system. It keeps no state and opens no socket.
type Family interface {
	// Name is the family's word: "esxi".
	Name() string
	// Owns says whether an xCAT os name (esxi8.0) is this family's.
	Owns(os string) bool
	// Recognize tells what a medium is from what is on it: nil and no error
	// for a medium of another family; an error for one of its own that is
	// incomplete (a module that boot.cfg names is missing or empty).
	Recognize(medium fs.FS) (*Release, error)
	// Files are the names that a boot may ask for, in the order of asking:
	// "script", "boot.cfg", "ks.cfg".
	Files(b *Boot) []string
	// Make renders one of Files. The error is the node's, for the prompt. script,
	// boot.cfg and grub.cfg follow from the Boot alone and from no other node's
	// record: they are kept until one of these changes.
	Make(b *Boot, name string) ([]byte, error)
	// Modules are the install tree's files that the rendered boot
	// configuration loads, loaders and kernel first, with sizes.
	Modules(b *Boot) ([]Module, error)
	// Loader is the path in the tree of the boot program that firmware is
	// sent without iPXE ("efi/boot/bootx64.efi"); ErrNotFound if none.
	Loader(b *Boot) (string, error)
}
