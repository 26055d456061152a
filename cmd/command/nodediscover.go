package command

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"margay/provision"
)

var nodediscoverlsCmd = &Command{
	Name:  "nodediscoverls",
	Usage: "[-t seq|mtms|switch|manual|undef|all] [-u uuid] [-l]",
	Short: "list the machines that asked for an address and are no nodes, or became some",
	Group: GroupBoot,
	Flags: func(f *pflag.FlagSet) {
		f.StringP("type", "t", "all", "only those of a method")
		f.StringP("uuid", "u", "", "only this machine")
		f.BoolP("long", "l", false, "all that is known")
	},
	Complete: func(*Session, []string, string) []string { return nil },
	Run:      nodediscoverls,
}

func nodediscoverls(_ context.Context, s *Session, args []string) error {
	if len(args) > 0 {
		return Usagef("%q is not wanted", args[0])
	}
	want := s.String("type")
	switch want {
	case "seq":
		want = provision.MethodSequential
	case "mtms", "switch", "manual", "undef", "all":
	default:
		return Usagef("-t %s: one of seq, mtms, switch, manual, undef, all is wanted", want)
	}
	const row = "%-40s %-20s %-15s %-10s %s"
	if !s.Bool("long") {
		s.Line(row, "UUID", "NODE", "METHOD", "MTM", "SERIAL")
	}
	for _, si := range provision.Sightings(s.DB.Snapshot()) {
		if want != "all" && si.Method != want || s.String("uuid") != "" && s.String("uuid") != si.UUID {
			continue
		}
		if !s.Bool("long") {
			s.Line("%s", strings.TrimRight(fmt.Sprintf(row, si.UUID, orUndef(si.Node), si.Method, si.MTM, si.Serial), " "))
			continue
		}
		s.Line("Object uuid: %s", si.UUID)
		for _, a := range [][2]string{{"node", si.Node}, {"method", si.Method}, {"discoverytime", si.Time}, {"arch", si.Arch}, {"mtm", si.MTM}, {"serial", si.Serial},
			{"mac", si.MAC}, {"ip", si.Addr}, {"switchport", si.Circuit}, {"vendor", si.Vendor}, {"firmware", si.Firmware}, {"network", si.Network}} {
			if a[1] != "" {
				s.Line("    %s=%s", a[0], a[1])
			}
		}
	}
	return nil
}

func orUndef(node string) string {
	if node == "" {
		return "undef"
	}
	return node
}

var nodediscoverdefCmd = &Command{
	Name:  "nodediscoverdef",
	Usage: "-u uuid|mac -n node [--ip address] [--groups groups] [--osimage image] | -r -u uuid",
	Short: "make a machine that was seen a node's, or forget it",
	Long: `Make a machine that asked for an address a node's, or forget it. With --ip a node
that is not defined is; with --osimage the node is set to boot it. A machine that
runs the discovery script waits for that and goes on booting as the node.`,
	Group: GroupBoot,
	Flags: func(f *pflag.FlagSet) {
		f.StringP("uuid", "u", "", "the machine: its UUID as nodediscoverls shows it, or its MAC")
		f.StringP("node", "n", "", "the node, which must be defined unless there is an --ip")
		f.String("ip", "", "address of a node to be defined")
		f.String("groups", "", "its groups; all if empty")
		f.String("osimage", "", "what it is to boot, as nodeset osimage= has it")
		f.BoolP("remove", "r", false, "forget the machine")
	},
	Run: func(ctx context.Context, s *Session, args []string) error {
		uuid := s.String("uuid")
		if uuid == "" || len(args) > 0 {
			return Usagef("-u and a machine's UUID are wanted")
		}
		if s.Bool("remove") {
			return s.Service.ForgetSighting(ctx, uuid)
		}
		if s.String("node") == "" {
			return Usagef("-n and a node are wanted")
		}
		node := s.String("node")
		var nu *provision.NewNode
		if s.String("ip") != "" {
			nu = &provision.NewNode{Groups: s.String("groups"), Addr: s.String("ip")}
		}
		if err := s.Service.Bind(ctx, uuid, node, nu); err != nil {
			return err
		}
		if image := s.String("osimage"); image != "" {
			res, err := s.Service.Nodeset(ctx, []string{node}, provision.Action{Image: image})
			if err == nil {
				err = res[0].Err
			}
			if err != nil {
				return fmt.Errorf("node %s is bound, and not set to its image: %w", node, err)
			}
		}
		s.Line("Defined [%s] to [%s].", uuid, s.String("node"))
		return nil
	},
}

var nodediscoverstartCmd = &Command{
	Name:  "nodediscoverstart",
	Usage: "noderange=noderange [hostiprange=first-last] [groups=groups] [osimage=image]",
	Short: "give unknown machines that boot from the network the nodes of a noderange, one by one",
	Group: GroupBoot,
	Flags: func(f *pflag.FlagSet) { f.BoolP("verbose", "V", false, "say more") },
	Run:   nodediscoverstart,
}

func nodediscoverstart(ctx context.Context, s *Session, args []string) error {
	var q provision.Sequential
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		var err error
		switch name {
		case "noderange":
			q.Nodes, err = s.DB.Snapshot().ExpandNamesWith(value, s.expandOptions())
		case "hostiprange":
			q.Addrs, err = addrRange(value)
		case "groups":
			q.Groups = value
		case "osimage":
			q.Image = value
			_, err = s.DB.Snapshot().Image(value)
		default:
			return Usagef("%q: noderange=, hostiprange=, groups= and osimage= are known", a)
		}
		if err != nil {
			return err
		}
	}
	if len(q.Nodes) == 0 {
		return Usagef("noderange= is wanted")
	}
	if err := s.Service.StartSequential(ctx, q); err != nil {
		return err
	}
	s.Line("Sequential node discovery started:")
	s.Line("    Number of free node names: %d", len(q.Nodes))
	return nil
}

// addrRange reads first-last.
func addrRange(text string) ([]netip.Addr, error) {
	first, last, ok := strings.Cut(text, "-")
	a, err1 := netip.ParseAddr(first)
	z, err2 := netip.ParseAddr(last)
	if !ok || err1 != nil || err2 != nil || z.Less(a) {
		return nil, fmt.Errorf("hostiprange=%s: not two addresses with a dash between", text)
	}
	var out []netip.Addr
	for ; a.Compare(z) <= 0; a = a.Next() {
		if out = append(out, a); len(out) > 65536 {
			return nil, fmt.Errorf("hostiprange=%s: more than 65536 addresses", text)
		}
	}
	return out, nil
}

var nodediscoverstopCmd = &Command{
	Name:  "nodediscoverstop",
	Short: "end the sequential discovery",
	Group: GroupBoot,
	Run: func(ctx context.Context, s *Session, _ []string) error {
		if _, err := s.Service.StopSequential(ctx); err != nil {
			return err
		}
		s.Line("Sequential Discovery stopped.")
		return nil
	},
}

var nodediscoverstatusCmd = &Command{
	Name:  "nodediscoverstatus",
	Short: "say whether a sequential discovery runs",
	Group: GroupBoot,
	Run: func(_ context.Context, s *Session, _ []string) error {
		q, ok := provision.RunningSequential(s.DB.Snapshot())
		if !ok {
			s.Line("Node discovery for all nodes is not running")
			return nil
		}
		s.Line("Node discovery is running. Node discovery method: sequential discovery; %d nodes left", len(q.Nodes))
		return nil
	},
}
