package linux

import (
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"margay/nodedb"
	"margay/provision"
)

// maxMark bounds a file that says what a medium is. Real ones have a few
// hundred bytes; SUSE's content file has most.
const maxMark = 1 << 20

// An identity is what a medium says of itself.
type identity struct {
	name    string // xCAT's word: rhels
	version string // 9.4
	arch    string // as the medium spells it
	title   string
}

// Recognize implements provision.Family.
func (f *Family) Recognize(medium fs.FS) (*provision.Release, error) {
	for _, read := range []func(fs.FS) (*identity, error){redHat, suse, debian} {
		id, err := read(medium)
		if err != nil {
			return nil, err
		}
		if id != nil {
			return id.release(medium)
		}
	}
	return nil, nil
}

// release checks that the medium has what its installer boots from.
func (id *identity) release(medium fs.FS) (*provision.Release, error) {
	rel := &provision.Release{
		Family: "linux", OS: id.name + id.version, Version: id.version,
		Arch: archOf(id.arch), Title: id.title,
	}
	d, ok := parseOS(rel.OS)
	rel.Whole = d.installer == autoinstall
	switch {
	case !ok:
		return nil, fmt.Errorf("%s: version %q cannot stand in an os name", id.title, id.version)
	case d.tooOld():
		return nil, fmt.Errorf("%s: too old; %s is known from version %d on", id.title, d.name, d.oldest)
	case rel.Arch == "":
		return nil, fmt.Errorf("%s: architecture %q is not known", id.title, id.arch)
	}
	files, err := installerFiles(medium, d.in(medium, rel.Arch), rel.Arch)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id.title, err)
	}
	rel.Modules = files.modules
	for _, profile := range []string{"compute", "service"} {
		rel.Images = append(rel.Images, provision.ImageSpec{Mode: nodedb.ModeInstall, Profile: profile, OSName: "Linux"})
	}
	rel.Images = append(rel.Images, provision.ImageSpec{Mode: nodedb.ModeNetboot, Profile: "compute", OSName: "Linux"})
	return rel, nil
}

// archOf is an architecture in xCAT's words; "" if it is none of those known.
func archOf(arch string) string {
	switch strings.ToLower(strings.TrimSpace(arch)) {
	case "x86_64", "amd64", "x64":
		return "x86_64"
	case "i386", "i486", "i586", "i686", "x86":
		return "x86"
	case "aarch64", "arm64":
		return "aarch64"
	case "ppc64le", "ppc64el":
		return "ppc64le"
	case "ppc64", "ppc":
		return "ppc64"
	case "s390x":
		return "s390x"
	}
	return ""
}

// mark reads a small text file of a medium, "" if there is none. Marks that
// are larger than any real one are cut.
func mark(medium fs.FS, name string) string {
	f, err := medium.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMark))
	if err != nil {
		return ""
	}
	return string(b)
}

// ini reads "key = value" lines of a section, keys in lower case.
func ini(text, section string) map[string]string {
	out := map[string]string{}
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			in = strings.EqualFold(line[1:len(line)-1], section)
			continue
		}
		if k, v, ok := strings.Cut(line, "="); ok && in {
			out[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
		}
	}
	return out
}

// versionIn is the first version in a text: "9.4" of "Rocky Linux 9.4".
var versionIn = regexp.MustCompile(`[0-9]{1,3}(\.[0-9]{1,3}){0,2}`)
