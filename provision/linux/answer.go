package linux

import (
	"encoding/xml"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strings"

	"margay/nodedb"
	"margay/provision"
	"margay/templates"
)

// AnswerData is what an answer file's template is filled in with. Every value
// is checked: it can stand in any of the answer files as it is.
type AnswerData struct {
	Node    string // the node's name in the table
	OS      string // "rhels9.4"
	Arch    string // "x86_64"
	Profile string // "compute"
	Distro  string // "rhels"
	Major   int    // 9
	Minor   int    // 4

	Password string   // root's, hashed
	Keys     []string // public keys that may log in as root
	Hostname string   // fully qualified where the domain is known
	Short    string   // the host name's first part
	Domain   string
	Timezone string
	Serial   string // "ttyS0,115200"; empty: none
	Kept     string // kernel arguments for the installed system

	MAC     string // of the interface that boots
	Static  bool   // it has a fixed address:
	IP      string
	Bits    int
	Netmask string
	Gateway string
	DNS     []string
	NTP     []string
	NICs    []NIC // further interfaces

	Server     string // our address
	Tree       string // address of the install tree
	Mirror     string // address of the packages: pkgdir's, else the tree's
	MirrorHost string // its parts, as debian-installer wants them
	MirrorPath string
	Suite      string // Debian's or Ubuntu's name of the release; empty: not known

	Packages  []string // of the pkglist
	Without   []string // those that it leaves out: "-postfix"
	Groups    []string // groups or patterns: "@core"
	Partition string   // the partition file's text; empty: use the first disk whole
	DiskTool  bool     // Partition is a script that finds out by itself

	Post       string // address of the node's mypostscript
	Pack       string // address of its postscripts; empty: none
	Installing string // addresses at which to say how far the node is
	Installed  string
	Booted     string
	Report     string // with a text
	Failed     string // with a text

	// Attr is any of the node's values: {{call .Attr "nodepos.rack"}}.
	Attr func(column string) string
}

// A NIC is an interface beyond the one that boots.
type NIC struct {
	Name  string // eth1
	Addrs []NICAddr
}

// A NICAddr is one of its addresses.
type NICAddr struct {
	IP      string
	Bits    int
	Netmask string
}

// data fills in all but what an answer file alone needs.
func (n *node) data() (*AnswerData, error) {
	hash, err := n.rootHash()
	if err != nil {
		return nil, err
	}
	s := n.set
	d := &AnswerData{
		Node: n.Node.Name, OS: n.OS, Arch: n.Arch, Profile: n.Profile,
		Distro: n.distro.name, Major: n.distro.major, Minor: n.distro.minor,
		Password: hash, Keys: s.keys, Hostname: s.hostname, Domain: s.domain, Timezone: s.timezone,
		Serial: s.serial, Kept: strings.Join(n.kept(), " "),
		MAC: n.MAC.String(), Static: s.static, DNS: s.dns, NTP: s.ntp,
		Server: n.Server.String(), Tree: n.TreeURL(), Mirror: n.mirror(),
		Post: n.SecretURL(postName), Attr: n.Node.Attr,
		Installing: n.CallbackURL("installing"), Installed: n.CallbackURL("installed"), Booted: n.CallbackURL("booted"),
		Report: n.CallbackURL("report"), Failed: n.CallbackURL("failed"),
	}
	d.Short, _, _ = strings.Cut(s.hostname, ".")
	if hasPostscripts(n.Boot) {
		d.Pack = n.SecretURL(packName)
	}
	d.address(s)
	return d, d.mirrorParts()
}

func (d *AnswerData) address(s settings) {
	if s.addr.IsValid() {
		a := nicAddr(s.addr)
		d.IP, d.Bits, d.Netmask = a.IP, a.Bits, a.Netmask
	}
	if s.gateway.IsValid() {
		d.Gateway = s.gateway.String()
	}
	for _, n := range s.nics {
		nic := NIC{Name: n.Name}
		for _, a := range n.Addrs {
			nic.Addrs = append(nic.Addrs, nicAddr(a))
		}
		d.NICs = append(d.NICs, nic)
	}
}

func nicAddr(p netip.Prefix) NICAddr {
	mask := net.IP(net.CIDRMask(p.Bits(), p.Addr().BitLen())).String()
	return NICAddr{p.Addr().String(), p.Bits(), mask}
}

func (d *AnswerData) mirrorParts() error {
	u, err := url.Parse(d.Mirror)
	if err != nil || u.Host == "" || strings.ContainsAny(d.Mirror, " \"'`$\\<>&") {
		return fmt.Errorf("pkgdir: %q is not an address of packages: %w", d.Mirror, nodedb.ErrInvalid)
	}
	d.MirrorHost, d.MirrorPath = u.Host, firstOf(u.Path, "/")
	return nil
}

// answer is the node's own answer file.
func (f *Family) answer(n *node) ([]byte, error) {
	d, err := n.data()
	if err != nil {
		return nil, err
	}
	d.Suite = n.suite()
	if err := n.packages(f, d); err != nil {
		return nil, err
	}
	if err := n.partition(f, d); err != nil {
		return nil, err
	}
	t, err := f.answerTemplate(n)
	if err != nil {
		return nil, err
	}
	text, err := f.fill(n, t, d)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(text), n.CallbackURL("installed")) {
		return nil, fmt.Errorf("%s: the template never says {{.Installed}}: without the node's word that it is installed it would be installed again and again: %w", t.Source, nodedb.ErrInvalid)
	}
	return text, n.checkAnswer(t, text)
}

// checkAnswer finds what no installer would read.
func (n *node) checkAnswer(t *templates.Template, text []byte) error {
	if n.distro.installer == autoyast {
		var any struct{}
		if err := xml.Unmarshal(text, &any); err != nil {
			return fmt.Errorf("%s makes a profile that is not well-formed: %v: %w", t.Source, err, nodedb.ErrInvalid)
		}
	}
	return nil
}

// fill fills a template in: one of ours, or one that was written for xCAT.
func (f *Family) fill(n *node, t *templates.Template, d *AnswerData) ([]byte, error) {
	if !provision.IsOldTemplate(t.Text) {
		return t.Render(d)
	}
	return f.oldTemplate(n, t, d)
}

// answerTemplate is the image's own template, else the first of
// <profile>.<os>.<arch>.tmpl, <profile>.<os>.tmpl, the same with the os name
// made shorter, <profile>.<arch>.tmpl and <profile>.tmpl in the distribution's
// directory, else the installer's own.
func (f *Family) answerTemplate(n *node) (*templates.Template, error) {
	if n.Image != nil && n.Image.Template != "" {
		return f.templates.Find(n.Image.Template, path.Join("linux", n.Image.Template), path.Join("linux", n.distro.platform, n.Image.Template))
	}
	names, err := n.candidates("tmpl")
	if err != nil {
		return nil, err
	}
	return f.templates.Find(append(names, "linux/"+string(n.distro.installer)+".tmpl")...)
}

// candidates are the names that a file of a kind may have for this node.
func (n *node) candidates(kind string) ([]string, error) {
	if strings.ContainsAny(n.Profile, `/\`) || n.Profile == "" {
		return nil, fmt.Errorf("profile %q: not a name: %w", n.Profile, nodedb.ErrInvalid)
	}
	stem := "linux/" + n.distro.platform + "/" + n.Profile
	var out []string
	for _, os := range shortened(n.OS) {
		out = append(out, stem+"."+os+"."+n.Arch+"."+kind, stem+"."+os+"."+kind)
	}
	return append(out, stem+"."+n.Arch+"."+kind, stem+"."+kind), nil
}

// shortened is an os name and what is left when it is made shorter: rhels9.4,
// rhels9, rhels.
func shortened(os string) []string {
	out := []string{os}
	for {
		i := strings.LastIndexAny(os, "._")
		if i < 0 {
			break
		}
		os = os[:i]
		out = append(out, os)
	}
	if bare := strings.TrimRight(os, "0123456789"); bare != os {
		out = append(out, bare)
	}
	return out
}

// suite is a Debian or Ubuntu release's name.
func (n *node) suite() string {
	names := map[string]string{
		"debian10": "buster", "debian11": "bullseye", "debian12": "bookworm", "debian13": "trixie",
		"ubuntu18.04": "bionic", "ubuntu20.04": "focal", "ubuntu22.04": "jammy", "ubuntu24.04": "noble", "ubuntu26.04": "resolute",
	}
	for _, os := range shortened(n.OS) {
		if name := names[os]; name != "" {
			return name
		}
	}
	return ""
}

// metaData is cloud-init's: a new instance for each attempt.
func (n *node) metaData() []byte {
	return fmt.Appendf(nil, "instance-id: %s\nlocal-hostname: %s\n", n.token(), n.set.hostname)
}
