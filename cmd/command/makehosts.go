package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/provision"
)

var makehostsCmd = &Command{
	Name:  "makehosts",
	Usage: "[noderange] [-l] [-q]",
	Short: "check nodes' addresses and names; show them as /etc/hosts would have them",
	Long: `Check nodes' addresses and names. Nothing needs them in /etc/hosts: DNS
answers from the table. -q prints the lines, to be kept where they are wanted.`,
	Group: GroupNetwork,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("new", "n", false, "accepted for xCAT's sake")
		f.BoolP("delete", "d", false, "accepted for xCAT's sake")
		f.BoolP("longnamefirst", "l", false, "the name with its domain first")
		f.BoolP("mactolinklocal", "m", false, "accepted for xCAT's sake")
		f.BoolP("query", "q", false, "print the lines")
	},
	Run: makehosts,
}

func makehosts(_ context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	if len(args) == 0 {
		args = []string{"all"}
	}
	nodes, err := nodesOrAll(s, snap, args)
	if err != nil {
		return err
	}
	long := s.Bool("longnamefirst")
	switch snap.Site("FQDNfirst") {
	case "1", "yes", "enable":
		long = true
	}
	for _, n := range nodes {
		if !n.Addr.IsValid() {
			if raw := n.Attr("hosts.ip"); raw != "" {
				s.Warn("Invalid IP Addr %s of node '%s'", raw, n.Name)
				continue
			}
			s.Warn("Ignoring node '%s', it can not be resolved.", n.Name)
			continue
		}
		if s.Bool("query") {
			s.Line("%s", provision.HostsLine(snap, n, long))
		}
	}
	return nil
}
