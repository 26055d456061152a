package command

import (
	"context"
	"errors"

	"github.com/spf13/pflag"

	"margay/provision"
)

var makednsCmd = &Command{
	Name:  "makedns",
	Usage: "[-n] [-V] [noderange] | -d noderange",
	Short: "check what DNS answers for nodes; withdraw names from it",
	Long: `Check what DNS answers for nodes. DNS answers straight from the table, so
there is nothing to make: a name is answered from the moment its node has ip.

  -n   end all withdrawals of the named nodes, or of all
  -d   withdraw the nodes' names`,
	Group: GroupNetwork,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("new", "n", false, "publish everything anew")
		f.BoolP("delete", "d", false, "withdraw the nodes' names")
		f.BoolP("verbose", "V", false, "name each node")
		f.StringP("external", "e", "", "accepted for xCAT's sake")
	},
	Run: makedns,
}

func makedns(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	if snap.Site("domain") == "" {
		return errors.New("domain not defined in site table")
	}
	if len(args) == 0 {
		if s.Bool("delete") {
			return Usagef("-d wants a noderange")
		}
		args = []string{"all"}
	}
	nodes, err := nodesOrAll(s, snap, args)
	if err != nil {
		return err
	}
	if err := s.Service.Publish(ctx, names(nodes), provision.PublishDNS, !s.Bool("delete")); err != nil {
		return err
	}
	for _, n := range nodes {
		if s.Bool("verbose") {
			s.Line("Handling %s in /etc/hosts.", n.Name)
		}
		if err := provision.DNSProblem(snap, n); err != nil && !s.Bool("delete") {
			s.Warn("%v", err)
		}
	}
	s.Line("DNS setup is completed")
	return nil
}
