package provision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"margay/nodedb"
)

// Templates written for xCAT have #...# directives in place of ours. Those
// that would run a command on the server, or put a password in clear text into
// a file, are refused.

// IsOldTemplate says whether a template holds xCAT's directives.
func IsOldTemplate(text string) bool { return oldDirective.MatchString(text) }

var oldDirective = regexp.MustCompile(`#(?:(ENV|XCATVAR|INCLUDE|INCLUDE_NOP|TABLE|TABLEBLANKOKAY|CRYPT|CRYPTORLOCKED|COMMAND|GETNODEDOMAIN|GETPRINICMAC|HOSTNAME|INCLUDE_[A-Z_]+):([^#\n]*)|` +
	`(HOSTNAME|SHORTNAME|KICKSTARTNET|KICKSTARTBOOTIF|ESXIPV6SETUP|MANAGEDADDRESSMODE|COLONHTTPPORT|MACHINEPASSWORD|SETINSTALLNIC|INSTALL_SOURCES|INCLUDE_[A-Z_]+))#`)

// Directives fills in a template of xCAT's.
type Directives struct {
	*Boot
	// Hash returns a password of the passwd table, hashed.
	Hash func(key, user string) (string, error)
	// Words are what words without an argument stand for: KICKSTARTNET.
	Words map[string]string
	// Domain is the node's.
	Domain string
	// Script returns our own text for a script that xCAT ships with its
	// templates ("pre.rh"), whose protocol to the server is another.
	Script func(name string) (text string, ok bool)

	err error // the first
}

// xcatRoot is where templates say that xCAT lives.
const xcatRoot = "/opt/xcat"

// Expand fills in all directives of a text whose includes are relative to dir.
func (d *Directives) Expand(text, dir string) (string, error) {
	d.err = nil
	out := d.expand(text, dir, 0)
	return out, d.err
}

// maxIncludes bounds how deep files include each other.
const maxIncludes = 16

func (d *Directives) expand(text, dir string, depth int) string {
	// The one value of the environment that templates need: it stands within
	// other directives, so it goes first.
	text = strings.ReplaceAll(text, "#ENV:XCATROOT#", xcatRoot)
	return oldDirective.ReplaceAllStringFunc(text, func(found string) string {
		m := oldDirective.FindStringSubmatch(found)
		s, err := d.value(m[1]+m[3], m[2], dir, depth)
		if err != nil && d.err == nil {
			d.err = fmt.Errorf("%s %w", found, err)
		}
		return s
	})
}

func (d *Directives) value(word, arg, dir string, depth int) (string, error) {
	if s, ok := d.Words[word]; ok {
		return s, nil
	}
	switch word {
	case "XCATVAR":
		if arg != "XCATMASTER" {
			return "", fmt.Errorf("is not known; there is XCATMASTER: %w", nodedb.ErrInvalid)
		}
		return d.master(), nil
	case "INCLUDE", "INCLUDE_NOP":
		return d.include(arg, dir, depth)
	case "TABLE", "TABLEBLANKOKAY":
		return d.table(arg, word == "TABLEBLANKOKAY")
	case "CRYPT", "CRYPTORLOCKED":
		s, err := d.crypt(arg)
		if word == "CRYPTORLOCKED" && errors.Is(err, nodedb.ErrNotFound) {
			return "*", nil
		}
		return s, err
	case "HOSTNAME":
		return d.Node.Name, nil
	case "SHORTNAME":
		short, _, _ := strings.Cut(d.Node.Name, ".")
		return short, nil
	case "GETNODEDOMAIN":
		return d.Domain, nil
	case "GETPRINICMAC":
		return d.MAC.String(), nil
	case "COLONHTTPPORT":
		return d.colonPort(), nil
	case "MANAGEDADDRESSMODE":
		if mode := d.Snap.Site("managedaddressmode"); mode != "" {
			return mode, nil
		}
		return "dhcp", nil
	case "SETINSTALLNIC":
		return d.Node.InstallNIC, nil
	case "COMMAND":
		return templateCommand(d.Snap, arg)
	case "ENV":
		return "", fmt.Errorf("would show the server's environment, which templates may not: %w", nodedb.ErrInvalid)
	}
	return "", fmt.Errorf("is not for %s: %w", d.OS, nodedb.ErrInvalid)
}

// master is the server as the node should know it.
func (d *Directives) master() string {
	if d.Node.Master != "" {
		return d.Node.Master
	}
	return d.Server.String()
}

// colonPort is ":port" where the server is not at HTTP's own port.
func (d *Directives) colonPort() string {
	rest := strings.TrimPrefix(d.Base, "http://")
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		return rest[i:]
	}
	return ""
}

// include puts in a file, relative to the one that includes it.
func (d *Directives) include(name, dir string, depth int) (string, error) {
	if depth >= maxIncludes {
		return "", fmt.Errorf("includes itself: %w", nodedb.ErrInvalid)
	}
	if strings.HasPrefix(name, xcatRoot+"/") && d.Script != nil {
		if text, ok := d.Script(filepath.Base(name)); ok {
			return text, nil
		}
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	return d.expand(string(b), filepath.Dir(name), depth+1), nil
}

// table is a value of the node table: table:key:column, where key is $NODE, a
// node's name or column=value[,column=value].
func (d *Directives) table(arg string, blank bool) (string, error) {
	part := strings.Split(arg, ":")
	if len(part) != 3 {
		return "", fmt.Errorf("is not table:key:column: %w", nodedb.ErrInvalid)
	}
	table, key, column := part[0], part[1], part[2]
	if nodedb.IsSecret(table + "." + column) {
		return "", fmt.Errorf("would put a secret into the file; use #CRYPT:...#: %w", nodedb.ErrInvalid)
	}
	v, err := d.look(table, key, column)
	if err == nil && v == "" && !blank {
		err = fmt.Errorf("Unable to find requested field %s from table %s, with key %s: %w", column, table, key, nodedb.ErrNotFound)
	}
	return v, err
}

func (d *Directives) look(table, key, column string) (string, error) {
	t := nodedb.TableByName(table)
	if t == nil || t.Column(column) == nil {
		return "", fmt.Errorf("names no column of the table: %w", nodedb.ErrInvalid)
	}
	if !strings.Contains(key, "=") {
		return d.nodeValue(t, key, column)
	}
	for _, r := range d.Snap.Records(t.Kind) {
		if rowMatches(t, r, key) && r.IsSecret(t.Attr(column)) {
			return "", fmt.Errorf("would put a secret into the file: %w", nodedb.ErrInvalid)
		}
		if rowMatches(t, r, key) {
			return r.Attrs[t.Attr(column)], nil
		}
	}
	return "", nil
}

func (d *Directives) nodeValue(t *nodedb.Table, key, column string) (string, error) {
	n := d.Node
	if key != "$NODE" && key != "THISNODE" {
		var err error
		if n, err = d.Snap.Node(key); err != nil {
			return "", err
		}
	}
	v := n.Attr(t.Attr(column))
	if v == "" && t.Name == "noderes" && (column == "nfsserver" || column == "tftpserver" || column == "xcatmaster") {
		v = d.master()
	}
	return v, nil
}

// rowMatches says whether a record has all of column=value[,column=value]. Key
// columns are in the record's name.
func rowMatches(t *nodedb.Table, r nodedb.Record, key string) bool {
	names := strings.Split(r.Name, nodedb.KeySep)
	for item := range strings.SplitSeq(key, ",") {
		column, want, _ := strings.Cut(item, "=")
		got := r.Attrs[t.Attr(column)]
		if i := slices.Index(t.Keys, column); i >= 0 && i < len(names) {
			got = names[i]
		}
		if got != want {
			return false
		}
	}
	return true
}

// crypt is a password's hash: passwd:key=system,username=root:password.
func (d *Directives) crypt(arg string) (string, error) {
	part := strings.Split(arg, ":")
	if len(part) != 3 || part[0] != "passwd" || part[2] != "password" {
		return "", fmt.Errorf("is not passwd:key=...,username=...:password: %w", nodedb.ErrInvalid)
	}
	want := map[string]string{}
	for item := range strings.SplitSeq(part[1], ",") {
		k, v, _ := strings.Cut(item, "=")
		want[k] = v
	}
	return d.Hash(want["key"], want["username"])
}
