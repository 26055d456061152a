package command

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

var historyCmd = &Command{
	Name:  "history",
	Usage: "[noderange] [-n count] [--boots] [--reveal]",
	Short: "show what commands changed, when and by whom; with --boots how nodes booted",
	Long: `Show what commands changed, the oldest first: when, who, the change's name and
the command, and of a node every value before (-) and after (+), those of its
groups too. Without a noderange, every change with the number of its records.

The newest 1000 changes are kept. A node keeps its history under a new name.

  --boots   the last boots of each node in place of changes`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.IntP("number", "n", 0, "only the newest changes")
		f.Bool("boots", false, "the nodes' last boots, step by step")
		revealFlag(f)
	},
	Run: history,
}

const timeForm = "2006-01-02 15:04:05"

func history(_ context.Context, s *Session, args []string) error {
	if err := s.mayReveal(); err != nil {
		return err
	}
	if len(args) > 1 {
		return Usagef("%q is not wanted", args[1])
	}
	snap := s.DB.Snapshot()
	if len(args) == 0 {
		if s.Bool("boots") {
			return Usagef("--boots wants a noderange")
		}
		return allHistory(s, snap)
	}
	names, err := historyNames(s, snap, args)
	if err != nil {
		return err
	}
	for _, name := range names {
		if s.Bool("boots") {
			printBoots(s, name)
			continue
		}
		nodeHistory(s, snap, name)
	}
	return nil
}

// historyNames are the nodes that are meant. One that is no more may have a
// history still.
func historyNames(s *Session, snap *nodedb.Snapshot, args []string) ([]string, error) {
	nodes, _, err := s.Nodes(snap, args)
	if err == nil {
		return names(nodes), nil
	}
	if list, err := s.rangeNames(snap, args[0]); err == nil && len(list) > 0 && !strings.ContainsAny(args[0], "@=~/^") {
		return list, nil
	}
	return nil, err
}

func allHistory(s *Session, snap *nodedb.Snapshot) error {
	for _, p := range s.newest(snap.History()) {
		s.Line("%s %s %d records of %s", pastLine(p), s.undone(p), p.Count, strings.Join(p.Tables, ","))
	}
	return nil
}

// newest are the entries that -n leaves.
func (s *Session) newest(list []*nodedb.Past) []*nodedb.Past {
	if n, _ := s.Flags.GetInt("number"); n > 0 {
		return list[max(0, len(list)-n):]
	}
	return list
}

// pastLine says when, by whom, under which name and by which command.
func pastLine(p *nodedb.Past) string {
	who := p.User
	if p.From != "unix" {
		who += "@" + p.From
	}
	return p.At.Local().Format(timeForm) + " " + who + " " + p.Run + ": " + p.Command
}

func (s *Session) undone(p *nodedb.Past) string {
	if p.Undone {
		return "(taken back)"
	}
	return "-"
}

// nodeHistory prints what became of a node and of its groups.
func nodeHistory(s *Session, snap *nodedb.Snapshot, node string) {
	mine := map[nodedb.Key]bool{}
	name := node
	own := func(k nodedb.Key) bool {
		if k.Kind.Private() {
			return false
		}
		if t := nodedb.TableByName(string(k.Kind)); t != nil && t.ByNode() {
			return t.KeyValues(k.Name)[0] == name
		}
		return k.Kind == nodedb.KindNode && k.Name == name || mine[k]
	}
	if n, err := snap.Node(node); err == nil {
		for _, g := range n.Groups {
			mine[nodedb.Key{Kind: nodedb.KindGroup, Name: g}] = true
		}
	}
	var blocks []string
	for _, p := range slices.Backward(snap.History()) {
		diffs, err := p.Diffs()
		if err != nil {
			s.Warn("%v", err)
			continue
		}
		var b strings.Builder
		for _, d := range diffs {
			if own(d.Key) {
				writeDiff(&b, d, "    ", s.secretForm())
			}
		}
		if b.Len() == 0 {
			continue
		}
		head := node + ": " + pastLine(p)
		if p.Undone {
			head += " (taken back)"
		}
		blocks = append(blocks, head+"\n"+b.String())
		if from := renamedFrom(diffs, name); from != "" {
			name = from
		}
	}
	slices.Reverse(blocks)
	if n, _ := s.Flags.GetInt("number"); n > 0 {
		blocks = blocks[max(0, len(blocks)-n):]
	}
	if len(blocks) == 0 {
		s.Node(node, "nothing is known")
		return
	}
	s.Text(strings.Join(blocks, ""))
}

// renamedFrom returns the name that a node had before, if that is what the
// change was: one node gone, and this one made.
func renamedFrom(diffs []nodedb.Diff, name string) string {
	from, made := "", false
	for _, d := range diffs {
		switch {
		case d.Kind != nodedb.KindNode:
		case d.Gone && from != "":
			return ""
		case d.Gone:
			from = d.Name
		case d.Made && d.Name == name:
			made = true
		}
	}
	if !made {
		return ""
	}
	return from
}

// printBoots prints the last boots of a node.
func printBoots(s *Session, node string) {
	w := &watcher{s: s, shown: map[string]mark{}}
	for _, v := range s.Service.Views([]string{node}) {
		if len(v.Boots) == 0 {
			s.Node(node, "no boot seen yet")
		}
		for i := range v.Boots {
			s.Node(node, "%s", v.Boots[i].Began.Local().Format(timeForm))
			w.boot(node, &v.Boots[i])
		}
		if v.Alarms > 0 {
			s.Node(node, "%d requests for its secrets, or in its name, were refused since nodeset", v.Alarms)
		}
	}
}
