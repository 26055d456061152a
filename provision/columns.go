package provision

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"margay/nodedb"
)

// Network is the network that the node's address is in; an empty one if none.
func (b *Boot) Network() *nodedb.Network {
	if b.Node.Addr.IsValid() {
		if n := b.Snap.NetworkOf(b.Node.Addr); n != nil {
			return n
		}
	}
	return &nodedb.Network{}
}

// Columns reads what the table says of how a node is to be installed. Every
// value is checked: it can stand in an answer file. The first error is kept.
type Columns struct {
	Boot *Boot
	err  error
}

// Err is the first error.
func (c *Columns) Err() error { return c.err }

// Fail says that a column is wrong.
func (c *Columns) Fail(column string, err error) {
	if c.err == nil && err != nil {
		c.err = fmt.Errorf("%s: %v: %w", column, err, nodedb.ErrInvalid)
	}
}

// Word is one of the words allowed; otherwise stands for an empty value.
func (c *Columns) Word(column, v, otherwise string, allowed ...string) string {
	v = strings.ToLower(strings.TrimSpace(v))
	if v == "" {
		return otherwise
	}
	if !slices.Contains(allowed, v) {
		c.Fail(column, fmt.Errorf("%q is not one of %s", v, strings.TrimPrefix(strings.Join(allowed, ", "), ", ")))
		return otherwise
	}
	return v
}

// List splits a value at commas, blanks and semicolons.
func List(s string) []string { return list(s) }

// HostName is an address or a name of a host.
var HostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.:_-]{0,254}$`)

// Servers is the first list that has something in it; <xcatmaster> is our own
// address.
func (c *Columns) Servers(column string, lists ...[]string) []string {
	var out []string
	for _, h := range firstSet(lists...) {
		if h == nodedb.Master {
			h = c.Boot.Server.String()
		}
		if !HostName.MatchString(h) {
			c.Fail(column, fmt.Errorf("%q is neither an address nor a host name", h))
			continue
		}
		out = append(out, h)
	}
	return out
}

// Nameservers are the node's own, its network's, the site's.
func (c *Columns) Nameservers(column string, own ...string) []string {
	b := c.Boot
	return c.Servers(column, own, list(b.Node.Attr("noderes.nameservers")), b.Network().Nameservers, list(b.Snap.Site("nameservers")))
}

// Gateway is the router that a value names, which may be <xcatmaster>; invalid
// for an empty one.
func (c *Columns) Gateway(column, v string) netip.Addr {
	switch v {
	case "":
		return netip.Addr{}
	case nodedb.Master:
		return c.Boot.Server
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		c.Fail(column, fmt.Errorf("%q is not an address", v))
	}
	return a
}

// Hostname is the node's name, fully qualified where the domain is known.
func (c *Columns) Hostname() (fqdn, domain string) {
	domain = c.Boot.Network().Domain
	if domain == "" {
		domain = c.Boot.Snap.Site("domain")
	}
	fqdn = c.Boot.Node.Name
	if domain != "" && !strings.Contains(fqdn, ".") {
		fqdn += "." + domain
	}
	if !HostName.MatchString(fqdn) {
		c.Fail("domain", fmt.Errorf("%q is not a host name", fqdn))
	}
	return fqdn, domain
}

// Keys are the public keys in a value, separated by | or by new lines.
func (c *Columns) Keys(column, value string) []string {
	var out []string
	for _, k := range strings.FieldsFunc(value, func(r rune) bool { return r == '|' || r == '\n' || r == '\r' }) {
		if k = strings.TrimSpace(k); k == "" {
			continue
		}
		if !publicKey.MatchString(k) {
			c.Fail(column, fmt.Errorf("%.20q... is not a public key as ssh-keygen writes it", k))
			continue
		}
		out = append(out, k)
	}
	return out
}

// Comments of keys may hold no quote, nor what a shell or XML reads otherwise.
var publicKey = regexp.MustCompile(`^(ssh-rsa|ssh-dss|ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+=*( [A-Za-z0-9 @._:/+()-]*)?$`)

var nodeAttrib = regexp.MustCompile(`#NODEATTRIB:[A-Za-z0-9_]+:[A-Za-z0-9_]+#`)

// KernelOptions are the operator's own: the image's, then the node's, with
// #NODEATTRIB:table:column# replaced by that value of the node.
func (c *Columns) KernelOptions() []string {
	b := c.Boot
	var out []string
	if b.Image != nil {
		out = strings.Fields(b.Image.AddKCmdLine)
	}
	out = append(out, strings.Fields(b.Node.Attr("bootparams.addkcmdline"))...)
	for i, o := range out {
		out[i] = nodeAttrib.ReplaceAllStringFunc(o, func(m string) string {
			part := strings.Split(strings.Trim(m, "#"), ":")
			column := part[1] + "." + part[2]
			if nodedb.IsSecret(column) {
				c.Fail("addkcmdline", fmt.Errorf("%s would put a secret on a kernel's command line", m))
				return ""
			}
			return b.Node.Attr(column)
		})
	}
	return out
}
