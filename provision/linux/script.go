package linux

import (
	"fmt"
	"path"
	"strings"

	"margay/provision"
)

// ScriptData is what templates/ipxe/linux.ipxe is filled in with.
type ScriptData struct {
	Node      string // the node's name
	State     string // "install rhels9.4-x86_64-compute", as nodeset says it
	Server    string // our address
	Kernel    string // addresses
	Initrd    string
	Arguments string // the kernel's, with a blank before
	Failed    string // where to report that the kernel did not start
}

// script is the iPXE script that starts the kernel.
func (f *Family) script(n *node) ([]byte, error) {
	files, err := n.bootFiles()
	if err != nil {
		return nil, err
	}
	args, err := n.arguments(files)
	if err != nil {
		return nil, err
	}
	d := ScriptData{
		Node: n.Node.Name, State: state(n.Boot), Server: n.Server.String(),
		Kernel: files.kernel, Initrd: files.initrd, Failed: n.CallbackURL("failed"),
		// A UEFI kernel takes its RAM disk by that name from iPXE; BIOS kernels
		// do not look at it.
		Arguments: " initrd=" + path.Base(files.initrd) + " " + strings.Join(args, " "),
	}
	t, err := f.templates.Noting(n.Looked).Find("ipxe/linux.ipxe")
	if err != nil {
		return nil, err
	}
	return t.Render(d)
}

// state is a boot in nodeset's words.
func state(b *provision.Boot) string {
	return fmt.Sprintf("%s %s-%s-%s", b.Mode, b.OS, b.Arch, b.Profile)
}
