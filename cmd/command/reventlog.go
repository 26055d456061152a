package command

import (
	"context"

	"margay/provision/bmc"
)

var reventlogCmd = &Command{
	Name:  "reventlog",
	Usage: "noderange [number|all|clear]",
	Short: "show or clear the event logs of machines",
	Long: `Show the event logs of machines, newest entry first: all of it (the default), or
the given number of entries. clear empties them.`,
	Group:    GroupPower,
	Complete: rangeThen("all", "clear"),
	Run:      reventlog,
}

func reventlog(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	word := ""
	switch len(words) {
	case 0:
	case 1:
		word = words[0]
	default:
		return Usagef("a number, all or clear is wanted after the noderange")
	}
	count, clear, err := bmc.ParseEventArg(word)
	if err != nil {
		return err
	}
	targets := s.metalOnly(snap, nodes)
	if clear {
		metal(ctx, s, snap, targets, func(ctx context.Context, _ bmc.Target, m bmc.Controller) (struct{}, error) {
			return struct{}{}, m.ClearEvents(ctx)
		}, func(t bmc.Target, _ struct{}) { s.Node(t.Node, "clear") })
		return nil
	}
	metal(ctx, s, snap, targets, func(ctx context.Context, _ bmc.Target, m bmc.Controller) ([]bmc.Event, error) {
		return m.Events(ctx, count)
	}, func(t bmc.Target, events []bmc.Event) {
		if len(events) == 0 {
			s.Node(t.Node, "no SEL entries")
		}
		for _, e := range events {
			s.Node(t.Node, "%s", e)
		}
	})
	return nil
}
