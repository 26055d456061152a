package linux

import (
	"io/fs"
	"regexp"
	"strings"
)

// debian reads a medium of Debian's or Ubuntu's: .disk/info, or .disk/mini-info
// of the small media that fetch all else from a mirror, or version.info of the
// files that Debian packs for network boot.
func debian(medium fs.FS) (*identity, error) {
	for _, name := range []string{".disk/info", ".disk/mini-info"} {
		text := mark(medium, name)
		if m := debianInfo.FindStringSubmatch(text); m != nil {
			id := &identity{name: strings.ToLower(m[1]), version: m[2], title: strings.TrimSpace(firstLine(text))}
			id.version = trimZeros(id.version)
			id.arch = debianArch.FindString(text)
			if id.arch == "" {
				id.arch = dirArch(medium)
			}
			return id, nil
		}
	}
	if m := debianNetboot.FindStringSubmatch(mark(medium, "version.info")); m != nil {
		return &identity{name: "debian", version: m[1], arch: dirArch(medium), title: "Debian " + m[1] + " for network boot"}, nil
	}
	return nil, nil
}

var (
	// "Debian GNU/Linux 12.5.0 "Bookworm" - Official amd64 NETINST with firmware 20240210-11:27"
	// "Ubuntu-Server 24.04.1 LTS "Noble Numbat" - Release amd64 (20240827)"
	debianInfo = regexp.MustCompile(`^(Debian|Ubuntu)(?:[- ][A-Za-z/]+)* ([0-9]{1,2}(?:\.[0-9]{1,3}){0,2})\b`)
	debianArch = regexp.MustCompile(`\b(amd64|i386|arm64|ppc64el|s390x)\b`)
	// "Debian version:  12 (bookworm)"
	debianNetboot = regexp.MustCompile(`(?m)^Debian version:\s+([0-9]{1,2}(?:\.[0-9]{1,2})?)\b`)
)

// trimZeros cuts a last ".0": 12.5.0 is xCAT's debian12.5; 24.04 stays.
func trimZeros(version string) string {
	if strings.Count(version, ".") == 2 {
		return strings.TrimSuffix(version, ".0")
	}
	return version
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// dirArch is the architecture whose directory a medium has.
func dirArch(medium fs.FS) string {
	for _, arch := range []string{"amd64", "arm64", "i386", "ppc64el", "s390x"} {
		for _, dir := range []string{"debian-installer/" + arch, "dists/stable/main/binary-" + arch, "install." + debianShort(arch)} {
			if fi, err := fs.Stat(medium, dir); err == nil && fi.IsDir() {
				return arch
			}
		}
	}
	return ""
}

// debianShort is how install directories of Debian's media are named.
func debianShort(arch string) string {
	switch arch {
	case "amd64":
		return "amd"
	case "i386":
		return "386"
	case "arm64":
		return "a64"
	}
	return arch
}
