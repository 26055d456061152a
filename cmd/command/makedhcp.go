package command

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
)

var makedhcpCmd = &Command{
	Name:  "makedhcp",
	Usage: "-n | -a [-d] | noderange [-d] [-s statements] | -q noderange",
	Short: "check what DHCP answers to nodes; withdraw nodes from it",
	Long: `Check what DHCP answers to nodes. DHCP answers straight from the table, so
there is nothing to make: a node is served from the moment it has mac and ip.

  -n   check every network        -d   withdraw nodes from DHCP
  -a   all nodes                  -q   show what nodes are given
A noderange without -d also ends a withdrawal.

  -s   what the nodes are told further, in dhcpd's syntax; '' takes it back.
       option NAME-OR-NUMBER VALUE; filename "F"; next-server A;
       default-lease-time N; deny booting; if option user-class = "x" { ... }
       Conditions look at vendor-class-identifier, user-class,
       client-architecture and a few more. All else is refused.
       It is kept in bootparams.adddhcpstatements; site.dhcpstatements holds
       what all machines are told, site.dhcpstatements.NETWORK those of one
       network.`,
	Group: GroupNetwork,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("new", "n", false, "check every network")
		f.BoolP("all", "a", false, "all nodes")
		f.BoolP("delete", "d", false, "withdraw the nodes")
		f.BoolP("query", "q", false, "show what nodes are given")
		f.StringP("statements", "s", "", "what the nodes are told further, in dhcpd's syntax")
		f.BoolP("localonly", "l", false, "accepted for xCAT's sake")
	},
	Run: makedhcp,
}

func makedhcp(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	if s.Bool("query") && (s.Bool("new") || s.Bool("all") || s.Bool("delete") || s.Flags.Changed("statements")) {
		return errors.New("The -q option cannot be used with other options.")
	}
	if s.Bool("new") {
		dhcpNetworks(s, snap)
		if len(args) == 0 && !s.Bool("all") {
			return nil
		}
	}
	if s.Bool("all") {
		args = []string{"all"}
	}
	nodes, err := nodesOrAll(s, snap, args)
	if err != nil {
		return err
	}
	if s.Bool("query") {
		dhcpQuery(s, snap, nodes)
		return nil
	}
	if s.Flags.Changed("statements") {
		if err := addStatements(ctx, s, nodes); err != nil {
			return err
		}
		snap = s.DB.Snapshot()
		if nodes, err = nodesOrAll(s, snap, args); err != nil {
			return err
		}
	}
	if err := s.Service.Publish(ctx, names(nodes), provision.PublishDHCP, !s.Bool("delete")); err != nil {
		return err
	}
	if s.Bool("delete") {
		return nil
	}
	for _, n := range nodes {
		err := provision.DHCPProblem(snap, n)
		if w := (provision.Warning{}); errors.As(err, &w) {
			s.Warn("%s", defError(err))
		} else if err != nil {
			s.Error("%s", defError(err))
		}
	}
	return nil
}

// addStatements keeps what -s says, if it is understood.
func addStatements(ctx context.Context, s *Session, nodes []*nodedb.Node) error {
	text := s.String("statements")
	if _, err := provision.ParseStatements(text); err != nil {
		return fmt.Errorf("-s: %s", defError(err))
	}
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		for _, n := range nodes {
			tx.Set(nodedb.Key{Kind: nodedb.KindNode, Name: n.Name}, "bootparams.adddhcpstatements", text)
		}
		return nil
	})
}

// nodesOrAll takes "all" for every node, in no matter which group.
func nodesOrAll(s *Session, snap *nodedb.Snapshot, args []string) ([]*nodedb.Node, error) {
	if len(args) == 1 && args[0] == "all" {
		return slices.DeleteFunc(slices.Clone(snap.Nodes()), (*nodedb.Node).Off), nil
	}
	nodes, rest, err := s.Nodes(snap, args)
	if err == nil && len(rest) > 0 {
		return nil, Usagef("%q is not wanted after the noderange", rest[0])
	}
	return nodes, err
}

func dhcpNetworks(s *Session, snap *nodedb.Snapshot) {
	for _, nw := range snap.Networks() {
		if err := nw.Check(); err != nil {
			s.Error("%v", err)
		}
		if gw, err := netip.ParseAddr(nw.Gateway); err == nil && nw.Prefix.IsValid() && !nw.Prefix.Contains(gw) {
			s.Error("Specified gateway %s is not valid for %s/%s, must be on same network", gw, nw.Prefix.Addr(), nw.Attr("mask"))
		}
		if len(nw.DynamicRanges) == 0 {
			s.Warn("No dynamic range specified for %s. If hardware discovery is being used, a dynamic range is required.", nw.Prefix.Addr())
		}
		if nw.Domain == "" && snap.Site("domain") == "" {
			s.Error("No domain defined for %s entry in networks table, and no domain defined in site table.", nw.Name)
		}
	}
}

func dhcpQuery(s *Session, snap *nodedb.Snapshot, nodes []*nodedb.Node) {
	for _, n := range nodes {
		macs, addrs := provision.DHCPGiven(snap, n)
		for i, mac := range macs {
			s.Node(n.Name, "ip-address = %s, hardware-address = %s", addrs[i], mac.Addr)
		}
	}
}
