package linux

import (
	"io/fs"
	"regexp"
	"strings"
)

// redHatNames maps what a product is called to xCAT's word. The first that
// the name holds counts.
func redHatNames() []struct{ product, name string } {
	return []struct{ product, name string }{
		{"red hat enterprise linux workstation", "rhelw"},
		{"red hat enterprise linux client", "rhelc"},
		{"red hat enterprise linux", "rhels"},
		{"centos", "centos"},
		{"rocky", "rocky"},
		{"almalinux", "alma"},
		{"oracle linux", "ol"},
		{"scientific linux", "SL"},
		{"fedora", "fedora"},
	}
}

// redHat reads a medium of Red Hat's family: .treeinfo says most, .discinfo
// and media.repo are older. A medium may have all three.
func redHat(medium fs.FS) (*identity, error) {
	treeinfo := mark(medium, ".treeinfo")
	if treeinfo == "" {
		treeinfo = mark(medium, "treeinfo")
	}
	disc := strings.Split(mark(medium, ".discinfo")+"\n\n\n", "\n")
	repo := ini(mark(medium, "media.repo"), "InstallMedia")
	general, release := ini(treeinfo, "general"), ini(treeinfo, "release")

	id := &identity{arch: firstOf(general["arch"], disc[2])}
	for _, title := range []string{release["name"] + " " + release["version"], general["family"] + " " + general["version"], repo["name"], disc[1]} {
		if id.named(title) {
			break
		}
	}
	if id.name == "" {
		return nil, nil
	}
	if id.arch == "" {
		id.arch = tailArch(id.title)
	}
	return id, nil
}

// named reads a product's title, as "Red Hat Enterprise Linux 9.4".
func (id *identity) named(title string) bool {
	title = strings.TrimSpace(title)
	low := strings.ToLower(title)
	for _, p := range redHatNames() {
		at := strings.Index(low, p.product)
		if at < 0 {
			continue
		}
		v := versionIn.FindString(low[at:]) // case may change how many bytes a letter has
		if v == "" {
			return false
		}
		id.name, id.version, id.title = p.name, v, title
		return true
	}
	return false
}

// tailArch is an architecture at the end of a title.
func tailArch(title string) string {
	return archWord.FindString(title)
}

var archWord = regexp.MustCompile(`x86_64|aarch64|ppc64le|ppc64|s390x|i[3-6]86`)

func firstOf(words ...string) string {
	for _, w := range words {
		if w = strings.TrimSpace(w); w != "" {
			return w
		}
	}
	return ""
}
