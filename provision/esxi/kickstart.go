package esxi

import (
	"fmt"
	"net"
	"path"
	"strings"

	"margay/nodedb"
	"margay/provision"
	"margay/templates"
)

// KickstartData is what a kickstart template is filled in with. Every value is
// checked: it can stand in a kickstart, and between quotes in a shell.
type KickstartData struct {
	Node    string // the host's name in the table
	OS      string // "esxi8.0.2"
	Arch    string // "x86_64"
	Profile string // "base"
	Version Version

	Password    string // root's, hashed
	Install     string // the command that says what to do with which disk
	FindDisk    *FindDisk
	Network     string // the network command; what it says, for hosts without an installer:
	Device      string // MAC or vmnicN of the management interface
	OtherDevice bool   // which is not the one that boots
	Static      bool   // it has a fixed address:
	IP          string
	Netmask     string
	Gateway     string
	VLAN        int
	Keyboard    string // "German"; empty: the installer's default
	Licence     string // key for serialnum; empty: evaluation

	Server     string // our address
	Tree       string // address of the install tree
	Installing string // addresses at which to say how far the host is
	Installed  string
	Booted     string
	Report     string // with a text
	Failed     string // with a text
	Save       string // address to post the host's saved configuration to

	Hostname  string // fully qualified where the domain is known
	Domain    string
	Stateless bool     // the host keeps nothing: all is done at each boot
	SSH       bool     // let root log in by SSH
	Shell     bool     // turn ESXi's own shell on
	Keys      []string // public keys that may log in
	NTP       []string
	DNS       []string
	Syslog    []string
	Datastore string     // name for datastore1; empty: keep it
	Switches  []vSwitch  // each with Name, Uplinks, Groups of Name and VLAN
	NFS       []nfsStore // each with Name, Host, Path
	Services  []toggle   // each with Name and On
	Firewall  []toggle   // rule sets, likewise
	Cert      string     // certificate that the API is to show, in PEM; empty: its own
	CertKey   string     // its key
	LegacyCPU bool       // the installed system is to start on an old processor
	Serial    int        // COM port of the serial console, 1 to 4; 0: none
	Speed     string     // its speed
	FirstBoot bool       // %firstboot will run: no Secure Boot

	// Attr is any other of the node's values: {{call .Attr "nodepos.rack"}}; and
	// Site one of the site's. Neither shows secrets.
	Attr func(column string) (string, error)
	Site func(key string) (string, error)
}

// A FindDisk is a disk that %pre is to find, in the words of esxcli.
type FindDisk struct {
	Rule    string // for messages
	Vendor  string // words that the value holds; empty: any
	Model   string
	Serial  string
	Min     int64 // MB; 0: any
	Max     int64
	SSD     string // true, false; empty: any
	Local   string
	USB     string
	Pick    string // first, smallest, largest; empty: only one may fit
	Command string // install, installorupgrade, upgrade
	Options string // of that command, less the disk
	File    string // where the whole command goes
}

// findDiskFile is what %pre writes the install command to.
const findDiskFile = "/tmp/margay-disk.cfg"

// kickstart is the node's own ks.cfg.
func (f *Family) kickstart(h *host) ([]byte, error) {
	d, err := h.kickstartData()
	if err != nil {
		return nil, err
	}
	t, err := f.kickstartTemplate(h)
	if err != nil {
		return nil, err
	}
	text, err := h.fill(t, d)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(text), d.Installed) {
		more, err := f.callbacks(d)
		if err != nil {
			return nil, err
		}
		text = append(text, more...)
	}
	l := Linter{Version: h.version, SecureBoot: !h.set.first}
	for _, finding := range l.Lint(string(text)) {
		if finding.Error {
			return nil, fmt.Errorf("%s makes a kickstart that ESXi %s refuses: %s: %w", t.Source, h.version, finding, nodedb.ErrInvalid)
		}
	}
	return text, nil
}

// fill fills a template in: one of ours, or one that was written for xCAT.
func (h *host) fill(t *templates.Template, d *KickstartData) ([]byte, error) {
	if provision.IsOldTemplate(t.Text) {
		return h.oldTemplate(t)
	}
	return t.Render(d)
}

// callbacks are sections for a template that does not tell the server how far
// the host is: without its word the host would be installed again and again.
func (f *Family) callbacks(d *KickstartData) ([]byte, error) {
	t, err := f.templates.Find("esxi/callbacks.tmpl")
	if err != nil {
		return nil, err
	}
	return t.Render(d)
}

// kickstartTemplate is the image's own template, else the first of
// <profile>.<os>.<arch>.tmpl, <profile>.<os>.tmpl, the same with the os name
// made shorter (esxi8.0.2, esxi8.0, esxi8, esxi), <profile>.<arch>.tmpl and
// <profile>.tmpl.
func (f *Family) kickstartTemplate(h *host) (*templates.Template, error) {
	if h.Image != nil && h.Image.Template != "" {
		if path.Ext(h.Image.Template) != ".tmpl" { // whoever may change an image may not read any file by it
			return nil, fmt.Errorf("template %s of osimage %s: not a .tmpl file: %w", h.Image.Template, h.Image.Name, nodedb.ErrInvalid)
		}
		return f.templates.Find(h.Image.Template, path.Join("esxi", h.Image.Template))
	}
	if strings.ContainsAny(h.Profile, `/\`) || h.Profile == "" {
		return nil, fmt.Errorf("profile %q: not a name: %w", h.Profile, nodedb.ErrInvalid)
	}
	return f.templates.Find(candidates(h.OS, h.Arch, h.Profile)...)
}

func candidates(os, arch, profile string) []string {
	var out []string
	for {
		out = append(out, "esxi/"+profile+"."+os+"."+arch+".tmpl", "esxi/"+profile+"."+os+".tmpl")
		i := strings.LastIndexAny(os, "._")
		if i < 0 {
			break
		}
		os = os[:i]
	}
	if trimmed := strings.TrimRight(os, "0123456789"); trimmed != os {
		out = append(out, "esxi/"+profile+"."+trimmed+"."+arch+".tmpl", "esxi/"+profile+"."+trimmed+".tmpl")
	}
	return append(out, "esxi/"+profile+"."+arch+".tmpl", "esxi/"+profile+".tmpl")
}

func (h *host) kickstartData() (*KickstartData, error) {
	hash, err := h.rootHash()
	if err != nil {
		return nil, err
	}
	s := h.set
	d := &KickstartData{
		Node: h.Node.Name, OS: h.OS, Arch: h.Arch, Profile: h.Profile, Version: h.version,
		Password: hash, Network: h.networkLine(), Keyboard: s.keyboard, Licence: s.licence,
		Server: h.Server.String(), Tree: h.TreeURL(),
		Installing: h.CallbackURL("installing"), Installed: h.CallbackURL("installed"), Booted: h.CallbackURL("booted"),
		Report: h.CallbackURL("report"), Failed: h.CallbackURL("failed"), Save: h.CallbackURL("state"),
		Hostname: s.hostname, Domain: s.search, Stateless: h.Mode == nodedb.ModeNetboot, SSH: s.ssh, Shell: s.shell, Keys: s.keys,
		NTP: s.ntp, DNS: s.dns, Syslog: s.syslog,
		Datastore: s.datastore, Switches: s.switches, NFS: s.nfs, FirstBoot: s.first,
		Services: s.services, Firewall: s.firewall, LegacyCPU: s.legacyCPU && h.version.AtLeast(7), Serial: s.serial.port, Speed: s.serial.speed,
		Attr: h.attr, Site: h.site,
	}
	d.address(s.network)
	if !d.Stateless { // a stateless host has it in its overlay, where only root may read it
		c, err := h.hostCert()
		if err != nil {
			return nil, err
		}
		if c != nil {
			d.Cert, d.CertKey = string(c.Cert), string(c.Key)
		}
	}
	if h.version.AtLeast(9) {
		d.Licence = "" // serialnum went with 9.0: keys are files now
	}
	return d, h.diskCommand(d)
}

// diskCommand fills in Install, or FindDisk and an Install that includes what
// %pre finds.
func (h *host) diskCommand(d *KickstartData) error {
	s := h.set
	options, err := h.vmfsOptions()
	if err != nil {
		return err
	}
	if !s.disk.found {
		d.Install = strings.Join(append([]string{h.installCommand(), s.disk.target()}, options...), " ")
		return nil
	}
	if !h.version.AtLeast(5) {
		return fmt.Errorf("esxi.disk %s: ESXi 4's installer takes firstdisk or a disk's name only: %w", s.disk, nodedb.ErrInvalid)
	}
	d.Install = "%include " + findDiskFile
	d.FindDisk = &FindDisk{
		Rule: s.disk.String(), Vendor: s.disk.vendor, Model: s.disk.model, Serial: s.disk.serial, Min: s.disk.min, Max: s.disk.max,
		SSD: s.disk.ssd, Local: s.disk.local, USB: s.disk.usb, Pick: s.disk.pick,
		Options: strings.Join(options, " "), Command: h.installCommand(), File: findDiskFile,
	}
	return nil
}

func (h *host) installCommand() string {
	if !h.version.AtLeast(5) {
		return "autopart"
	}
	return h.set.method
}

// vmfsOptions say what is to become of datastores on the disk. Preserving is
// what happens unless the table says otherwise.
func (h *host) vmfsOptions() ([]string, error) {
	s := h.set
	switch {
	case !h.version.AtLeast(5):
		if s.vmfs == "overwrite" {
			return []string{"--overwritevmfs"}, nil
		}
		return nil, nil // a disk with VMFS stops the install
	case s.method == "upgrade":
		return nil, nil
	case s.vmfs == "overwrite":
		return []string{"--overwritevmfs"}, nil
	case s.method == "installorupgrade":
		return nil, nil // it upgrades what it finds; VMFS without ESXi stops it
	case s.vmfs == "none":
		return []string{"--novmfsondisk"}, nil
	}
	return []string{"--preservevmfs"}, nil
}

// attr is a value of the node's that may stand in a file.
func (h *host) attr(column string) (string, error) {
	if nodedb.IsSecret(column) {
		return "", fmt.Errorf("%s is a secret, which no file may show", column)
	}
	return h.Node.Attr(column), nil
}

// site is a value of the site's that may stand in a file.
func (h *host) site(key string) (string, error) {
	if nodedb.IsSecret("site." + key) {
		return "", fmt.Errorf("site.%s is a secret, which no file may show", key)
	}
	return h.Snap.Site(key), nil
}

// address fills in how the management interface is set up.
func (d *KickstartData) address(n network) {
	d.Device, d.Static, d.VLAN, d.OtherDevice = n.device, n.static, n.vlan, n.other
	if n.static {
		d.IP, d.Netmask = n.addr.Addr().String(), n.mask()
	}
	if n.gateway.IsValid() {
		d.Gateway = n.gateway.String()
	}
}

func (n network) mask() string {
	return net.IP(net.CIDRMask(n.addr.Bits(), n.addr.Addr().BitLen())).String()
}

// networkLine is the network command.
func (h *host) networkLine() string {
	n := h.set.network
	w := []string{"network", "--bootproto=dhcp", "--device=" + n.device}
	if n.static {
		w[1] = "--bootproto=static"
		w = append(w, "--ip="+n.addr.Addr().String(), "--netmask="+n.mask())
		if n.gateway.IsValid() {
			w = append(w, "--gateway="+n.gateway.String())
		}
		if len(h.set.dns) > 0 {
			w = append(w, "--nameserver="+strings.Join(h.set.dns[:min(2, len(h.set.dns))], ","))
		}
		w = append(w, "--hostname="+h.set.hostname)
	}
	if n.vlan > 0 {
		w = append(w, fmt.Sprintf("--vlanid=%d", n.vlan))
	}
	return strings.Join(w, " ")
}
