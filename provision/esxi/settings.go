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

	cert      string // own, made, given
	services  []toggle
	firewall  []toggle
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
	r := &reader{provision.Columns{Boot: b}}
	s = settings{
		vmfs:      r.word("esxi.vmfs", "preserve", "preserve", "overwrite", "none"),
		method:    r.word("esxi.method", "install", "install", "upgrade", "installorupgrade"),
		keyboard:  r.text("esxi.keyboard"),
		licence:   r.licence(),
		ntp:       r.Servers("esxi.ntpservers", r.list("esxi.ntpservers"), b.Network().NTPServers),
		syslog:    r.logHosts("esxi.syslog"),
		keys:      r.keys(),
		ssh:       r.yes("esxi.ssh", true),
		shell:     r.yes("esxi.shell", true),
		first:     !r.yes("esxi.secureboot", false),
		cert:      r.word("esxi.certificate", "own", "own", "made", "given"),
		services:  r.toggles("esxi.services"),
		firewall:  r.toggles("esxi.firewall"),
		datastore: r.name("esxi.datastore"),
		mediaSize: r.word("esxi.mediasize", "", "", "min", "small", "default", "max"),
		legacyCPU: r.yes("esxi.legacycpu", false),
		serial:    r.serial(),
		extra:     r.KernelOptions(),
	}
	s.dns = r.Nameservers("esxi.nameservers", r.list("esxi.nameservers")...)
	s.disk, err = parseDiskRule(r.text("esxi.disk"))
	r.Fail("esxi.disk", err)
	s.switches, err = parseSwitches(r.text("esxi.vswitches"))
	r.Fail("esxi.vswitches", err)
	s.nfs, err = parseNFS(r.text("esxi.nfs"))
	r.Fail("esxi.nfs", err)
	s.hostname, s.search = r.Hostname()
	s.network = r.network()
	return s, r.Err()
}

// A reader reads columns of the node's and keeps the first error.
type reader struct{ provision.Columns }

// text is a column's value: one line without control characters.
func (r *reader) text(column string) string {
	v := strings.TrimSpace(r.Boot.Node.Attr(column))
	if strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.Fail(column, fmt.Errorf("%q holds a control character", v))
		return ""
	}
	return v
}

// word is one of the words allowed; otherwise comes for an empty value.
func (r *reader) word(column, otherwise string, allowed ...string) string {
	return r.Word(column, r.text(column), otherwise, allowed...)
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
		r.Fail(column, fmt.Errorf("%q is neither yes nor no", v))
		return otherwise
	}
}

// name is a word that may stand in a shell and in a kickstart.
func (r *reader) name(column string) string {
	v := r.text(column)
	if v != "" && !plainName.MatchString(v) {
		r.Fail(column, fmt.Errorf("%q: letters, digits, blank, . _ - only", v))
	}
	return v
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$`)

// A toggle is something to turn on or off.
type toggle struct {
	Name string
	On   bool
}

var toggleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// toggles are names, each to be turned off if a - stands before it.
func (r *reader) toggles(column string) []toggle {
	var out []toggle
	for _, w := range r.list(column) {
		name, off := strings.CutPrefix(w, "-")
		if !toggleName.MatchString(name) {
			r.Fail(column, fmt.Errorf("%q is not a name, with - before it or without", w))
			continue
		}
		out = append(out, toggle{name, !off})
	}
	return out
}

func (r *reader) list(column string) []string { return provision.List(r.text(column)) }

// logHosts are where logs go: names or addresses, with protocol and port.
func (r *reader) logHosts(column string) []string {
	list := r.list(column)
	for _, h := range list {
		if !logHost.MatchString(h) {
			r.Fail(column, fmt.Errorf("%q is not as udp://10.1.0.1:514", h))
		}
	}
	return list
}

var logHost = regexp.MustCompile(`^((udp|tcp|ssl)://)?[A-Za-z0-9\[][A-Za-z0-9.:_\]-]{0,254}$`)

// licence is the node's key for ESXi, in xCAT's table of product keys.
func (r *reader) licence() string {
	v := strings.ToUpper(strings.TrimSpace(r.Boot.Snap.ProductKey(r.Boot.Node, "esx")))
	if v != "" && !licenceKey.MatchString(v) {
		r.Fail("prodkey.key", fmt.Errorf("not a licence key, which has five groups of five letters or digits"))
	}
	return v
}

var licenceKey = regexp.MustCompile(`^([A-Z0-9]{5}-){4}[A-Z0-9]{5}$`)

// keys are the public keys that may log in as root: the node's, and the
// site's.
func (r *reader) keys() []string {
	out := r.Keys("esxi.sshkeys", r.Boot.Node.Attr("esxi.sshkeys"))
	for _, k := range r.Keys("site sshkeys", r.Boot.Snap.Site("sshkeys")) {
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func (r *reader) serial() serial {
	v := r.text("nodehm.serialport")
	if v == "" {
		return serial{}
	}
	port, err := strconv.Atoi(v)
	if err != nil || port < 0 || port > 3 {
		r.Fail("nodehm.serialport", fmt.Errorf("%q is not 0 to 3", v))
	}
	speed := r.text("nodehm.serialspeed")
	if speed == "" {
		speed = "115200"
	}
	if _, err := strconv.ParseUint(speed, 10, 32); err != nil {
		r.Fail("nodehm.serialspeed", fmt.Errorf("%q is not a number", speed))
	}
	return serial{port + 1, speed}
}

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
	other   bool   // it is not the interface that boots
	static  bool
	addr    netip.Prefix
	gateway netip.Addr
	vlan    int
}

// network reads the management interface: by DHCP on the interface that boots
// unless told otherwise.
func (r *reader) network() network {
	n := network{device: r.Boot.MAC.String(), vlan: r.vlan()}
	if v := r.text("esxi.device"); v != "" {
		if mac, err := net.ParseMAC(v); err == nil {
			v = mac.String()
		} else if !vmnic.MatchString(v) {
			r.Fail("esxi.device", fmt.Errorf("%q is neither a MAC nor vmnicN", v))
		}
		n.device, n.other = v, v != n.device
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
		r.Fail("esxi.vlan", fmt.Errorf("%q is not 0 to 4095", v))
	}
	return n
}

// address is esxi.ip, with its mask or that of the network it is in, else the
// node's own address.
func (r *reader) address(own string) netip.Prefix {
	if own == "" {
		if !r.Boot.Node.Addr.IsValid() {
			r.Fail("esxi.bootproto", fmt.Errorf("static wants an address, and the node has none; set ip"))
			return netip.Prefix{}
		}
		own = r.Boot.Node.Addr.String()
	}
	if p, err := netip.ParsePrefix(own); err == nil {
		return p
	}
	a, err := netip.ParseAddr(own)
	if err != nil {
		r.Fail("esxi.ip", fmt.Errorf("%q is not an address", own))
		return netip.Prefix{}
	}
	nw := r.Boot.Snap.NetworkOf(a)
	if nw == nil {
		r.Fail("esxi.ip", fmt.Errorf("%s is in no network of the table; write it with its mask, as %s/24", own, own))
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, nw.Prefix.Bits())
}

// gateway is esxi.gateway, else that of the address's network; none is fine.
func (r *reader) gateway(addr netip.Prefix) netip.Addr {
	v := r.text("esxi.gateway")
	if v == "" && addr.IsValid() {
		if nw := r.Boot.Snap.NetworkOf(addr.Addr()); nw != nil {
			v = nw.Gateway
		}
	}
	a := r.Gateway("esxi.gateway", v)
	if a.IsValid() && v != nodedb.Master && addr.IsValid() && !addr.Masked().Contains(a) {
		r.Fail("esxi.gateway", fmt.Errorf("%s is not in the network of %s", a, addr))
	}
	return a
}
