package command

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
)

var makednsCmd = &Command{
	Name:  "makedns",
	Usage: "[-n] [-V] [noderange] | -d [-V] noderange",
	Short: "check what DNS answers for nodes; withdraw names from it",
	Long: `Check what DNS answers for nodes, and say what xCAT says of it. DNS answers
straight from the table, so there is nothing to make and nothing to restart: a
name is answered from the moment its node has ip.

  -n   end all withdrawals of the named nodes, or of all
  -d   withdraw the nodes' names
  -V   say what each node's name has

A node without ip or in none of the networks is named and left out; one whose
name DNS cannot hold is an error. Other name servers take whole zones if
site.dnssecondaries lists them: nothing is sent to them by -e.`,
	Group: GroupNetwork,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("new", "n", false, "publish everything anew")
		f.BoolP("delete", "d", false, "withdraw the nodes' names")
		f.BoolP("verbose", "V", false, "say what each name has")
		f.BoolP("external", "e", false, "refused: see site.dnssecondaries")
	},
	Run: makedns,
}

func makedns(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	switch {
	case s.Bool("external"):
		return Usagef("-e: no other server's records are updated; list the server in site.dnssecondaries, and it is told of changes and may transfer the zones")
	case s.Bool("new") && s.Bool("delete"):
		return Usagef("-n and -d do not go together")
	case s.Bool("delete") && len(args) == 0:
		return Usagef("-d wants a noderange")
	case snap.Site("domain") == "":
		return errors.New("domain not defined in site table")
	}
	every := len(args) == 0
	if every {
		args = []string{"all"}
	}
	nodes, err := nodesOrAll(s, snap, args)
	if err != nil {
		return err
	}
	if err := s.Service.Publish(ctx, names(nodes), provision.PublishDNS, !s.Bool("delete")); err != nil {
		return err
	}
	dnsNodes(s, s.DB.Snapshot(), nodes)
	s.Line("Getting reverse zones, this may take several minutes for a large cluster.")
	s.Line("Completed getting reverse zones.")
	if every || s.Bool("new") {
		s.Line("Updating zones.")
		s.Line("Completed updating zones.")
	}
	s.Line("Updating DNS records, this may take several minutes for a large cluster.")
	s.Line("Completed updating DNS records.")
	s.Line("DNS setup is completed")
	return nil
}

// dnsNodes names each node, and why DNS does not answer for it.
func dnsNodes(s *Session, snap *nodedb.Snapshot, nodes []*nodedb.Node) {
	answered := provision.NewNames(snap, time.Now())
	for _, n := range nodes {
		s.Line("Handling %s in /etc/hosts.", n.Name)
		if s.Bool("delete") {
			continue
		}
		err := provision.DNSProblem(snap, n)
		if w := (provision.Warning{}); errors.As(err, &w) {
			s.Line("%s", w.Error())
		} else if err != nil {
			s.Error("%v", err)
		}
		if err == nil {
			for _, err := range provision.AliasProblems(snap, n) {
				s.Error("%v", err)
			}
		}
		if err == nil && s.Bool("verbose") {
			s.Line("%s: %s = %s", n.Name, answered.Of(n), n.Addr)
		}
	}
}
