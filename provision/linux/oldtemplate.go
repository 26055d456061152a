package linux

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"margay/provision"
	"margay/templates"
)

// oldTemplate fills in a template that was written for xCAT.
func (f *Family) oldTemplate(n *node, t *templates.Template, d *AnswerData) ([]byte, error) {
	var failed error
	o := &provision.Directives{
		Boot: n.Boot, Hash: n.hash, Domain: n.set.domain,
		Words: n.oldWords(d),
		Script: func(name string) (string, bool) {
			text, ok, err := f.oldScript(n, name, d)
			if err != nil && failed == nil {
				failed = err
			}
			return text, ok
		},
	}
	text, err := o.Expand(t.Text, filepath.Dir(t.Source))
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Source, err)
	}
	return []byte(text), nil
}

// oldWords are the directives that stand for what the table says.
func (n *node) oldWords(d *AnswerData) map[string]string {
	var all []string
	for _, g := range d.Groups {
		all = append(all, "@"+g)
	}
	all = append(all, d.Packages...)
	for _, p := range d.Without {
		all = append(all, "-"+p)
	}
	list := strings.Join(all, "\n")
	if n.distro.installer == preseed {
		list = strings.Join(d.Packages, " ")
	}
	return map[string]string{
		"INCLUDE_DEFAULT_PKGLIST":         list,
		"INCLUDE_DEFAULT_PKGLIST_PRESEED": list,
		"INCLUDE_DEFAULT_PERNLIST":        strings.Join(d.Groups, "\n"),
		"INCLUDE_DEFAULT_RMPKGLIST":       strings.Join(d.Without, "\n"),
		"INCLUDE_RHEL_OSPKGDIR":           "",
		"INCLUDE_OSPKGDIR":                "",
		"INSTALL_SOURCES":                 "url --url=" + d.Mirror,
		"KICKSTARTBOOTIF":                 "",
		"KICKSTARTNET":                    d.networkLine(),
	}
}

// networkLine is kickstart's command for the interface that boots.
func (d *AnswerData) networkLine() string {
	line := "network --onboot=yes --device=" + d.MAC + " --hostname=" + d.Hostname
	if !d.Static {
		return line + " --bootproto=dhcp"
	}
	line += " --bootproto=static --ip=" + d.IP + " --netmask=" + d.Netmask
	if d.Gateway != "" {
		line += " --gateway=" + d.Gateway
	}
	if len(d.DNS) > 0 {
		line += " --nameserver=" + strings.Join(d.DNS, ",")
	}
	return line
}

// oldScript is our part in place of a script that xCAT ships beside its
// templates: pre.* runs before an install, post.* in the installed system.
func (f *Family) oldScript(n *node, name string, d *AnswerData) (string, bool, error) {
	part := ""
	switch {
	case strings.HasPrefix(name, "pre."):
		part = "linux/pre.sh"
	case strings.HasPrefix(name, "post."):
		part = "linux/post.sh"
	default:
		return "", false, nil
	}
	t, err := f.templates.Find(part)
	if err != nil {
		return "", true, err
	}
	text, err := t.Render(d)
	return string(bytes.TrimRight(text, "\n")), true, err
}
