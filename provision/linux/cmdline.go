package linux

import (
	"fmt"
	"strings"

	"margay/nodedb"
)

// bootif names the interface that loads the script, as PXELINUX would: iPXE
// fills it in. An installer may not find it otherwise among several.
const bootif = "BOOTIF=01-${netX/mac:hexhyp}"

// keepMark begins an argument of addkcmdline that the installed system is to
// keep, as xCAT has it.
const keepMark = "R::"

// arguments are the kernel's, in order: the installer's own, the serial
// console, then the operator's, which so may take back any before them.
func (n *node) arguments(files bootFiles) ([]string, error) {
	var out []string
	if n.Mode == nodedb.ModeNetboot {
		out = n.disklessArguments()
	} else {
		own, err := n.installerArguments()
		if err != nil {
			return nil, err
		}
		out = own
	}
	if n.set.serial != "" {
		out = append(out, "console=tty0", "console="+n.set.serial)
	}
	for _, o := range n.set.extra {
		o = strings.TrimPrefix(o, keepMark)
		if strings.ContainsAny(o, "${}") || o == "&&" || o == "||" {
			return nil, fmt.Errorf("addkcmdline: %q cannot stand in an iPXE script: %w", o, nodedb.ErrInvalid)
		}
		out = append(out, o)
	}
	return out, nil
}

func (n *node) installerArguments() ([]string, error) {
	switch n.distro.installer {
	case kickstart:
		if !n.distro.modern() {
			return []string{"ks=" + n.SecretURL("ks.cfg"), "repo=" + n.mirror(), "ksdevice=bootif", bootif, "ip=dhcp"}, nil
		}
		return []string{"inst.ks=" + n.SecretURL("ks.cfg"), "inst.repo=" + n.mirror(), bootif, "ip=dhcp"}, nil
	case autoyast:
		if n.distro.major >= 16 {
			// Agama reads AutoYaST's profiles too, if their name says so.
			return []string{"root=live:" + n.TreeURL() + "/LiveOS/squashfs.img", "inst.install_url=" + n.mirror() + "/install",
				"inst.auto=" + n.URL("t/"+n.token()+"/autoinst.xml"), bootif, "ip=dhcp"}, nil
		}
		return []string{"autoyast=" + n.SecretURL("autoinst.xml"), "install=" + n.mirror(), bootif, "netsetup=dhcp"}, nil
	case preseed:
		return n.preseedArguments(), nil
	}
	if n.MediumURL == "" {
		return nil, fmt.Errorf("%s: its installer loads the whole medium, and the ISO that copycds read is gone or was changed; put it back, or run copycds again: %w", n.OS, nodedb.ErrInvalid)
	}
	return []string{"ip=dhcp", bootif, "url=" + n.MediumURL, "cloud-config-url=/dev/null", "autoinstall", "ds=nocloud-net;s=" + n.URL("t/"+n.token()+"/")}, nil
}

// preseedArguments: what debian-installer asks before it has a network cannot
// be in the preseed file that it fetches (Debian installation guide, B.2.4).
func (n *node) preseedArguments() []string {
	short, _, _ := strings.Cut(n.set.hostname, ".")
	out := []string{
		"auto=true", "priority=critical", "url=" + n.SecretURL("preseed.cfg"),
		"locale=en_US.UTF-8", "keymap=us", "interface=auto", bootif,
		"hostname=" + short, "netcfg/dhcp_timeout=60",
	}
	if n.set.domain != "" {
		return append(out, "domain="+n.set.domain)
	}
	return append(out, "domain=")
}

// token is the attempt's, as SecretURL has it.
func (n *node) token() string {
	_, token, _ := strings.Cut(n.SecretURL(""), "?t=")
	return token
}

// kept are the kernel arguments for the installed system: those of the serial
// console, and the operator's own that are marked so.
func (n *node) kept() []string {
	var out []string
	if n.set.serial != "" {
		out = append(out, "console=tty0", "console="+n.set.serial)
	}
	for _, o := range n.set.extra {
		if o, ok := strings.CutPrefix(o, keepMark); ok {
			out = append(out, o)
		}
	}
	return out
}

// mirror is where packages come from: the image's pkgdir where it has an
// address, else the install tree.
func (n *node) mirror() string {
	if n.Image != nil {
		for _, dir := range strings.Split(n.Image.PkgDir, ",") {
			dir = strings.TrimSpace(dir)
			if strings.HasPrefix(dir, "http://") || strings.HasPrefix(dir, "https://") {
				return strings.TrimSuffix(dir, "/")
			}
		}
	}
	return n.TreeURL()
}
