package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/vm"
)

var rmvmCmd = &Command{
	Name:  "rmvm",
	Usage: "noderange [-p] [-f]",
	Short: "remove guests from their hosts",
	Long: `Remove guests from their hosts. Their files stay, and mkvm takes them up
again, unless -p is given. Disks that others use, or that lie outside the
guest's own folder, are kept even then.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("purge", "p", false, "delete their files too")
		f.BoolP("force", "f", false, "turn them off first")
		f.Bool("dry-run", false, "say what would be done")
		yesFlag(f)
	},
	Run: rmvm,
}

func rmvm(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, rest, err := s.guests(snap, args, "nodehm.mgt")
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	req := vm.RemoveRequest{Purge: s.Bool("purge"), Force: s.Bool("force"), DryRun: s.Bool("dry-run")}
	if req.Purge && !req.DryRun {
		if err := s.Confirm(len(nodes), "delete guests with their disks"); err != nil {
			return err
		}
	}
	emit, flush := s.emit(ctx)
	s.Guests.Remove(ctx, snap, nodes, req, emit)
	return flush()
}
