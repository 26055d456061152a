package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
	"margay/provision/bmc"
	"margay/provision/ping"
	"margay/vm"
)

var getmacsCmd = &Command{
	Name:  "getmacs",
	Usage: "noderange [-d] [-i interface] [-D | --arp]",
	Short: "find out the MACs of machines and keep them in the table",
	Long: `Find out the MACs of machines, print them, and keep them in mac.mac: the first of
a machine, or that of the interface named by -i; all of a guest, the first of
which is the one to boot from.

  mgt=redfish   the management controller is asked; one whose machine has never
                been on may not know them
  mgt=ipmi      IPMI does not tell MACs: taken from the list of machines that
                were discovered
  mgt=esx       the hypervisor is asked

  -d      only print them
  -D      take those of the list of discovered machines, whatever the mgt
  --arp   ping the nodes and see who answers: for machines that run a system at
          their own address, in a network of ours`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("display", "d", false, "print them, and leave the table alone")
		f.StringP("interface", "i", "", "the interface whose MAC is kept")
		f.BoolP("discover", "D", false, "from the list of discovered machines")
		f.Bool("arp", false, "ping the nodes and look who answers")
		f.Bool("noping", false, "")
		f.MarkHidden("noping")
		f.BoolP("verbose", "V", false, "")
		f.MarkHidden("verbose")
	},
	Run: getmacs,
}

func getmacs(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	if len(words) != 0 {
		return Usagef("%q is not understood", words)
	}
	g := &macGetter{s: s, facts: map[string]map[string]string{}}
	switch {
	case s.Bool("arp") && s.Bool("discover"):
		return Usagef("-D or --arp, not both")
	case s.Bool("arp"):
		g.byARP(ctx, nodes)
	case s.Bool("discover"):
		g.fromList(snap, nodes)
	default:
		g.ask(ctx, snap, nodes)
	}
	return s.setFacts(ctx, g.facts)
}

// A macGetter prints MACs and gathers what the table is to have.
type macGetter struct {
	s     *Session
	facts map[string]map[string]string
}

// ask asks whoever manages the nodes.
func (g *macGetter) ask(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node) {
	c := g.s.control(snap, nodes, byMgt)
	g.guests(ctx, snap, c.guests)
	seen := discovered(snap)
	var ask []bmc.Target
	for _, t := range c.metal {
		if macs := seen[t.Node]; t.Kind == bmc.IPMI && len(macs) > 0 {
			g.keep(t.Node, macs)
			continue
		}
		ask = append(ask, t)
	}
	metal(ctx, g.s, snap, ask, func(ctx context.Context, _ bmc.Target, m bmc.Controller) ([]bmc.MAC, error) {
		macs, err := m.MACs(ctx)
		if err == nil && len(macs) == 0 {
			err = errors.New("the BMC knows no MAC of the machine; turn it on once, or let it be discovered")
		}
		return macs, err
	}, func(t bmc.Target, macs []bmc.MAC) { g.keep(t.Node, macs) })
}

// keep prints a machine's MACs and chooses the one for the table.
func (g *macGetter) keep(node string, macs []bmc.MAC) {
	for _, m := range macs {
		g.s.Label(node, m.Name, "%s", m.Addr)
	}
	if g.s.Bool("display") {
		return
	}
	m, err := chooseMAC(macs, g.s.String("interface"))
	if err != nil {
		g.s.NodeError(node, err)
		return
	}
	g.set(node, m.Addr.String())
}

func (g *macGetter) set(node, macs string) {
	g.facts[node] = map[string]string{"mac.mac": macs}
	g.s.Node(node, "mac.mac is set to %s", macs)
}

// guests asks the hypervisors. The table has all of a guest's cards, in the
// guest's order: chvm and clonevm go by it.
func (g *macGetter) guests(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node) {
	if len(nodes) == 0 {
		return
	}
	if g.s.Guests == nil {
		g.s.Error("this daemon manages no guests")
		return
	}
	g.s.Guests.Cards(ctx, snap, nodes, func(node string, cards []vm.NIC) {
		var macs []bmc.MAC
		list := ""
		for _, c := range cards {
			hw, err := net.ParseMAC(c.MAC)
			if err != nil {
				continue // one that the host has not given yet
			}
			macs = append(macs, bmc.MAC{Name: c.Label, Addr: hw})
			if list != "" {
				list += "|" + hw.String() + "!*NOIP*"
				continue
			}
			list = hw.String()
		}
		switch {
		case len(macs) == 0:
			g.s.NodeError(node, errors.New("the guest has no network card with a MAC"))
		case g.s.Bool("display") || g.s.String("interface") != "":
			g.keep(node, macs)
		default:
			for _, m := range macs {
				g.s.Label(node, m.Name, "%s", m.Addr)
			}
			g.set(node, list)
		}
	}, func(r vm.Result) { g.s.result(r) })
}

// fromList takes what discovery has seen.
func (g *macGetter) fromList(snap *nodedb.Snapshot, nodes []*nodedb.Node) {
	seen := discovered(snap)
	for _, n := range nodes {
		if macs := seen[n.Name]; len(macs) > 0 {
			g.keep(n.Name, macs)
			continue
		}
		g.s.NodeError(n.Name, errors.New("it was not discovered; nodediscoverls lists what was, nodediscoverdef names it"))
	}
}

// byARP pings the nodes and reads the kernel's table of neighbours.
func (g *macGetter) byARP(ctx context.Context, nodes []*nodedb.Node) {
	addrs := resolveAll(ctx, nodes, "")
	up := map[netip.Addr]bool{}
	for a, yes := range (ping.Sweep{}).All(ctx, valid(addrs)) {
		up[a] = yes
	}
	table, err := os.ReadFile("/proc/net/arp")
	if err != nil {
		g.s.Error("%v", err)
		return
	}
	macs := parseARP(string(table))
	for i, n := range nodes {
		mac, ok := macs[addrs[i]]
		switch {
		case ok && up[addrs[i]]:
			g.keep(n.Name, []bmc.MAC{{Name: addrs[i].String(), Addr: mac}})
		case up[addrs[i]]:
			g.s.NodeError(n.Name, errors.New("it answers from behind a router, or from this host: its MAC cannot be seen"))
		default:
			g.s.NodeError(n.Name, errors.New("it does not answer"))
		}
	}
}

func valid(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return !a.IsValid() })
}

// parseARP reads /proc/net/arp: address, hardware type, flags, MAC, and more.
// Flag 2 is set where the MAC is known.
func parseARP(text string) map[netip.Addr]net.HardwareAddr {
	out := map[netip.Addr]net.HardwareAddr{}
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		addr, err := netip.ParseAddr(f[0])
		flags, err2 := strconv.ParseUint(strings.TrimPrefix(f[2], "0x"), 16, 16)
		mac, err3 := net.ParseMAC(f[3])
		if err == nil && err2 == nil && err3 == nil && flags&2 != 0 {
			out[addr] = mac
		}
	}
	return out
}

// discovered are the MACs of machines that were seen on the network and became
// nodes.
func discovered(snap *nodedb.Snapshot) map[string][]bmc.MAC {
	out := map[string][]bmc.MAC{}
	for _, si := range provision.Sightings(snap) {
		if mac, err := net.ParseMAC(si.MAC); err == nil && si.Node != "" {
			out[si.Node] = append(out[si.Node], bmc.MAC{Name: "discovered", Addr: mac})
		}
	}
	return out
}

func chooseMAC(macs []bmc.MAC, name string) (bmc.MAC, error) {
	if name == "" {
		return macs[0], nil
	}
	for _, m := range macs {
		if m.Name == name {
			return m, nil
		}
	}
	return bmc.MAC{}, fmt.Errorf("the machine has no interface %s", name)
}
