package linux

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"margay/nodedb"
)

// packageName is what package managers take: names, globs, versions, groups.
var packageName = regexp.MustCompile(`^[-@^A-Za-z0-9][A-Za-z0-9@^+._*:=~/-]*$`)

// packages reads the image's pkglist, else that of the profile, else the
// installer's own.
func (n *node) packages(f *Family, d *AnswerData) error {
	texts, err := n.pkglists(f)
	if err != nil {
		return err
	}
	for _, t := range texts {
		for line := range strings.Lines(t.text) {
			if err := d.pkgLine(f, t.source, line, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

type listText struct{ source, text string }

func (n *node) pkglists(f *Family) ([]listText, error) {
	if n.Image != nil && n.Image.Attr("linuximage.pkglist") != "" {
		return f.listed(n, n.Image.Attr("linuximage.pkglist"))
	}
	names, err := n.candidates("pkglist")
	if err != nil {
		return nil, err
	}
	t, err := f.templates.Find(append(names, "linux/"+string(n.distro.installer)+".pkglist")...)
	if err != nil {
		return nil, err
	}
	return []listText{{t.Source, t.Text}}, nil
}

// listed reads the files that a column names, separated by commas.
func (f *Family) listed(n *node, value string) ([]listText, error) {
	var out []listText
	for _, name := range strings.Split(value, ",") {
		name = strings.TrimSpace(name)
		t, err := f.templates.Find(name, path.Join("linux", name), path.Join("linux", n.distro.platform, name))
		if err != nil {
			return nil, fmt.Errorf("%v: %w", err, nodedb.ErrInvalid)
		}
		out = append(out, listText{t.Source, t.Text})
	}
	return out, nil
}

// pkgLine reads one line of a pkglist, in xCAT's form.
func (d *AnswerData) pkgLine(f *Family, source, line string, depth int) error {
	line = strings.TrimSpace(line)
	if name, ok := strings.CutPrefix(line, "#INCLUDE:"); ok {
		return d.includeList(f, source, strings.TrimSuffix(name, "#"), depth)
	}
	line, _, _ = strings.Cut(line, "#")
	for _, word := range strings.Fields(line) {
		if !packageName.MatchString(word) {
			return fmt.Errorf("%s: %q is not a package's name: %w", source, word, nodedb.ErrInvalid)
		}
		switch word[0] {
		case '-':
			d.Without = append(d.Without, word[1:])
		case '@':
			d.Groups = append(d.Groups, word[1:])
		default:
			d.Packages = append(d.Packages, word)
		}
	}
	return nil
}

const maxIncludes = 16

func (d *AnswerData) includeList(f *Family, source, name string, depth int) error {
	if depth >= maxIncludes {
		return fmt.Errorf("%s: includes itself: %w", source, nodedb.ErrInvalid)
	}
	if !path.IsAbs(name) {
		name = path.Join(path.Dir(strings.TrimPrefix(source, "built-in ")), name)
	}
	t, err := f.templates.Find(name)
	if err != nil {
		return fmt.Errorf("%s: %v: %w", source, err, nodedb.ErrInvalid)
	}
	for line := range strings.Lines(t.Text) {
		if err := d.pkgLine(f, t.Source, line, depth+1); err != nil {
			return err
		}
	}
	return nil
}
