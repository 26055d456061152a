package linux

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"margay/nodedb"
	"margay/provision"
)

// settings are what the table says of how a node is to be installed, parsed.
// Every value is checked: it can stand in any of the answer files.
type settings struct {
	hostname string // fully qualified where the domain is known
	domain   string
	static   bool // the address is written down, not asked for by DHCP
	addr     netip.Prefix
	gateway  netip.Addr
	dns      []string
	ntp      []string
	nics     []nic // beyond the one that boots
	keys     []string
	timezone string
	serial   string   // as the kernel's console= takes it; "" for none
	speed    string   // of the serial port
	unit     int      // the serial port's number
	extra    []string // addkcmdline
}

// A nic is an interface beyond the one that a node boots from.
type nic struct {
	Name  string
	Addrs []netip.Prefix
}

// readSettings reads all columns that a boot depends on.
func readSettings(b *provision.Boot) (s settings, err error) {
	r := &reader{b: b}
	s.hostname, s.domain = r.hostname()
	s.static = r.word("site managedaddressmode", b.Snap.Site("managedaddressmode"), "dhcp", "dhcp", "static", "dhcpv6", "autoula") == "static"
	nw := networkOf(b)
	s.addr = netip.PrefixFrom(b.Node.Addr, nw.Prefix.Bits())
	s.gateway = r.gateway(nw)
	s.dns = r.servers("nameservers", listOf(b.Node.Attr("noderes.nameservers")), nw.Nameservers, listOf(b.Snap.Site("nameservers")), []string{nodedb.Master})
	s.ntp = r.servers("ntpservers", nw.NTPServers, listOf(b.Snap.Site("ntpservers")))
	s.nics = r.nics()
	s.keys = r.keys()
	s.timezone = r.timezone()
	s.unit, s.speed, s.serial = r.serial()
	s.extra = r.extra()
	if s.static && !s.addr.IsValid() {
		r.fail("managedaddressmode", fmt.Errorf("static wants an ip in one of the networks"))
	}
	return s, r.err
}

// networkOf is the network that the node's address is in; an empty one if none.
func networkOf(b *provision.Boot) *nodedb.Network {
	if b.Node.Addr.IsValid() {
		if n := b.Snap.NetworkOf(b.Node.Addr); n != nil {
			return n
		}
	}
	return &nodedb.Network{}
}

// A reader reads columns and keeps the first error.
type reader struct {
	b   *provision.Boot
	err error
}

func (r *reader) fail(column string, err error) {
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("%s: %v: %w", column, err, nodedb.ErrInvalid)
	}
}

func (r *reader) word(what, v, otherwise string, allowed ...string) string {
	v = strings.ToLower(strings.TrimSpace(v))
	if v == "" {
		return otherwise
	}
	for _, w := range allowed {
		if v == w {
			return v
		}
	}
	r.fail(what, fmt.Errorf("%q is not one of %s", v, strings.Join(allowed, ", ")))
	return otherwise
}

func listOf(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' || c == ';' })
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.:_-]{0,254}$`)

func (r *reader) hostname() (fqdn, domain string) {
	domain = networkOf(r.b).Domain
	if domain == "" {
		domain = r.b.Snap.Site("domain")
	}
	fqdn = r.b.Node.Name
	if domain != "" && !strings.Contains(fqdn, ".") {
		fqdn += "." + domain
	}
	if !hostName.MatchString(fqdn) {
		r.fail("domain", fmt.Errorf("%q is not a host name", fqdn))
	}
	return fqdn, domain
}

func (r *reader) gateway(nw *nodedb.Network) netip.Addr {
	switch nw.Gateway {
	case "":
		return netip.Addr{}
	case nodedb.Master:
		return r.b.Server
	}
	a, err := netip.ParseAddr(nw.Gateway)
	if err != nil {
		r.fail("networks.gateway", fmt.Errorf("%q is not an address", nw.Gateway))
	}
	return a
}

// servers is the first list that has something in it.
func (r *reader) servers(what string, lists ...[]string) []string {
	for _, list := range lists {
		var out []string
		for _, s := range list {
			if s == nodedb.Master {
				s = r.b.Server.String()
			}
			if !hostName.MatchString(s) {
				r.fail(what, fmt.Errorf("%q is not an address or a name", s))
				continue
			}
			out = append(out, s)
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

var nicName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,14}$`)

// nics reads nics.nicips: eth1!10.2.0.5|10.3.0.5,eth2!10.4.0.5. An address's
// mask is its network's. The interface that boots is set up by other means.
func (r *reader) nics() []nic {
	var out []nic
	for _, item := range strings.Split(r.b.Node.Attr("nics.nicips"), ",") {
		name, ips, ok := strings.Cut(strings.TrimSpace(item), "!")
		if !ok {
			continue
		}
		if !nicName.MatchString(name) {
			r.fail("nics.nicips", fmt.Errorf("%q is not an interface's name", name))
			continue
		}
		if addrs := r.prefixes(ips); len(addrs) > 0 {
			out = append(out, nic{name, addrs})
		}
	}
	return out
}

func (r *reader) prefixes(ips string) []netip.Prefix {
	var out []netip.Prefix
	for _, ip := range strings.Split(ips, "|") {
		a, err := netip.ParseAddr(strings.TrimSpace(ip))
		if err != nil {
			r.fail("nics.nicips", fmt.Errorf("%q is not an address", ip))
			continue
		}
		if a == r.b.Node.Addr {
			continue
		}
		nw := r.b.Snap.NetworkOf(a)
		if nw == nil {
			r.fail("nics.nicips", fmt.Errorf("%s is in none of the networks; define it with mkdef -t network", a))
			continue
		}
		out = append(out, netip.PrefixFrom(a, nw.Prefix.Bits()))
	}
	return out
}

// keys are the public keys that may log in as root, separated by | or by new lines.
func (r *reader) keys() []string {
	var out []string
	for _, k := range strings.FieldsFunc(r.b.Snap.Site("sshkeys"), func(c rune) bool { return c == '|' || c == '\n' || c == '\r' }) {
		if k = strings.TrimSpace(k); k == "" {
			continue
		}
		if !publicKey.MatchString(k) {
			r.fail("site sshkeys", fmt.Errorf("%.20q... is not a public key as ssh-keygen writes it", k))
			continue
		}
		out = append(out, k)
	}
	return out
}

// Comments of keys may hold no quote, nor what a shell or XML reads otherwise.
var publicKey = regexp.MustCompile(`^(ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+=*( [A-Za-z0-9 @._:/+-]*)?$`)

var zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+/-]{0,63}$`)

func (r *reader) timezone() string {
	z := r.b.Snap.Site("timezone")
	if z == "" {
		return "Etc/UTC"
	}
	if !zoneName.MatchString(z) {
		r.fail("site timezone", fmt.Errorf("%q is not a time zone, as Europe/Berlin", z))
	}
	return z
}

// serial reads the serial console: ttyS0,115200n8, with r for hardware flow
// control (Linux, admin-guide/serial-console).
func (r *reader) serial() (unit int, speed, console string) {
	v := strings.TrimSpace(r.b.Node.Attr("nodehm.serialport"))
	if v == "" {
		return 0, "", ""
	}
	unit, err := strconv.Atoi(v)
	if err != nil || unit < 0 || unit > 255 {
		r.fail("nodehm.serialport", fmt.Errorf("%q is not a port's number", v))
		return 0, "", ""
	}
	speed = firstOf(r.b.Node.Attr("nodehm.serialspeed"), "115200")
	if _, err := strconv.ParseUint(speed, 10, 32); err != nil {
		r.fail("nodehm.serialspeed", fmt.Errorf("%q is not a number", speed))
	}
	device := "ttyS"
	if r.b.Arch == "aarch64" {
		device = "ttyAMA"
	}
	console = device + strconv.Itoa(unit) + "," + speed
	if r.b.Node.Attr("nodehm.serialflow") == "hard" {
		console += "n8r"
	}
	return unit, speed, console
}

var nodeAttrib = regexp.MustCompile(`#NODEATTRIB:[A-Za-z0-9_]+:[A-Za-z0-9_]+#`)

// extra are the operator's own kernel arguments: the image's, then the node's,
// with #NODEATTRIB:table:column# replaced by that value of the node.
func (r *reader) extra() []string {
	var out []string
	if r.b.Image != nil {
		out = strings.Fields(r.b.Image.AddKCmdLine)
	}
	out = append(out, strings.Fields(r.b.Node.Attr("bootparams.addkcmdline"))...)
	for i, o := range out {
		out[i] = nodeAttrib.ReplaceAllStringFunc(o, func(m string) string {
			part := strings.Split(strings.Trim(m, "#"), ":")
			column := part[1] + "." + part[2]
			if nodedb.IsSecret(column) {
				r.fail("addkcmdline", fmt.Errorf("%s would put a secret on a kernel's command line", m))
				return ""
			}
			return r.b.Node.Attr(column)
		})
	}
	return out
}
