package linux

import (
	"io/fs"
	"regexp"
	"strings"
)

// suse reads a medium of SUSE's: "content" up to 12, media.1/products since,
// and .treeinfo beside them on some.
func suse(medium fs.FS) (*identity, error) {
	if id := suseContent(mark(medium, "content")); id != nil {
		return id, nil
	}
	if id := suseProducts(mark(medium, "media.1/products"), mark(medium, "media.1/media")); id != nil {
		return id, nil
	}
	return suseInstall(mark(medium, "media.1/media"), mark(medium, ".treeinfo")), nil
}

// suseContent reads the lines of the content file: DISTRO has a CPE name, which
// has service packs ("cpe:/o:suse:sles:12:sp5,SUSE Linux Enterprise Server 12 SP5").
func suseContent(text string) *identity {
	key := map[string]string{}
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, ok := key[k]; !ok {
			key[k] = strings.TrimSpace(v)
		}
	}
	cpe, label, _ := strings.Cut(key["DISTRO"], ",")
	m := suseCPE.FindStringSubmatch(cpe)
	if m == nil {
		return nil
	}
	id := &identity{name: "sles", version: m[3], title: firstOf(label, key["LABEL"], cpe)}
	if m[1] == "opensuse" {
		id.name = "opensuse"
	}
	if m[4] != "" && !strings.Contains(m[3], ".") {
		id.version += "." + m[4]
	}
	id.arch = tailArch(key["BASEARCHS"] + " " + key["REPOID"] + " " + text)
	return id
}

var suseCPE = regexp.MustCompile(`^cpe:/o:(suse|opensuse):(sles|sled|sles_sap|leap|opensuse):([0-9]{1,2}(?:\.[0-9])?)(?::sp([0-9]))?`)

// suseProducts reads media.1/products: "/ SLES15-SP5 15.5-0", "/ openSUSE-Leap
// 15.5-1". The full medium of 15 lists SLES among the products of its modules.
func suseProducts(text, media string) *identity {
	for line := range strings.Lines(text) {
		m := suseProduct.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		id := &identity{name: "sles", version: m[2], arch: tailArch(media + " " + text)}
		id.title = "SUSE Linux Enterprise Server " + m[2]
		if strings.HasPrefix(m[1], "openSUSE") || m[1] == "Leap" {
			id.name, id.title = "opensuse", "openSUSE Leap "+m[2]
		}
		return id
	}
	return nil
}

var suseProduct = regexp.MustCompile(`^/\S* (SLES|SLE|SUSE SLE|Leap|openSUSE|openSUSE-Leap)[A-Za-z0-9_-]* ([0-9]{2}(?:\.[0-9])?)\b`)

// suseInstall reads media.1/media of media without products: "SUSE - SUSE-Linux-
// Enterprise-Server-16.0-x86_64-Build1.1-Media" and the like.
func suseInstall(media, treeinfo string) *identity {
	text := media + "\n" + ini(treeinfo, "release")["name"] + " " + ini(treeinfo, "release")["version"]
	for line := range strings.Lines(text) {
		m := suseMedia.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		id := &identity{name: "sles", version: m[2], arch: firstOf(ini(treeinfo, "general")["arch"], tailArch(text)), title: strings.TrimSpace(line)}
		if m[3] != "" {
			id.version += "." + m[3]
		}
		if strings.HasPrefix(strings.ToLower(m[1]), "opensuse") {
			id.name = "opensuse"
		}
		return id
	}
	return nil
}

var suseMedia = regexp.MustCompile(`(?i)(SLES?|SUSE[- ]Linux[- ]Enterprise(?:[- ]Server)?|openSUSE[- ]Leap)[- ]([0-9]{2}(?:\.[0-9])?)(?:[- ]SP([0-9]))?`)
