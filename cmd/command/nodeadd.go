package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"margay/nodedb"
)

const nodeaddUsage = "noderange groups=group,group ... [table.column=value ...]"

var nodeaddCmd = &Command{
	Name:     "nodeadd",
	Usage:    nodeaddUsage,
	Short:    "add nodes and set columns of theirs",
	Group:    GroupTable,
	Flags:    tableFlags,
	Run:      nodeadd,
	Complete: func(*Session, []string, string) []string { return nil },
}

func nodeadd(ctx context.Context, s *Session, args []string) error {
	if answered(s, "nodeadd "+nodeaddUsage, "Adds nodes; mkdef does the same by attributes.") {
		return nil
	}
	if len(args) < 2 {
		return Usagef("a noderange and groups= are required")
	}
	nodes, err := s.rangeNames(s.DB.Snapshot(), args[0])
	if err != nil {
		return plain(err)
	}
	node := nodedb.TypeByName("node")
	for _, name := range nodes {
		if err := node.CheckName(name); err != nil {
			return plain(err)
		}
	}
	sets, conds, err := parseSets(s, args[1:])
	if err != nil {
		return err
	}
	grouped := slices.ContainsFunc(sets, func(c nodeSet) bool {
		return c.t.Name == "nodelist" && c.c.Name == "groups" && c.value != ""
	})
	if len(conds) > 0 || !grouped {
		return Usagef("groups= is required, and conditions are not possible")
	}
	if len(nodes) == 0 {
		return fmt.Errorf("No node in '%s', check the noderange syntax.", args[0])
	}
	var capital []string
	for _, name := range nodes {
		if name != strings.ToLower(name) {
			capital = append(capital, name)
		}
	}
	if capital != nil {
		s.Warn("The node name '%s' contains capital letters which may not be resolved correctly by the dns server.", strings.Join(capital, ","))
	}
	saysDynamic(s, s.DB.Snapshot(), sets)
	err = s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		e := nodedb.Edit(tx)
		for _, name := range nodes {
			if err := setNode(e, name, sets, false); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return plain(err)
	}
	warnNodes(s, nodes, sets)
	return nil
}
