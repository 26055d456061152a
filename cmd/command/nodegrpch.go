package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"margay/nodedb"
)

const nodegrpchUsage = "group,group ... table.column=value | table.column,=value | table.column^=value ..."

var nodegrpchCmd = &Command{
	Name:     "nodegrpch",
	Usage:    nodegrpchUsage,
	Short:    "set columns of groups, and clear what their members have instead",
	Group:    GroupTable,
	Flags:    tableFlags,
	Run:      nodegrpch,
	Complete: completeGroup,
}

func completeGroup(s *Session, args []string, word string) []string {
	if len(args) > 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.DB.Snapshot().Groups()), func(g string) bool { return !strings.HasPrefix(g, word) })
}

func nodegrpch(ctx context.Context, s *Session, args []string) error {
	if answered(s, "nodegrpch "+nodegrpchUsage, "Sets columns of groups, and takes the same columns from their members so that the group's hold.") {
		return nil
	}
	if len(args) < 2 {
		return Usagef("groups and what to set are required")
	}
	groups := strings.Split(args[0], ",")
	snap := s.DB.Snapshot()
	for _, g := range groups {
		if _, found := slices.BinarySearch(snap.Groups(), g); !found {
			return fmt.Errorf("Could not find an object named '%s' of type 'group'.", g)
		}
	}
	sets, conds, err := parseSets(s, args[1:])
	if err != nil {
		return err
	}
	if len(conds) > 0 {
		return Usagef("nodegrpch takes no conditions")
	}
	if slices.ContainsFunc(sets, func(c nodeSet) bool { return c.t.Name == "nodelist" && c.c.Name == "groups" }) {
		return errors.New("Group membership is not changeable via nodegrpch")
	}
	if slices.ContainsFunc(sets, func(c nodeSet) bool { return c.t.Name == "nodelist" }) {
		return errors.New("nodelist has no rows of groups")
	}
	err = s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		e := nodedb.Edit(tx)
		for _, g := range groups {
			if err := setNode(e, g, sets, false); err != nil {
				return err
			}
			if err := clearMembers(e, tx.Snapshot().Members(g), sets); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		warnNodes(s, membersOf(s, groups), sets)
	}
	return plain(err)
}

// clearMembers takes the columns out of the members' own rows.
func clearMembers(e *nodedb.Editor, nodes []*nodedb.Node, sets []nodeSet) error {
	for _, n := range nodes {
		for _, c := range sets {
			rows := e.Find(c.t, map[string]string{c.t.Keys[0]: n.Name})
			if len(rows) == 0 || rows[0].Get(c.t, c.c.Name) == "" {
				continue
			}
			values := slices.Clone(rows[0].Values)
			values[c.t.Index(c.c.Name)] = ""
			if err := e.PutRow(c.t, &rows[0], values); err != nil {
				return err
			}
		}
	}
	return nil
}
