package esxi

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"margay/nodedb"
	"margay/provision"
)

// settings are what the table says of how a host is to be installed, parsed.
// The columns of table esxi hold for a node or its groups.
type settings struct {
	network  network
	disk     diskRule
	vmfs     string // preserve, overwrite, none
	method   string // install, upgrade, installorupgrade
	keyboard string
	licence  string

	hostname string // fully qualified where the domain is known
	ntp      []string
	dns      []string
	search   string
	syslog   []string
	keys     []string
	ssh      bool
	shell    bool
	first    bool // %firstboot runs: no Secure Boot

	datastore string
	switches  []vSwitch
	nfs       []nfsStore

	mediaSize string
	legacyCPU bool
	serial    serial
	extra     []string // addkcmdline
}

// A serial is a host's serial console.
type serial struct {
	port  int // COM1 is 1; 0: none
	speed string
}

// readSettings reads all columns that a boot depends on.
func readSettings(b *provision.Boot) (s settings, err error) {
	r := &reader{b: b}
	s = settings{
		vmfs:      r.word("esxi.vmfs", "preserve", "preserve", "overwrite", "none"),
		method:    r.word("esxi.method", "install", "install", "upgrade", "installorupgrade"),
		keyboard:  r.text("esxi.keyboard"),
		licence:   r.licence(),
		ntp:       r.hosts("esxi.ntpservers", networkOf(b).NTPServers),
		syslog:    r.logHosts("esxi.syslog"),
		keys:      r.keys(),
		ssh:       r.yes("esxi.ssh", true),
		shell:     r.yes("esxi.shell", true),
		first:     !r.yes("esxi.secureboot", false),
		datastore: r.name("esxi.datastore"),
		mediaSize: r.word("esxi.mediasize", "", "", "min", "small", "default", "max"),
		legacyCPU: r.yes("esxi.legacycpu", false),
		serial:    r.serial(),
		extra:     r.extra(),
	}
	s.dns = r.hosts("esxi.nameservers", r.nameservers())
	s.disk, err = parseDiskRule(r.text("esxi.disk"))
	r.fail("esxi.disk", err)
	s.switches, err = parseSwitches(r.text("esxi.vswitches"))
	r.fail("esxi.vswitches", err)
	s.nfs, err = parseNFS(r.text("esxi.nfs"))
	r.fail("esxi.nfs", err)
	s.hostname, s.search = r.hostname()
	s.network = r.network()
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

// text is a column's value: one line without control characters.
func (r *reader) text(column string) string {
	v := strings.TrimSpace(r.b.Node.Attr(column))
	if strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.fail(column, fmt.Errorf("%q holds a control character", v))
		return ""
	}
	return v
}

// word is one of the words allowed; otherwise comes for an empty value.
func (r *reader) word(column, otherwise string, allowed ...string) string {
	v := strings.ToLower(r.text(column))
	if v == "" {
		return otherwise
	}
	if !slices.Contains(allowed, v) {
		r.fail(column, fmt.Errorf("%q is not one of %s", v, strings.TrimPrefix(strings.Join(allowed, ", "), ", ")))
	}
	return v
}

func (r *reader) yes(column string, otherwise bool) bool {
	switch v := strings.ToLower(r.text(column)); v {
	case "":
		return otherwise
	case "yes", "y", "1", "on", "true":
		return true
	case "no", "n", "0", "off", "false":
		return false
	default:
		r.fail(column, fmt.Errorf("%q is neither yes nor no", v))
		return otherwise
	}
}

// name is a word that may stand in a shell and in a kickstart.
func (r *reader) name(column string) string {
	v := r.text(column)
	if v != "" && !plainName.MatchString(v) {
		r.fail(column, fmt.Errorf("%q: letters, digits, blank, . _ - only", v))
	}
	return v
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$`)

func (r *reader) list(column string) []string {
	return splitList(r.text(column))
}

func splitList(v string) []string {
	return strings.FieldsFunc(v, func(c rune) bool { return c == ',' || c == ' ' || c == ';' })
}

// hosts is a list of addresses or names; <xcatmaster> is our own address.
func (r *reader) hosts(column string, otherwise []string) []string {
	list := r.list(column)
	if len(list) == 0 {
		list = otherwise
	}
	var out []string
	for _, h := range list {
		if h == "<xcatmaster>" {
			h = r.b.Server.String()
		}
		if !hostName.MatchString(h) {
			r.fail(column, fmt.Errorf("%q is neither an address nor a host name", h))
			continue
		}
		out = append(out, h)
	}
	return out
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.:_-]{0,254}$`)

// logHosts are where logs go: names or addresses, with protocol and port.
func (r *reader) logHosts(column string) []string {
	list := r.list(column)
	for _, h := range list {
		if !logHost.MatchString(h) {
			r.fail(column, fmt.Errorf("%q is not as udp://10.1.0.1:514", h))
		}
	}
	return list
}

var logHost = regexp.MustCompile(`^((udp|tcp|ssl)://)?[A-Za-z0-9\[][A-Za-z0-9.:_\]-]{0,254}$`)

// nameservers are the node's own, its network's, the site's.
func (r *reader) nameservers() []string {
	for _, list := range [][]string{r.list("noderes.nameservers"), networkOf(r.b).Nameservers, splitList(r.b.Snap.Site("nameservers"))} {
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

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

// licence is the node's key for ESXi, in xCAT's table of product keys.
func (r *reader) licence() string {
	v := strings.ToUpper(r.text("prodkey.key"))
	if v != "" && !licenceKey.MatchString(v) {
		r.fail("prodkey.key", fmt.Errorf("not a licence key, which has five groups of five letters or digits"))
	}
	return v
}

var licenceKey = regexp.MustCompile(`^([A-Z0-9]{5}-){4}[A-Z0-9]{5}$`)

// keys are the public keys that may log in as root: the node's, and the
// site's. Several are separated by | or by new lines.
func (r *reader) keys() []string {
	var out []string
	for _, source := range []struct{ column, value string }{
		{"esxi.sshkeys", r.b.Node.Attr("esxi.sshkeys")}, {"site sshkeys", r.b.Snap.Site("sshkeys")},
	} {
		for _, k := range strings.FieldsFunc(source.value, func(c rune) bool { return c == '|' || c == '\n' || c == '\r' }) {
			if k = strings.TrimSpace(k); k == "" || slices.Contains(out, k) {
				continue
			}
			if !publicKey.MatchString(k) {
				r.fail(source.column, fmt.Errorf("%.20q... is not a public key as ssh-keygen writes it", k))
			}
			out = append(out, k)
		}
	}
	return out
}

var publicKey = regexp.MustCompile(`^(ssh-rsa|ssh-ed25519|ssh-dss|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+=*( [ -~]*)?$`)

func (r *reader) serial() serial {
	v := r.text("nodehm.serialport")
	if v == "" {
		return serial{}
	}
	port, err := strconv.Atoi(v)
	if err != nil || port < 0 || port > 3 {
		r.fail("nodehm.serialport", fmt.Errorf("%q is not 0 to 3", v))
	}
	speed := r.text("nodehm.serialspeed")
	if speed == "" {
		speed = "115200"
	}
	if _, err := strconv.ParseUint(speed, 10, 32); err != nil {
		r.fail("nodehm.serialspeed", fmt.Errorf("%q is not a number", speed))
	}
	return serial{port + 1, speed}
}

// extra are the operator's own kernel options: the image's, then the node's,
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
				r.fail("addkcmdline", fmt.Errorf("%s would show a secret", m))
				return ""
			}
			return r.b.Node.Attr(column)
		})
	}
	return out
}

var nodeAttrib = regexp.MustCompile(`#NODEATTRIB:[A-Za-z0-9_]+:[A-Za-z0-9_]+#`)

// kernelOptions are the options that settings ask for.
func (s settings) kernelOptions(h *host) []string {
	var out []string
	if s.serial.port > 0 {
		com := strconv.Itoa(s.serial.port)
		out = append(out, "gdbPort=none", "logPort=none", "tty2Port=com"+com, "com"+com+"_baud="+s.serial.speed)
	}
	if s.mediaSize != "" && s.mediaSize != "default" && h.version.AtLeast(7, 0, 1) && h.Mode == nodedb.ModeInstall {
		out = append(out, "systemMediaSize="+s.mediaSize)
	}
	if s.legacyCPU && h.version.AtLeast(7) {
		out = append(out, "allowLegacyCPU=true")
	}
	return append(out, s.extra...)
}

// A network is how a host's management interface is set up.
type network struct {
	device  string // MAC or vmnic
	static  bool
	addr    netip.Prefix
	gateway netip.Addr
	vlan    int
}

// network reads the management interface: by DHCP on the interface that boots
// unless told otherwise.
func (r *reader) network() network {
	n := network{device: r.b.MAC.String(), vlan: r.vlan()}
	if v := r.text("esxi.device"); v != "" {
		if mac, err := net.ParseMAC(v); err == nil {
			v = mac.String()
		} else if !vmnic.MatchString(v) {
			r.fail("esxi.device", fmt.Errorf("%q is neither a MAC nor vmnicN", v))
		}
		n.device = v
	}
	own := r.text("esxi.ip")
	if r.word("esxi.bootproto", "dhcp", "dhcp", "static") == "dhcp" && own == "" {
		return n
	}
	n.static = true
	n.addr = r.address(own)
	n.gateway = r.gateway(n.addr)
	return n
}

var vmnic = regexp.MustCompile(`^vmnic[0-9]{1,3}$`)

func (r *reader) vlan() int {
	v := r.text("esxi.vlan")
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 4095 {
		r.fail("esxi.vlan", fmt.Errorf("%q is not 0 to 4095", v))
	}
	return n
}

// address is esxi.ip, with its mask or that of the network it is in, else the
// node's own address.
func (r *reader) address(own string) netip.Prefix {
	if own == "" {
		if !r.b.Node.Addr.IsValid() {
			r.fail("esxi.bootproto", fmt.Errorf("static wants an address, and the node has none; set ip"))
			return netip.Prefix{}
		}
		own = r.b.Node.Addr.String()
	}
	if p, err := netip.ParsePrefix(own); err == nil {
		return p
	}
	a, err := netip.ParseAddr(own)
	if err != nil {
		r.fail("esxi.ip", fmt.Errorf("%q is not an address", own))
		return netip.Prefix{}
	}
	nw := r.b.Snap.NetworkOf(a)
	if nw == nil {
		r.fail("esxi.ip", fmt.Errorf("%s is in no network of the table; write it with its mask, as %s/24", own, own))
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, nw.Prefix.Bits())
}

// gateway is esxi.gateway, else that of the address's network; none is fine.
func (r *reader) gateway(addr netip.Prefix) netip.Addr {
	v := r.text("esxi.gateway")
	if v == "" && addr.IsValid() {
		if nw := r.b.Snap.NetworkOf(addr.Addr()); nw != nil {
			v = nw.Gateway
		}
	}
	if v == "" {
		return netip.Addr{}
	}
	if v == "<xcatmaster>" {
		return r.b.Server
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		r.fail("esxi.gateway", fmt.Errorf("%q is not an address", v))
	} else if addr.IsValid() && !addr.Masked().Contains(a) {
		r.fail("esxi.gateway", fmt.Errorf("%s is not in the network of %s", a, addr))
	}
	return a
}
