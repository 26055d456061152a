package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"margay/nodedb"
	"margay/provision/bmc"
)

var rspconfigCmd = &Command{
	Name:  "rspconfig",
	Usage: "noderange ip|netmask|gateway|backupgateway|community|vlan|hostname|sslpin ... | name=value ...",
	Short: "show or set what management controllers are on the network, and their password",
	Long: `Show or set how management controllers are on the network.

  ip=ADDRESS|dhcp netmask=MASK gateway=ADDRESS backupgateway=ADDRESS
  vlan=ID|0 hostname=NAME community=NAME
  password=NEW     the password of the user that we log in as; password=- reads
                   it from standard input. The table gets the new one.
  sslpin           the certificate that a Redfish service must show; sslpin=none
                   takes the one that it shows next

An address that is changed is changed in the table too, where the table has the
address and not a name.`,
	Group: GroupPower,
	Complete: rangeThen("ip", "netmask", "gateway", "backupgateway", "community", "vlan", "hostname", "sslpin",
		"ip=", "netmask=", "gateway=", "backupgateway=", "community=", "vlan=", "hostname=", "password=", "sslpin=none"),
	Run: rspconfig,
}

func rspconfig(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	p, err := s.parseSP(words)
	if err != nil {
		return err
	}
	if p.change.Address != nil && len(nodes) > 1 {
		return errors.New("one address cannot be given to several nodes")
	}
	targets := s.metalOnly(snap, nodes)
	if len(p.pins) > 0 {
		s.pins(ctx, targets, p.pins)
	}
	if p.set() {
		return s.setSP(ctx, snap, targets, p)
	}
	if len(p.show) > 0 {
		metal(ctx, s, snap, targets, func(ctx context.Context, _ bmc.Target, m bmc.Controller) (bmc.Net, error) {
			return m.Net(ctx)
		}, func(t bmc.Target, n bmc.Net) { s.printLines(t.Node, spLines(n, p.show)) })
	}
	return nil
}

// spWords is what rspconfig was told.
type spWords struct {
	show     []string
	change   bmc.NetChange
	changed  []string // the names of what is set, in order
	password *bmc.Secret
	pins     []string // "" to show, "none" to forget
}

func (p spWords) set() bool { return !p.change.Empty() || p.password != nil }

func (s *Session) parseSP(words []string) (spWords, error) {
	var p spWords
	if len(words) == 0 {
		return p, Usagef("what to show or set is wanted after the noderange")
	}
	for _, w := range words {
		name, value, sets := strings.Cut(w, "=")
		var err error
		switch {
		case name == "sslpin" && (!sets || value == "none"):
			p.pins = append(p.pins, value)
		case name == "password" && sets:
			err = s.spPassword(&p, value)
		case sets:
			err = p.parseChange(name, value)
		case spLabel(name) != "":
			p.show = append(p.show, name)
		default:
			err = Usagef("%s is not understood", w)
		}
		if err != nil {
			return p, err
		}
	}
	if p.set() && len(p.show) > 0 {
		return p, Usagef("show or set, not both")
	}
	return p, nil
}

func (s *Session) spPassword(p *spWords, value string) error {
	if value == "-" {
		line, err := io.ReadAll(io.LimitReader(s.Stdin(), 256))
		if err != nil {
			return err
		}
		value = strings.TrimRight(string(line), "\r\n")
	}
	if value == "" {
		return errors.New("password: an empty one is no password")
	}
	secret := bmc.Secret(value)
	p.password = &secret
	return nil
}

func (p *spWords) parseChange(name, value string) error {
	address := func(to **netip.Addr) error {
		a, err := netip.ParseAddr(value)
		if err != nil {
			return fmt.Errorf("%s: %q is not an address", name, value)
		}
		*to = &a
		return nil
	}
	p.changed = append(p.changed, name)
	c := &p.change
	switch name {
	case "ip":
		if value == "dhcp" {
			yes := true
			c.DHCP = &yes
			return nil
		}
		return address(&c.Address)
	case "netmask":
		return address(&c.Netmask)
	case "gateway":
		return address(&c.Gateway)
	case "backupgateway":
		return address(&c.BackupGateway)
	case "vlan":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > 4094 {
			return fmt.Errorf("vlan: %q is not 0 to 4094", value)
		}
		c.VLAN = &n
	case "hostname":
		c.Host = &value
	case "community":
		c.Community = &value
	default:
		return Usagef("%s is not understood", name)
	}
	return nil
}

// spLabel is what rspconfig prints before a value; empty for no word of its.
func spLabel(name string) string {
	switch name {
	case "ip":
		return "BMC IP"
	case "netmask":
		return "BMC Netmask"
	case "gateway":
		return "BMC Gateway"
	case "backupgateway":
		return "BMC Backup Gateway"
	case "vlan":
		return "BMC VLAN ID"
	case "hostname":
		return "BMC Hostname"
	case "community":
		return "SP SNMP Community"
	}
	return ""
}

func spLines(n bmc.Net, show []string) []bmc.Line {
	var out []bmc.Line
	for _, name := range show {
		out = append(out, bmc.Line{Label: spLabel(name), Value: spValue(n, name)})
	}
	return out
}

func spValue(n bmc.Net, name string) string {
	address := func(a netip.Addr) string {
		if !a.IsValid() {
			return "N/A"
		}
		return a.String()
	}
	switch name {
	case "ip":
		if n.DHCP {
			return address(n.Address) + " (DHCP)"
		}
		return address(n.Address)
	case "netmask":
		return address(n.Netmask)
	case "gateway":
		return address(n.Gateway)
	case "backupgateway":
		return address(n.BackupGateway)
	case "vlan":
		if n.VLAN == 0 {
			return "Disabled"
		}
		return strconv.Itoa(n.VLAN)
	case "hostname":
		return known(n.Host)
	case "community":
		return known(n.Community)
	}
	return ""
}

func known(s string) string {
	if s == "" {
		return "N/A"
	}
	return s
}

// setSP changes controllers. The password goes first, for a changed address
// may be the last that is heard of one; the table follows each at once, so
// that it never has what does not work any more.
func (s *Session) setSP(ctx context.Context, snap *nodedb.Snapshot, targets []bmc.Target, p spWords) error {
	var failed error
	metal(ctx, s, snap, targets, func(ctx context.Context, t bmc.Target, m bmc.Controller) (struct{}, error) {
		if p.password != nil {
			if err := m.SetPassword(ctx, t.User, *p.password); err != nil {
				return struct{}{}, err
			}
			if err := s.learnPassword(ctx, snap, t, *p.password); err != nil {
				return struct{}{}, fmt.Errorf("the password is changed, and the table could not be told: %w", err)
			}
		}
		if p.change.Empty() {
			return struct{}{}, nil
		}
		return struct{}{}, m.SetNet(ctx, p.change)
	}, func(t bmc.Target, _ struct{}) {
		if p.password != nil {
			s.Node(t.Node, "password changed")
		}
		s.printLines(t.Node, p.lines())
		if err := s.learnAddress(ctx, snap, t, p.change.Address); err != nil {
			failed = errors.Join(failed, err)
		}
	})
	return failed
}

// lines are what was set, as showing it would print it.
func (p spWords) lines() []bmc.Line {
	var n bmc.Net
	c := p.change
	for from, to := range map[*netip.Addr]*netip.Addr{c.Address: &n.Address, c.Netmask: &n.Netmask, c.Gateway: &n.Gateway, c.BackupGateway: &n.BackupGateway} {
		if from != nil {
			*to = *from
		}
	}
	if c.VLAN != nil {
		n.VLAN = *c.VLAN
	}
	if c.Host != nil {
		n.Host = *c.Host
	}
	if c.Community != nil {
		n.Community = *c.Community
	}
	lines := spLines(n, p.changed)
	for i := range lines {
		if c.DHCP != nil && p.changed[i] == "ip" {
			lines[i].Value = "DHCP"
		}
	}
	return lines
}

// spTable is the table that describes a node's controller.
func spTable(snap *nodedb.Snapshot, node string) string {
	if n, err := snap.Node(node); err == nil && manager(n, byPower) == "openbmc" {
		return "openbmc"
	}
	return "ipmi"
}

func (s *Session) learnPassword(ctx context.Context, snap *nodedb.Snapshot, t bmc.Target, p bmc.Secret) error {
	table := spTable(snap, t.Node)
	return s.setFacts(ctx, map[string]map[string]string{t.Node: {table + ".username": t.User, table + ".password": string(p)}})
}

func (s *Session) learnAddress(ctx context.Context, snap *nodedb.Snapshot, t bmc.Target, a *netip.Addr) error {
	if a == nil {
		return nil
	}
	if _, err := netip.ParseAddr(t.Address); err != nil {
		s.NodeWarn(t.Node, "the BMC is known by the name %s; let it mean %s", t.Address, a)
		return nil
	}
	where := a.String()
	if t.Port != 0 {
		where = netip.AddrPortFrom(*a, uint16(t.Port)).String() //nolint:gosec // a port
	}
	return s.setFacts(ctx, map[string]map[string]string{t.Node: {spTable(snap, t.Node) + ".bmc": where}})
}

// pins shows or forgets pinned certificates; no controller is asked.
func (s *Session) pins(ctx context.Context, targets []bmc.Target, words []string) {
	for _, t := range targets {
		for _, w := range words {
			if err := s.pin(ctx, t.Node, w == "none"); err != nil {
				s.NodeError(t.Node, err)
			}
		}
	}
}

func (s *Session) pin(ctx context.Context, node string, forget bool) error {
	if s.Hardware == nil || s.Hardware.Pins == nil {
		return errors.New("this daemon keeps no certificates")
	}
	if forget {
		if err := s.Hardware.Pins.SetPin(ctx, node, ""); err != nil {
			return err
		}
	}
	pin, err := s.Hardware.Pins.Pin(ctx, node)
	if err != nil {
		return err
	}
	if pin == "" {
		pin = "none"
	}
	s.Label(node, "BMC Certificate", "%s", pin)
	return nil
}
