package vm

import (
	"regexp"
	"strings"
	"sync"
)

// GuestID is vSphere's name for an operating system: VirtualMachineGuestOsIdentifier
// in the vSphere Web Services API reference. An unknown Linux is
// otherLinux64Guest, anything else otherGuest64; on 32 bits without the 64.
func GuestID(os, arch string) string {
	os = strings.ToLower(os)
	for _, r := range guestRules() {
		m := r.os.FindStringSubmatch(os)
		if m == nil {
			continue
		}
		id := r.id
		if len(m) > 1 {
			id = strings.ReplaceAll(id, "$1", m[1])
		}
		return bits(id, arch)
	}
	return bits("other_", arch)
}

// bits puts "64" where the id has "_" at its end.
func bits(id, arch string) string {
	base, ok := strings.CutSuffix(id, "_")
	wide := arch == "" || strings.Contains(arch, "64")
	switch {
	case !ok:
		return id
	case base == "other" && wide:
		return "otherGuest64"
	case wide && strings.HasSuffix(base, "#"):
		return strings.TrimSuffix(base, "#") + "_64Guest"
	case wide:
		return base + "64Guest"
	}
	return strings.TrimSuffix(base, "#") + "Guest"
}

type guestRule struct {
	os *regexp.Regexp
	id string // "#_" at the end: "_64Guest" or "Guest"; "_": "64Guest" or "Guest"
}

// guestRules are tried in order; the first that fits the whole name counts.
var guestRules = sync.OnceValue(func() []guestRule {
	rules := []struct{ os, id string }{
		{`(?:rhel[a-z]*|rhe)([4-9])(?:[._].*)?`, "rhel$1#_"},
		{`(?:rhel[a-z]*|rhe)1\d(?:[._].*)?`, "rhel9#_"},
		{`centos([4-6])(?:[._].*)?`, "rhel$1#_"},
		{`centos(?:-?stream)?([7-9])(?:[._].*)?`, "centos$1#_"},
		{`(?:rocky|alma|almalinux)([89])(?:[._].*)?`, "rhel$1#_"},
		{`(?:ol|oracle|oraclelinux)([6-9])(?:[._].*)?`, "oracleLinux$1#_"},
		{`sle[sd]?(1[0-6])(?:[._sp].*)?`, "sles$1#_"},
		{`(?:opensuse|suse|leap).*`, "opensuse_"},
		{`debian([4-9]|1[0-2])(?:[._].*)?`, "debian$1#_"},
		{`debian.*`, "debian12#_"},
		{`ubuntu.*`, "ubuntu_"},
		{`fedora.*`, "fedora_"},
		{`photon.*`, "vmwarePhoton64Guest"},
		{`coreos.*|fcos.*|flatcar.*`, "coreos64Guest"},
		{`esxi?4.*`, "vmkernelGuest"},
		{`esxi?5.*`, "vmkernel5Guest"},
		{`esxi?6(?:\.0.*)?`, "vmkernel6Guest"},
		{`esxi?6.*`, "vmkernel65Guest"},
		{`esxi?7.*`, "vmkernel7Guest"},
		{`esxi?[89].*`, "vmkernel8Guest"},
		{`win(?:dows)?(?:2k8r2|2008r2).*`, "windows7Server64Guest"},
		{`win(?:dows)?(?:2k8|2008).*`, "winLonghorn_"},
		{`(?:win|windows|hyperv)2012.*`, "windows8Server64Guest"},
		{`(?:win|windows|hyperv)2016.*`, "windows9Server64Guest"},
		{`(?:win|windows)2019.*`, "windows2019srv_64Guest"},
		{`(?:win|windows)2022.*`, "windows2019srvNext_64Guest"},
		{`(?:win|windows)2025.*`, "windows2022srvNext_64Guest"},
		{`win(?:dows)?(?:2k3|2003).*|imagex`, "winNetStandard_"},
		{`win(?:dows)?7.*`, "windows7#_"},
		{`win(?:dows)?8.*`, "windows8#_"},
		{`win(?:dows)?10.*`, "windows9#_"},
		{`win(?:dows)?11.*`, "windows11_64Guest"},
		{`freebsd(1[1-4]).*`, "freebsd$1#_"},
		{`freebsd.*`, "freebsd_"},
		{`boottarget|.*linux.*|gentoo.*|arch.*|alpine.*`, "otherLinux_"},
	}
	out := make([]guestRule, len(rules))
	for i, r := range rules {
		out[i] = guestRule{regexp.MustCompile(`^(?:` + r.os + `)$`), r.id}
	}
	return out
})
