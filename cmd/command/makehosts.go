package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
)

var makehostsCmd = &Command{
	Name:  "makehosts",
	Usage: "[-n] [noderange] [-l] [-o] [-a] [-m] [-d] [-q]",
	Short: "check nodes' addresses and names; keep them in a hosts file",
	Long: `Check nodes' addresses and names. Nothing needs them in /etc/hosts: DNS
answers from the table. If site.hostsfile names a file, as /etc/hosts, the
nodes' lines in it are put in order or, with -d, taken out; other lines stay,
and what the file was is kept as FILE.xcatbak. -q prints the lines and writes
nothing.`,
	Group: GroupNetwork,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("new", "n", false, "begin a new file, with localhost alone")
		f.BoolP("delete", "d", false, "take the nodes' lines out")
		f.BoolP("longnamefirst", "l", false, "the name with its domain first")
		f.BoolP("othernamesfirst", "o", false, "aliases before the names")
		f.BoolP("adddefaultnames", "a", false, "names of the other interfaces are aliases of the node too")
		f.BoolP("mactolinklocal", "m", false, "the IPv6 addresses that interfaces make of their MAC, in place of hosts.ip")
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
	if s.Bool("new") && s.Bool("delete") {
		return Usagef("-n and -d do not go together")
	}
	lines := s.hostsLines(snap, nodes)
	if s.Bool("query") {
		for _, l := range lines {
			s.Line("%s", l.Text)
		}
		return nil
	}
	path := snap.Site("hostsfile")
	if path == "" {
		return nil
	}
	return provision.UpdateHosts(path, func(file *provision.HostsFile) *provision.HostsFile {
		if s.Bool("new") {
			file = provision.NewHosts()
		}
		for _, l := range lines {
			if s.Bool("delete") {
				file.Remove(l)
			} else {
				file.Put(l)
			}
		}
		return file
	})
}

// hostsLines are the lines of nodes, with a warning for each that has none.
// What is to be taken out needs no address.
func (s *Session) hostsLines(snap *nodedb.Snapshot, nodes []*nodedb.Node) (lines []provision.HostsLine) {
	form := provision.HostsForm{
		LongFirst: s.Bool("longnamefirst"), OtherFirst: s.Bool("othernamesfirst"),
		AddOthers: s.Bool("adddefaultnames"), LinkLocal: s.Bool("mactolinklocal"),
	}
	switch snap.Site("FQDNfirst") {
	case "1", "yes", "enable":
		form.LongFirst = true
	}
	for _, n := range nodes {
		switch raw := n.Attr("hosts.ip"); {
		case n.Addr.IsValid() || form.LinkLocal && len(n.MACs) > 0:
			lines = append(lines, provision.HostsLines(snap, n, form)...)
		case s.Bool("delete"):
			lines = append(lines, provision.HostsLine{Name: n.Name})
		case raw != "":
			s.Warn("Invalid IP Addr %s of node '%s'", raw, n.Name)
		default:
			s.Warn("Ignoring node '%s', it can not be resolved.", n.Name)
		}
	}
	return lines
}
