package linux

import (
	"io/fs"
	"regexp"
	"strconv"
)

// An installer is a way to be told what to install.
type installer string

const (
	kickstart   installer = "kickstart"   // anaconda: Red Hat and its kin
	preseed     installer = "preseed"     // debian-installer
	autoinstall installer = "autoinstall" // subiquity, Ubuntu's live server
	autoyast    installer = "autoyast"    // SUSE
)

// A distro is a distribution and its version, read from xCAT's name.
type distro struct {
	name      string // rhels, centos, fedora, sles, opensuse, debian, ubuntu
	platform  string // xCAT's word for the directory of its templates: rh, centos, ...
	installer installer
	major     int
	minor     int
	oldest    int // major version from which on it is known
}

// distros are the names that copycds gives, as xCAT spells them. The longest
// that fits counts: order matters.
func distros() []distro {
	return []distro{
		{name: "rhels", platform: "rh", installer: kickstart, oldest: 6},
		{name: "rhelc", platform: "rh", installer: kickstart, oldest: 6},
		{name: "rhelw", platform: "rh", installer: kickstart, oldest: 6},
		{name: "rhel", platform: "rh", installer: kickstart, oldest: 6},
		{name: "centos", platform: "centos", installer: kickstart, oldest: 6},
		{name: "rocky", platform: "rocky", installer: kickstart, oldest: 8},
		{name: "alma", platform: "alma", installer: kickstart, oldest: 8},
		{name: "ol", platform: "ol", installer: kickstart, oldest: 6},
		{name: "SL", platform: "SL", installer: kickstart, oldest: 6},
		{name: "fedora", platform: "fedora", installer: kickstart, oldest: 13},
		{name: "sles", platform: "sles", installer: autoyast, oldest: 12},
		{name: "opensuse", platform: "suse", installer: autoyast, oldest: 12},
		{name: "debian", platform: "debian", installer: preseed, oldest: 10},
		{name: "ubuntu", platform: "ubuntu", installer: autoinstall, oldest: 18},
	}
}

var osName = regexp.MustCompile(`^([A-Za-z]+)([0-9]{1,3})(?:\.([0-9]{1,3}))?([._][0-9A-Za-z_.]*)?$`)

// parseOS reads an os name, as rhels9.4, debian12.5 or ubuntu24.04.1.
func parseOS(os string) (distro, bool) {
	m := osName.FindStringSubmatch(os)
	if m == nil {
		return distro{}, false
	}
	for _, d := range distros() {
		if d.name != m[1] {
			continue
		}
		d.major, _ = strconv.Atoi(m[2])
		d.minor, _ = strconv.Atoi(m[3])
		return d, true
	}
	return distro{}, false
}

// in is the distribution as a tree has it: Ubuntu's server media of the older
// kind carry debian-installer.
func (d distro) in(tree fs.FS, arch string) distro {
	if d.name != "ubuntu" || tree == nil {
		return d
	}
	if _, err := fs.Stat(tree, "install/netboot/ubuntu-installer/"+debArch(arch)+"/linux"); err == nil {
		d.installer = preseed
	}
	return d
}

func (d distro) tooOld() bool { return d.major < d.oldest }

// modern says whether anaconda is of the line that RHEL 7 and Fedora 19 began.
func (d distro) modern() bool {
	if d.name == "fedora" {
		return d.major >= 19
	}
	return d.major >= 7
}

// answers are the names of the answer files.
func (d distro) answers() []string {
	switch d.installer {
	case kickstart:
		return []string{"ks.cfg"}
	case preseed:
		return []string{"preseed.cfg"}
	case autoyast:
		return []string{"autoinst.xml"}
	}
	return []string{"user-data", "meta-data", "vendor-data"}
}
