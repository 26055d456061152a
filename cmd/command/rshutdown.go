package command

import (
	"context"

	"margay/vm"
)

var rshutdownCmd = &Command{
	Name:  "rshutdown",
	Usage: "noderange [--dry-run]",
	Short: "put hosts into maintenance mode and turn them off",
	Group: GroupGuest,
	Flags: dryRunFlag,
	Run: func(ctx context.Context, s *Session, args []string) error {
		return eachHost(ctx, s, args, vm.ShutdownHost())
	},
}
