package linux

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"

	"margay/nodedb"
	"margay/provision"
)

// postDir is where an operator keeps postscripts, below the install directory.
const postDir = "postscripts"

// maxPack bounds all postscripts together, which each node fetches, in bytes.
const maxPack = 32 << 20

// PostData is what templates/linux/mypostscript.tmpl is filled in with, beside
// what answer files are.
type PostData struct {
	*AnswerData
	Diskless        bool     // the node keeps nothing: all runs at each boot
	Postscripts     []string // each a script and its arguments, as words for a shell
	PostBootScripts []string
	Env             []string // NAME='value', for scripts
	Interfaces      bool     // write /etc/network/interfaces
}

// mypostscript is the script by which the node runs its postscripts.
func (f *Family) mypostscript(n *node) ([]byte, error) {
	d, err := n.data()
	if err != nil {
		return nil, err
	}
	p := &PostData{AnswerData: d, Diskless: n.Mode == nodedb.ModeNetboot}
	p.Interfaces = n.distro.installer == preseed && !p.Diskless && (d.Static || len(d.NICs) > 0)
	if p.Postscripts, err = n.scripts("postscripts"); err != nil {
		return nil, err
	}
	if p.PostBootScripts, err = n.scripts("postbootscripts"); err != nil {
		return nil, err
	}
	p.Env = n.environment()
	t, err := f.templates.Find("linux/mypostscript.tmpl")
	if err != nil {
		return nil, err
	}
	return t.Render(p)
}

// environment is what xCAT gives to postscripts.
func (n *node) environment() []string {
	image := ""
	if n.Image != nil {
		image = n.Image.Name
	}
	out := []string{}
	for _, v := range []struct{ name, value string }{
		{"NODE", n.Node.Name}, {"MASTER", n.Server.String()}, {"SITEMASTER", n.Server.String()},
		{"OSVER", n.OS}, {"ARCH", n.Arch}, {"PROFILE", n.Profile}, {"PROVMETHOD", firstOf(image, string(n.Mode))},
		{"NODESETSTATE", string(n.Mode)}, {"GROUP", strings.Join(n.Node.Groups, ",")}, {"DOMAIN", n.set.domain},
		{"NAMESERVERS", strings.Join(n.set.dns, ",")}, {"NTPSERVERS", strings.Join(n.set.ntp, ",")},
		{"MACADDRESS", n.MAC.String()}, {"INSTALLNIC", n.Node.InstallNIC}, {"PRIMARYNIC", n.Node.PrimaryNIC},
		{"NICIPS", n.Node.Attr("nics.nicips")}, {"NICNETWORKS", n.Node.Attr("nics.nicnetworks")},
		{"OSPKGDIR", n.TreePath}, {"INSTALLDIR", "/install"}, {"TIMEZONE", n.set.timezone},
	} {
		out = append(out, v.name+"="+shellQuote(v.value))
	}
	return out
}

// shellQuote makes a word of a value, on one line.
func shellQuote(v string) string {
	v = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, v)
	return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'"
}

var scriptWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+-]*(/[A-Za-z0-9][A-Za-z0-9_.+-]*)*$`)

// scripts are the postscripts of a kind: those of all nodes, the image's, the
// node's, in that order and each once.
func (n *node) scripts(kind string) ([]string, error) {
	var lists []string
	for _, k := range []nodedb.Kind{nodedb.KindGroup, nodedb.KindNode} {
		if r, ok := n.Snap.Record(nodedb.Key{Kind: k, Name: "xcatdefaults"}); ok {
			lists = append(lists, r.Attrs["postscripts."+kind])
		}
	}
	if n.Image != nil {
		lists = append(lists, n.Image.Attr("osimage."+kind))
	}
	lists = append(lists, n.Node.Attr("postscripts."+kind))
	var out []string
	seen := map[string]bool{}
	for _, item := range strings.Split(strings.Join(lists, ","), ",") {
		if item = strings.TrimSpace(item); item == "" || seen[item] {
			continue
		}
		seen[item] = true
		line, err := n.scriptLine(item)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		out = append(out, line)
	}
	return out, nil
}

// scriptLine checks that a script is there, and quotes its words.
func (n *node) scriptLine(item string) (string, error) {
	words := strings.Fields(item)
	if !scriptWord.MatchString(words[0]) {
		return "", fmt.Errorf("%q is not a script's name: %w", words[0], nodedb.ErrInvalid)
	}
	if n.Install == nil {
		return "", fmt.Errorf("%s: no install directory to look for it in: %w", words[0], nodedb.ErrInvalid)
	}
	if fi, err := fs.Stat(n.Install, path.Join(postDir, words[0])); err != nil || !fi.Mode().IsRegular() {
		return "", fmt.Errorf("%s: not in %s of the install directory; put it there, or take it from the node's list: %w", words[0], postDir, nodedb.ErrInvalid)
	}
	for i, w := range words {
		words[i] = shellQuote(w)
	}
	return strings.Join(words, " "), nil
}

// hasPostscripts says whether there is a directory of postscripts with
// something in it.
func hasPostscripts(b *provision.Boot) bool {
	if b.Install == nil {
		return false
	}
	entries, err := fs.ReadDir(b.Install, postDir)
	return err == nil && len(entries) > 0
}

// packPostscripts is the whole directory, as scripts use each other. The same
// files make the same bytes.
func packPostscripts(install fs.FS) ([]byte, error) {
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	w := tar.NewWriter(gz)
	left := int64(maxPack)
	err := fs.WalkDir(install, postDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := fs.Stat(install, name) // what a link leads to
		if err != nil || !fi.Mode().IsRegular() {
			return nil
		}
		if left -= fi.Size(); left < 0 {
			return fmt.Errorf("%s: more than %d MiB, which each node would fetch; move what is not a script elsewhere: %w", postDir, maxPack>>20, nodedb.ErrInvalid)
		}
		return packFile(w, install, name, fi)
	})
	if err := errors.Join(err, w.Close(), gz.Close()); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func packFile(w *tar.Writer, install fs.FS, name string, fi fs.FileInfo) error {
	f, err := install.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := &tar.Header{Name: strings.TrimPrefix(name, postDir+"/"), Mode: int64(fi.Mode().Perm() | 0o555), Size: fi.Size(), ModTime: fi.ModTime().Truncate(time.Second), Format: tar.FormatPAX}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(w, f, fi.Size())
	return err
}
