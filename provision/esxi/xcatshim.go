package esxi

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"margay/nodedb"
	"margay/templates"
)

// Templates written for xCAT have #...# directives instead of ours. All that
// make sense for ESXi are known; those that would run a command on the server
// or put a password in clear text into a file are refused.

// IsOldTemplate says whether a template holds xCAT's directives.
func IsOldTemplate(text string) bool { return oldDirective.MatchString(text) }

var oldDirective = regexp.MustCompile(`#(?:(ENV|XCATVAR|INCLUDE|TABLE|TABLEBLANKOKAY|CRYPT|CRYPTORLOCKED|COMMAND|GETNODEDOMAIN|GETPRINICMAC|INCLUDE_[A-Z_]+):([^#\n]*)|` +
	`(HOSTNAME|SHORTNAME|KICKSTARTNET|ESXIPV6SETUP|MANAGEDADDRESSMODE|COLONHTTPPORT|MACHINEPASSWORD))#`)

// An oldTemplate is one being filled in.
type oldTemplate struct {
	*host
	dir string // what includes are relative to
	err error  // the first
}

// oldDirectives fills in a template's directives.
func (h *host) oldDirectives(t *templates.Template) ([]byte, error) {
	o := &oldTemplate{host: h, dir: filepath.Dir(t.Source)}
	text := o.expand(t.Text, 0)
	if o.err != nil {
		return nil, fmt.Errorf("%s: %w", t.Source, o.err)
	}
	return []byte(text), nil
}

// maxIncludes bounds how deep files include each other.
const maxIncludes = 16

func (o *oldTemplate) expand(text string, depth int) string {
	return oldDirective.ReplaceAllStringFunc(text, func(found string) string {
		m := oldDirective.FindStringSubmatch(found)
		s, err := o.value(m[1]+m[3], m[2], depth)
		if err != nil && o.err == nil {
			o.err = fmt.Errorf("%s %w", found, err)
		}
		return s
	})
}

func (o *oldTemplate) value(word, arg string, depth int) (string, error) {
	switch word {
	case "XCATVAR":
		if arg != "XCATMASTER" {
			return "", fmt.Errorf("is not known; there is XCATMASTER: %w", nodedb.ErrInvalid)
		}
		return o.master(), nil
	case "INCLUDE":
		return o.include(arg, depth)
	case "TABLE":
		return o.table(arg, false)
	case "TABLEBLANKOKAY":
		return o.table(arg, true)
	case "CRYPT":
		return o.crypt(arg)
	case "CRYPTORLOCKED":
		s, err := o.crypt(arg)
		if errors.Is(err, nodedb.ErrNotFound) {
			return "*", nil
		}
		return s, err
	case "HOSTNAME":
		return o.Node.Name, nil
	case "SHORTNAME":
		short, _, _ := strings.Cut(o.Node.Name, ".")
		return short, nil
	case "GETNODEDOMAIN":
		return o.set.search, nil
	case "GETPRINICMAC":
		return o.MAC.String(), nil
	case "KICKSTARTNET":
		return o.networkLine(), nil
	case "COLONHTTPPORT":
		return o.colonPort(), nil
	case "MANAGEDADDRESSMODE":
		if mode := o.Snap.Site("managedaddressmode"); mode != "" {
			return mode, nil
		}
		return "dhcp", nil
	case "ESXIPV6SETUP":
		return "", nil
	case "COMMAND":
		return "", fmt.Errorf("would run a command on the server, which templates may not: %w", nodedb.ErrInvalid)
	case "ENV":
		return "", fmt.Errorf("would show the server's environment, which templates may not: %w", nodedb.ErrInvalid)
	}
	return "", fmt.Errorf("is not for ESXi: %w", nodedb.ErrInvalid)
}

// master is the server as the node should know it.
func (o *oldTemplate) master() string {
	if o.Node.Master != "" {
		return o.Node.Master
	}
	return o.Server.String()
}

// colonPort is ":port" where the server is not at HTTP's own port.
func (o *oldTemplate) colonPort() string {
	rest := strings.TrimPrefix(o.Base, "http://")
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		return rest[i:]
	}
	return ""
}

// include puts in a file, relative to the template.
func (o *oldTemplate) include(name string, depth int) (string, error) {
	if depth >= maxIncludes {
		return "", fmt.Errorf("includes itself: %w", nodedb.ErrInvalid)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(o.dir, name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	return o.expand(string(b), depth+1), nil
}

// table is a value of the node table: table:key:column, where key is $NODE, a
// node's name or column=value[,column=value].
func (o *oldTemplate) table(arg string, blank bool) (string, error) {
	part := strings.Split(arg, ":")
	if len(part) != 3 {
		return "", fmt.Errorf("is not table:key:column: %w", nodedb.ErrInvalid)
	}
	table, key, column := part[0], part[1], part[2]
	if nodedb.IsSecret(table + "." + column) {
		return "", fmt.Errorf("would put a secret into the file; use #CRYPT:...#: %w", nodedb.ErrInvalid)
	}
	v, err := o.look(table, key, column)
	if err == nil && v == "" && !blank {
		err = fmt.Errorf("Unable to find requested field %s from table %s, with key %s: %w", column, table, key, nodedb.ErrNotFound)
	}
	return v, err
}

func (o *oldTemplate) look(table, key, column string) (string, error) {
	t := nodedb.TableByName(table)
	if t == nil || t.Column(column) == nil {
		return "", fmt.Errorf("names no column of the table: %w", nodedb.ErrInvalid)
	}
	if !strings.Contains(key, "=") {
		n := o.Node
		if key != "$NODE" && key != "THISNODE" {
			var err error
			if n, err = o.Snap.Node(key); err != nil {
				return "", err
			}
		}
		v := n.Attr(t.Attr(column))
		if v == "" && table == "noderes" && (column == "nfsserver" || column == "tftpserver" || column == "xcatmaster") {
			v = o.master()
		}
		return v, nil
	}
	for _, r := range o.Snap.Records(t.Kind) {
		if matches(t, r, key) {
			return r.Attrs[t.Attr(column)], nil
		}
	}
	return "", nil
}

// matches says whether a record has all of column=value[,column=value]. Key
// columns are in the record's name.
func matches(t *nodedb.Table, r nodedb.Record, key string) bool {
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

// crypt is a password's hash: passwd:key=vmware,username=root:password.
func (o *oldTemplate) crypt(arg string) (string, error) {
	part := strings.Split(arg, ":")
	if len(part) != 3 || part[0] != "passwd" || part[2] != "password" {
		return "", fmt.Errorf("is not passwd:key=...,username=...:password: %w", nodedb.ErrInvalid)
	}
	want := map[string]string{}
	for item := range strings.SplitSeq(part[1], ",") {
		k, v, _ := strings.Cut(item, "=")
		want[k] = v
	}
	return o.hash(want["key"], want["username"])
}
