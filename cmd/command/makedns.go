package command

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
)

var makednsCmd = &Command{
	Name:  "makedns",
	Usage: "[-n] [-V] [noderange] | -d [-V] noderange | -e [--server address] [-d] [noderange]",
	Short: "check what DNS answers for nodes; withdraw names from it",
	Long: `Check what DNS answers for nodes, and say what xCAT says of it. DNS answers
straight from the table, so there is nothing to make and nothing to restart: a
name is answered from the moment its node has ip.

  -n   end all withdrawals of the named nodes, or of all
  -d   withdraw the nodes' names
  -V   say what each node's name has

  -e   have the name servers of /etc/resolv.conf, or the one of --server, answer
       for the nodes' names too, or with -d forget them

A node without ip or in none of the networks is named and left out; one whose
name DNS cannot hold is an error. Other name servers take whole zones if
site.dnssecondaries lists them; to one that has zones of its own -e sends the
names by updates (RFC 2136), signed by the key of passwd key=omapi: its name as
username, the secret in base64 as password, the algorithm as cryptmethod. The
zones must be there. site.externaldns=1 has makedns do so always.`,
	Group: GroupNetwork,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("new", "n", false, "publish everything anew")
		f.BoolP("delete", "d", false, "withdraw the nodes' names")
		f.BoolP("verbose", "V", false, "say what each name has")
		f.BoolP("external", "e", false, "have other name servers answer for them too")
		f.String("server", "", "the name server of -e, with its port if that is not 53")
	},
	Run: makedns,
}

func makedns(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	outside := s.Bool("external") || slices.Contains([]string{"1", "y", "yes", "enable"}, strings.ToLower(snap.Site("externaldns")))
	switch {
	case s.String("server") != "" && !outside:
		return Usagef("--server goes with -e")
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
	if !outside || !s.Bool("delete") {
		if err := s.Service.Publish(ctx, names(nodes), provision.PublishDNS, !s.Bool("delete")); err != nil {
			return err
		}
	}
	dnsNodes(s, s.DB.Snapshot(), nodes)
	s.Line("Getting reverse zones, this may take several minutes for a large cluster.")
	s.Line("Completed getting reverse zones.")
	if every || s.Bool("new") {
		s.Line("Updating zones.")
		s.Line("Completed updating zones.")
	}
	s.Line("Updating DNS records, this may take several minutes for a large cluster.")
	if outside {
		if err := dnsOutside(ctx, s, nodes); err != nil {
			return err
		}
	}
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

// dnsOutside has other name servers answer for nodes, or forget them.
func dnsOutside(ctx context.Context, s *Session, nodes []*nodedb.Node) error {
	if s.Outside == nil {
		return errors.New("no DNS server outside can be told from here")
	}
	all := provision.NewNames(s.DB.Snapshot(), time.Now())
	var list []provision.Name
	for _, n := range nodes {
		list = append(list, all.OfNode(n)...)
	}
	told, err := s.Outside(ctx, s.String("server"), list, s.Bool("delete"))
	if err != nil {
		faults := strings.Split(err.Error(), "\n")
		last := len(faults) - 1
		for _, f := range faults[:last] {
			s.Error("%s", f)
		}
		return errors.New(faults[last])
	}
	if s.Bool("verbose") {
		s.Line("%d names, told to %s", len(list), strings.Join(told, " "))
	}
	return nil
}
