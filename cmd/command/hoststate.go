package command

import (
	"context"
	"fmt"
)

var hoststateCmd = &Command{
	Name:  "hoststate",
	Usage: "list noderange | diff node [from to] | rollback node version",
	Short: "the configurations that stateless hosts posted: list, compare, go back to one",
	Long: `A stateless host posts its configuration and gets it back at its next boot. The
last ten versions are kept: list them, show what differs between two (the last
two, if none are named), or make an older one the one that the host gets.`,
	Group: GroupBoot,
	Run:   hoststate,
	Complete: func(s *Session, args []string, word string) []string {
		if len(args) == 0 {
			return withPrefix([]string{"list", "diff", "rollback"}, word)
		}
		return s.completeRange(word)
	},
}

func hoststate(_ context.Context, s *Session, args []string) error {
	if len(args) < 2 {
		return Usagef("list, diff or rollback, and a node, are wanted")
	}
	nodes, rest, err := s.Nodes(s.DB.Snapshot(), args[1:])
	if err != nil {
		return err
	}
	if args[0] != "list" && len(nodes) != 1 {
		return Usagef("%s wants one node", args[0])
	}
	switch {
	case args[0] == "list" && len(rest) == 0:
		for _, n := range nodes {
			versions, err := s.Service.States(n.Name)
			if err != nil {
				s.NodeError(n.Name, err)
			}
			for _, v := range versions {
				s.Node(n.Name, "%s %d bytes, sha256 %s", v.ID, v.Size, v.SHA256[:16])
			}
		}
		return nil
	case args[0] == "diff" && (len(rest) == 0 || len(rest) == 2):
		return stateDiff(s, nodes[0].Name, rest)
	case args[0] == "rollback" && len(rest) == 1:
		if err := s.Service.RollbackState(nodes[0].Name, rest[0]); err != nil {
			return err
		}
		s.Node(nodes[0].Name, "gets %s back at its next boot", rest[0])
		return nil
	}
	return Usagef("%q is not understood", args)
}

func stateDiff(s *Session, node string, ids []string) error {
	if len(ids) == 0 {
		versions, err := s.Service.States(node)
		if err != nil {
			return err
		}
		if len(versions) < 2 {
			return fmt.Errorf("node %s: fewer than two versions are kept", node)
		}
		ids = []string{versions[len(versions)-2].ID, versions[len(versions)-1].ID}
	}
	text, err := s.Service.DiffStates(node, ids[0], ids[1])
	if err != nil {
		return err
	}
	s.Text(text)
	return nil
}
