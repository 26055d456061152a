package linux

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

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
	r := &reader{provision.Columns{Boot: b}}
	s.hostname, s.domain = r.Hostname()
	s.static = r.Word("site managedaddressmode", b.Snap.Site("managedaddressmode"), "dhcp", "dhcp", "static", "dhcpv6", "autoula") == "static"
	nw := b.Network()
	s.addr = netip.PrefixFrom(b.Node.Addr, nw.Prefix.Bits())
	s.gateway = r.Gateway("networks.gateway", nw.Gateway)
	s.dns = r.Nameservers("nameservers")
	if len(s.dns) == 0 {
		s.dns = []string{b.Server.String()}
	}
	s.ntp = r.Servers("ntpservers", nw.NTPServers, provision.List(b.Snap.Site("ntpservers")))
	s.nics = r.nics()
	s.keys = r.Keys("site sshkeys", b.Snap.Site("sshkeys"))
	s.timezone = r.timezone()
	s.unit, s.speed, s.serial = r.serial()
	s.extra = r.KernelOptions()
	if s.static && !s.addr.IsValid() {
		r.Fail("managedaddressmode", fmt.Errorf("static wants an ip in one of the networks"))
	}
	return s, r.Err()
}

// A reader reads columns of the node's and keeps the first error.
type reader struct{ provision.Columns }

var nicName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,14}$`)

// nics reads nics.nicips: eth1!10.2.0.5|10.3.0.5,eth2!10.4.0.5. An address's
// mask is its network's. The interface that boots is set up by other means.
func (r *reader) nics() []nic {
	var out []nic
	for _, item := range strings.Split(r.Boot.Node.Attr("nics.nicips"), ",") {
		name, ips, ok := strings.Cut(strings.TrimSpace(item), "!")
		if !ok {
			continue
		}
		if !nicName.MatchString(name) {
			r.Fail("nics.nicips", fmt.Errorf("%q is not an interface's name", name))
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
			r.Fail("nics.nicips", fmt.Errorf("%q is not an address", ip))
			continue
		}
		if a == r.Boot.Node.Addr {
			continue
		}
		nw := r.Boot.Snap.NetworkOf(a)
		if nw == nil {
			r.Fail("nics.nicips", fmt.Errorf("%s is in none of the networks; define it with mkdef -t network", a))
			continue
		}
		out = append(out, netip.PrefixFrom(a, nw.Prefix.Bits()))
	}
	return out
}

var zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+/-]{0,63}$`)

func (r *reader) timezone() string {
	z := r.Boot.Snap.Site("timezone")
	if z == "" {
		return "Etc/UTC"
	}
	if !zoneName.MatchString(z) {
		r.Fail("site timezone", fmt.Errorf("%q is not a time zone, as Europe/Berlin", z))
	}
	return z
}

// serial reads the serial console: ttyS0,115200n8, with r for hardware flow
// control (Linux, admin-guide/serial-console).
func (r *reader) serial() (unit int, speed, console string) {
	v := strings.TrimSpace(r.Boot.Node.Attr("nodehm.serialport"))
	if v == "" {
		return 0, "", ""
	}
	unit, err := strconv.Atoi(v)
	if err != nil || unit < 0 || unit > 255 {
		r.Fail("nodehm.serialport", fmt.Errorf("%q is not a port's number", v))
		return 0, "", ""
	}
	speed = firstOf(r.Boot.Node.Attr("nodehm.serialspeed"), "115200")
	if _, err := strconv.ParseUint(speed, 10, 32); err != nil {
		r.Fail("nodehm.serialspeed", fmt.Errorf("%q is not a number", speed))
	}
	device := "ttyS"
	if r.Boot.Arch == "aarch64" {
		device = "ttyAMA"
	}
	console = device + strconv.Itoa(unit) + "," + speed
	if r.Boot.Node.Attr("nodehm.serialflow") == "hard" {
		console += "n8r"
	}
	return unit, speed, console
}
