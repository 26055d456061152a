package command

import (
	"context"
	"errors"

	"margay/provision/bmc"
)

var rbeaconCmd = &Command{
	Name:     "rbeacon",
	Usage:    "noderange on|off",
	Short:    "turn the locator lights of machines on or off",
	Group:    GroupPower,
	Complete: rangeThen("on", "off"),
	Run:      rbeacon,
}

func rbeacon(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.Nodes(snap, args)
	if err != nil {
		return err
	}
	if len(words) != 1 || words[0] != "on" && words[0] != "off" {
		return errors.New("Only 'on' or 'off' is supported for IPMI managed nodes.") //nolint:staticcheck // xCAT's words
	}
	metal(ctx, s, snap, s.metalOnly(snap, nodes), func(ctx context.Context, _ bmc.Target, m bmc.Controller) (string, error) {
		return words[0], m.Beacon(ctx, words[0] == "on")
	}, func(t bmc.Target, word string) { s.Node(t.Node, "%s", word) })
	return nil
}
