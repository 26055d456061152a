package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

var undoCmd = &Command{
	Name:  "undo",
	Usage: "[table | change] [--dry-run] [--yes]",
	Short: "take back the last change, or the last of a table, or the one that is named",
	Long: `Take back what a command changed, all of it: the last one, the last that
touched a table, or the one that is named as margay history names it. Called
again, it takes back the one before. An undo is taken back by its own name.

It is refused, and nothing is changed, if any of what the command changed was
changed again since.`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) { safetyFlags(f) },
	Run:   undo,
	Complete: func(s *Session, args []string, word string) []string {
		return completeTable(s, args, word)
	},
}

func undo(ctx context.Context, s *Session, args []string) error {
	if len(args) > 1 {
		return Usagef("%q is not wanted", args[1])
	}
	snap := s.DB.Snapshot()
	run, err := undoTarget(snap, args)
	if err != nil {
		return err
	}
	what, count := "", 0
	for _, p := range snap.History() {
		if p.Run == run {
			what, count = pastLine(p), count+p.Count
		}
	}
	if err := s.Confirm(count, "take back a change of records"); err != nil {
		return err
	}
	err = s.Update(nodedb.CauseUndoing(ctx, run), func(tx *nodedb.Tx) error { return tx.Undo(run) })
	var changed *nodedb.ChangedError
	if errors.As(err, &changed) {
		return fmt.Errorf("%v; %s cannot be taken back whole, and nothing was changed", err, run)
	}
	if err != nil {
		return plain(err)
	}
	s.Line("Taken back: %s", what)
	return nil
}

// undoTarget is the run that is to be taken back.
func undoTarget(snap *nodedb.Snapshot, args []string) (string, error) {
	table := ""
	if len(args) == 1 {
		if nodedb.TableByName(args[0]) == nil {
			return args[0], nil
		}
		table = args[0]
	}
	run := snap.Takeable(table)
	switch {
	case run == "" && table != "":
		return "", fmt.Errorf("no change of %s is left to be taken back", table)
	case run == "":
		return "", errors.New("no change is left to be taken back")
	}
	return run, nil
}
