package command

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
	"margay/provision/bmc"
)

var getmacsCmd = &Command{
	Name:  "getmacs",
	Usage: "noderange [-d] [-i interface]",
	Short: "ask management controllers for their machines' MACs and keep them in the table",
	Long: `Ask management controllers for the MACs of their machines, print them, and keep
one in mac.mac: the first, or that of the interface named by -i. A machine that
has never been on may not know them.

  -d   only print them

IPMI does not tell MACs: those of a machine that was discovered are taken from
there; else set mgt=redfish where the machine speaks it.`,
	Group: GroupPower,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("display", "d", false, "print them, and leave the table alone")
		f.StringP("interface", "i", "", "the interface whose MAC is kept")
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
	facts := map[string]map[string]string{}
	keep := func(node string, macs []bmc.MAC) {
		for _, m := range macs {
			s.Label(node, m.Name, "%s", m.Addr)
		}
		if s.Bool("display") {
			return
		}
		m, err := chooseMAC(macs, s.String("interface"))
		if err != nil {
			s.NodeError(node, err)
			return
		}
		facts[node] = map[string]string{"mac.mac": m.Addr.String()}
		s.Node(node, "mac.mac is set to %s", m.Addr)
	}
	seen := discovered(snap)
	var ask []bmc.Target
	for _, t := range s.metalOnly(snap, nodes) {
		if macs := seen[t.Node]; t.Kind == bmc.IPMI && len(macs) > 0 {
			keep(t.Node, macs)
			continue
		}
		ask = append(ask, t)
	}
	metal(ctx, s, snap, ask, func(ctx context.Context, _ bmc.Target, m bmc.Controller) ([]bmc.MAC, error) {
		macs, err := m.MACs(ctx)
		if err == nil && len(macs) == 0 {
			err = errors.New("the BMC knows no MAC of the machine; turn it on once, or let it be discovered")
		}
		return macs, err
	}, func(t bmc.Target, macs []bmc.MAC) { keep(t.Node, macs) })
	return s.setFacts(ctx, facts)
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
