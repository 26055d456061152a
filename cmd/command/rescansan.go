package command

import (
	"context"

	"margay/vm"
)

var rescansanCmd = &Command{
	Name:  "rescansan",
	Usage: "noderange [--dry-run]",
	Short: "have hosts look for new storage",
	Group: GroupGuest,
	Flags: dryRunFlag,
	Run: func(ctx context.Context, s *Session, args []string) error {
		return eachHost(ctx, s, args, vm.Rescan())
	},
}
