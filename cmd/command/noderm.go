package command

import (
	"context"
	"errors"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

const nodermUsage = "noderange"

var nodermCmd = &Command{
	Name:  "noderm",
	Usage: nodermUsage,
	Short: "remove nodes from every table",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		tableFlags(fs)
		safetyFlags(fs)
	},
	Run: noderm,
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
	if err := s.Confirm(len(nodes), "remove nodes"); err != nil {
		return err
	}
	return s.Update(ctx, func(tx *nodedb.Tx) error {
		e := nodedb.Edit(tx)
		for _, n := range nodes {
			if err := e.Remove(nodedb.TypeByName("node"), n.Name); err != nil && !errors.Is(err, nodedb.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}
