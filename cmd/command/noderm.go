package command

import (
	"context"
	"errors"

	"margay/nodedb"
)

const nodermUsage = "noderange"

var nodermCmd = &Command{
	Name:  "noderm",
	Usage: nodermUsage,
	Short: "remove nodes from every table",
	Group: GroupTable,
	Flags: tableFlags,
	Run:   noderm,
}

func noderm(ctx context.Context, s *Session, args []string) error {
	if answered(s, "noderm "+nodermUsage, "Removes nodes with all their rows. A running machine is left alone.") {
		return nil
	}
	nodes, rest, err := s.Nodes(s.DB.Snapshot(), args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("one noderange")
	}
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		e := nodedb.Edit(tx)
		for _, n := range nodes {
			if err := e.Remove(nodedb.TypeByName("node"), n.Name); err != nil && !errors.Is(err, nodedb.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}
