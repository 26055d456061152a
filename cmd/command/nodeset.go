package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
)

var nodesetCmd = &Command{
	Name:  "nodeset",
	Usage: "noderange step[,step...]|next|stat",
	Short: "set what nodes do when they boot next",
	Long: `Set what nodes do when they boot next from the network.

  install, netboot     the os, arch and profile that the node has, or those given
  osimage[=image]      an osimage; without a name the one in provmethod
  boot                 boot from the disk
  offline              nothing
  shell                a shell on the console, in the small system of mknb
  runcmd=command       run a postscript, a program of the small system, or what
                       an http:// address has; with arguments
  runimage=url         fetch an archive (.tgz) and run the runme.sh in it
  standby              wait in the small system for another word
  reboot, shutdown     boot again, or switch off
  memtest              test the memory with memtest86+
  next                 the next step of the chain
  stat                 say what is set

Several steps with commas between are a chain: the first is done now, the others
stand in chain.currchain, and each is begun when the machine says that the one
before is done. After the last of them comes chain.chain, or standby.

Every file that the boot will ask for is made first: a node for which one
cannot be made is left as it was, and the reason is its error.`,
	Group: GroupBoot,
	Flags: func(f *pflag.FlagSet) {
		f.Bool("noupdateinitrd", false, "accepted for xCAT's sake")
		f.Bool("ignorekernelchk", false, "accepted for xCAT's sake")
		f.BoolP("verbose", "V", false, "say more")
		f.Bool("dry-run", false, "show what would change in what the nodes are sent; change nothing")
		yesFlag(f)
	},
	Complete: func(s *Session, args []string, word string) []string {
		if len(args) == 0 {
			return s.completeRange(word)
		}
		words := []string{"install", "netboot", "osimage", "boot", "offline", "shell", "runcmd=", "runimage=", "standby", "reboot", "shutdown", "memtest", "next", "enact", "stat"}
		for _, r := range s.DB.Snapshot().Records(nodedb.KindImage) {
			words = append(words, "osimage="+r.Name)
		}
		return withPrefix(words, word)
	},
	Run: nodeset,
}

func nodeset(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return Usagef("one of install, netboot, osimage=IMAGE, boot, offline, shell, runcmd=COMMAND, runimage=URL, standby, reboot, shutdown, memtest, next, stat is wanted after the noderange")
	}
	if words[0] == "stat" || words[0] == "enact" { // what is set is what machines get: there is nothing to enact
		for _, n := range nodes {
			s.Node(n.Name, "%s", stateWords(n))
		}
		return nil
	}
	if words[0] == "next" {
		results, err := s.Service.Next(ctx, names(nodes))
		return s.states(results, err)
	}
	act, err := provision.ParseAction(words[0])
	if err != nil {
		return err
	}
	if s.Bool("dry-run") {
		return previewAll(s, snap, nodes, act)
	}
	if act.Mode != nodedb.ModeBoot && act.Mode != nodedb.ModeOffline {
		if err := s.Confirm(len(nodes), "install nodes at their next boot"); err != nil {
			return err
		}
	}
	results, err := s.Service.Nodeset(ctx, names(nodes), act)
	return s.states(results, err)
}

// states prints what became of nodes.
func (s *Session) states(results []provision.Result, err error) error {
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Err != nil {
			s.NodeError(r.Node, r.Err)
			continue
		}
		s.Node(r.Node, "%s", r.State)
	}
	return nil
}

func previewAll(s *Session, snap *nodedb.Snapshot, nodes []*nodedb.Node, act provision.Action) error {
	for _, p := range s.Service.Preview(snap, names(nodes), act) {
		if p.Err != nil {
			s.NodeError(p.Node, p.Err)
			continue
		}
		s.Node(p.Node, "%s (not done)", p.State)
		for _, line := range p.Plan {
			s.Label(p.Node, "plan", "%s", line)
		}
		s.Text(p.Diff)
	}
	return nil
}

// stateWords is what nodeset stat prints for a node that was never set, too.
func stateWords(n *nodedb.Node) string {
	if n.CurrState == "" {
		return string(nodedb.ModeOffline)
	}
	return n.CurrState
}

func names(nodes []*nodedb.Node) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Name
	}
	return out
}
