package command

import (
	"context"
	"errors"
	"slices"

	"margay/nodedb"
)

var tabgrepCmd = &Command{
	Name:  "tabgrep",
	Usage: "node",
	Short: "list the tables that have a row for a node",
	Group: GroupTable,
	Flags: tableFlags,
	Run:   tabgrep,
}

func tabgrep(ctx context.Context, s *Session, args []string) error {
	if answered(s, "tabgrep node", "Lists the tables that have a row for a node or for one of its groups.") {
		return nil
	}
	if len(args) != 1 {
		return Usagef("one node")
	}
	snap := s.DB.Snapshot()
	n, err := snap.Node(args[0])
	if err != nil {
		return errors.New("Invalid nodes and/or groups in noderange: " + args[0])
	}
	names := append([]string{n.Name}, n.Groups...)
	for _, t := range nodedb.Tables() {
		if t.ByNode() && slices.ContainsFunc(names, func(name string) bool {
			return len(snap.Find(t, map[string]string{t.Keys[0]: name})) > 0
		}) {
			s.Line("%s", t.Name)
		}
	}
	return nil
}
