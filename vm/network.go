package vm

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Trunk is the VLAN id that lets every VLAN through.
const Trunk = 4095

// A NICModel is the kind of network card that a guest sees.
type NICModel string

// The models.
const (
	E1000    NICModel = "e1000"
	E1000e   NICModel = "e1000e"
	VMXNet3  NICModel = "vmxnet3"
	VMXNet2  NICModel = "vmxnet2"
	VMXNet   NICModel = "vmxnet"
	PCNet32  NICModel = "pcnet32"
	Flexible NICModel = "flexible"
)

// ParseNICModel reads a model. An unknown one is not an error in xCAT: the
// card becomes an e1000, and note says so.
func ParseNICModel(s string) (m NICModel, note string) {
	switch t := NICModel(strings.ToLower(strings.TrimSpace(s))); t {
	case "":
		return E1000, ""
	case E1000, E1000e, VMXNet3, VMXNet2, VMXNet, PCNet32, Flexible:
		return t, ""
	case "vlance":
		return PCNet32, ""
	}
	return E1000, s + " not a recognized nic type, falling back to e1000 (vmxnet3, e1000, e1000e, pcnet32, vmxnet2, vmxnet are recognized)"
}

// since is the hardware version that a model came with ("Network adapter types",
// VMware KB 1001805); 0 for those that always were.
func (m NICModel) since() int {
	switch m {
	case VMXNet3:
		return 7
	case E1000e:
		return 8
	case VMXNet2:
		return 4
	}
	return 0
}

// fits refuses a model that a guest's hardware version ("vmx-07") does not
// have. Where the version is the host's to choose, so is the refusal: its
// default is its newest.
func (m NICModel) fits(version string) error {
	n, err := strconv.Atoi(strings.TrimPrefix(version, "vmx-"))
	if err != nil || n >= m.since() {
		return nil
	}
	return Errorf(ErrUnsupported, "hardware version %d has no %s, which came with version %d; use e1000, or upgrade the guest's hardware", n, m, m.since())
}

// A NetworkSpec is one element of vm.nics: [physnet:]name[=model].
type NetworkSpec struct {
	Physical string // before ":"; empty: the host's default switch
	Name     string
	Model    string // after "="; empty: vm.nicmodel
}

// ParseNetworks reads vm.nics.
func ParseNetworks(s string) ([]NetworkSpec, error) {
	var out []NetworkSpec
	for _, f := range strings.Split(s, ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		n, err := ParseNetwork(f)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// ParseNetwork reads one element of vm.nics.
func ParseNetwork(s string) (NetworkSpec, error) {
	var n NetworkSpec
	rest := s
	rest, n.Model, _ = strings.Cut(rest, "=")
	if phys, name, ok := strings.Cut(rest, ":"); ok {
		n.Physical, rest = strings.TrimSpace(phys), name
		if n.Physical == "" {
			return n, Errorf(ErrInvalid, "network %q: nothing before the colon", s)
		}
	}
	n.Name = strings.TrimSpace(rest)
	if n.Name == "" {
		return n, Errorf(ErrInvalid, "network %q: no name; write [physnet:]name[=model]", s)
	}
	if _, err := VLANOf(n.Name); err != nil {
		return n, err
	}
	return n, nil
}

var vlanTail = regexp.MustCompile(`(?i)vl(?:an)?(\d+)$`)

// VLANOf is the VLAN id that a network's name asks for: a bare number, or a
// name that ends in vlNN or vlanNN, is that VLAN; a name with "trunk" in it is
// all of them; anything else is untagged.
func VLANOf(name string) (int, error) {
	digits := name
	if strings.Trim(name, "0123456789") != "" {
		if strings.Contains(strings.ToLower(name), "trunk") {
			return Trunk, nil
		}
		m := vlanTail.FindStringSubmatch(name)
		if m == nil {
			return 0, nil
		}
		digits = m[1]
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n > Trunk {
		return 0, Errorf(ErrInvalid, "network %q: VLAN %s is out of range (0 to 4095)", name, digits)
	}
	return n, nil
}

// A Switch is a virtual switch to have: its name, and the cards it needs.
type Switch struct {
	Name    string
	Uplinks []string // empty: any switch of that name will do
}

// A NetMap is what hypervisor.netmap and hypervisor.defaultnet say.
type NetMap struct {
	Default Switch
	Phys    map[string][]string // nil: netmap is not set
}

// ParseNetMap reads hypervisor.netmap "name=vmnicA&vmnicB,name2=..." and
// hypervisor.defaultnet "name[=nic&nic]".
func ParseNetMap(netmap, defaultnet string) (NetMap, error) {
	m := NetMap{Default: Switch{Name: "vSwitch0"}}
	if defaultnet != "" {
		name, nics, _ := strings.Cut(defaultnet, "=")
		m.Default = Switch{strings.TrimSpace(name), splitNICs(nics)}
	}
	if netmap == "" {
		return m, nil
	}
	m.Phys = map[string][]string{}
	for _, f := range strings.Split(netmap, ",") {
		name, nics, ok := strings.Cut(strings.TrimSpace(f), "=")
		if !ok || name == "" || len(splitNICs(nics)) == 0 {
			return m, Errorf(ErrInvalid, "Invalid format for hypervisor.netmap detected: %q; write name=vmnic0&vmnic1", f)
		}
		m.Phys[name] = splitNICs(nics)
	}
	return m, nil
}

func splitNICs(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '&' || r == ' ' })
}

// A PortGroup is a network on one host's switch.
type PortGroup struct {
	Name   string
	Switch string
	VLAN   int
}

// A NetworkPlan is what a guest's network needs on its host.
type NetworkPlan struct {
	PortGroup PortGroup
	AddSwitch *Switch // to be made first; nil: it is there
	Exists    bool    // the network is there: use it as it is
}

// lines are what a dry run says of it.
func (p NetworkPlan) lines() (out []string) {
	if p.AddSwitch != nil {
		out = append(out, fmt.Sprintf("would make switch %s of %s", p.AddSwitch.Name, strings.Join(p.AddSwitch.Uplinks, " ")))
	}
	if !p.Exists {
		out = append(out, fmt.Sprintf("would make port group %s on %s, VLAN %d", p.PortGroup.Name, p.PortGroup.Switch, p.PortGroup.VLAN))
	}
	return out
}

// PlanNetwork decides what host lacks so that a card can be put on n.
func PlanNetwork(n NetworkSpec, m NetMap, host *Host) (NetworkPlan, error) {
	vlan, err := VLANOf(n.Name)
	if err != nil {
		return NetworkPlan{}, err
	}
	if n.Physical == "" {
		if p, err := existing(n.Name, vlan, host); p != nil || err != nil {
			return deref(p), err
		}
	}
	sw, add, err := pickSwitch(n, m, host)
	if err != nil {
		return NetworkPlan{}, err
	}
	name := n.Name
	if n.Physical != "" {
		name = sw.Name + "-" + n.Name
		if p, err := existing(name, vlan, host); p != nil || err != nil {
			return deref(p), err
		}
	}
	plan := NetworkPlan{PortGroup: PortGroup{name, sw.Name, vlan}}
	if add {
		plan.AddSwitch = &sw
	}
	return plan, nil
}

func deref(p *NetworkPlan) NetworkPlan {
	if p == nil {
		return NetworkPlan{}
	}
	return *p
}

// existing finds a network of that name. A port group whose VLAN is not what
// its name says is refused: the guest would land on another network than the
// table claims.
func existing(name string, vlan int, host *Host) (*NetworkPlan, error) {
	for _, pg := range host.PortGroups {
		if pg.Name != name {
			continue
		}
		if vlan != 0 && pg.VLAN != vlan {
			return nil, Errorf(ErrExists, "port group %q is there with VLAN %d, not %d; rename one of them", name, pg.VLAN, vlan)
		}
		return &NetworkPlan{PortGroup: pg, Exists: true}, nil
	}
	if slices.Contains(host.Networks, name) {
		return &NetworkPlan{PortGroup: PortGroup{Name: name, VLAN: vlan}, Exists: true}, nil
	}
	return nil, nil
}

func pickSwitch(n NetworkSpec, m NetMap, host *Host) (Switch, bool, error) {
	want := m.Default
	if n.Physical != "" {
		want = Switch{Name: n.Physical}
		if m.Phys == nil { // physnet is itself a list of cards
			want.Uplinks = splitNICs(n.Physical)
			want.Name = "vsw" + n.Physical
		} else if want.Uplinks = m.Phys[n.Physical]; want.Uplinks == nil {
			return want, false, Errorf(ErrInvalid, "network %q: hypervisor.netmap of %s has no %q", n.Physical+":"+n.Name, host.Name, n.Physical)
		}
		for _, s := range host.Switches {
			if sameSet(s.Uplinks, want.Uplinks) {
				return s, false, nil
			}
		}
	}
	for _, s := range host.Switches {
		if s.Name == want.Name {
			return s, false, nil
		}
	}
	if len(want.Uplinks) == 0 {
		return want, false, Errorf(ErrNotFound, "%s has no switch %q, and no cards are named to make it of; set hypervisor.defaultnet to %s=vmnic0", host.Name, want.Name, want.Name)
	}
	return want, true, uplinksFree(want, host)
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

func uplinksFree(want Switch, host *Host) error {
	var missing []string
	for _, u := range want.Uplinks {
		if !slices.Contains(host.Uplinks, u) {
			missing = append(missing, u)
		}
	}
	if len(missing) > 0 {
		return Errorf(ErrNotFound, "Unable to locate the following nics on %s: %s", host.Name, strings.Join(missing, ","))
	}
	for _, s := range host.Switches {
		for _, u := range want.Uplinks {
			if slices.Contains(s.Uplinks, u) {
				return Errorf(ErrExists, "Aggregation mismatch detected, request nic is aggregated with a nic not requested: %s is in use by switch %s", u, s.Name)
			}
		}
	}
	return nil
}
