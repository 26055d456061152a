package command

import (
	"context"

	"github.com/spf13/pflag"
)

var rmhypervisorCmd = &Command{
	Name:  "rmhypervisor",
	Usage: "noderange [-f] [--dry-run]",
	Short: "take hosts out of their vCenter",
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("force", "f", false, "the host is dead: leave maintenance mode out")
		dryRunFlag(f)
	},
	Run: rmhypervisor,
}

func rmhypervisor(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	hosts, rest, err := s.hypervisors(snap, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	emit, flush := s.emit(ctx)
	s.Guests.RemoveHosts(ctx, snap, hosts, s.Bool("force"), s.Bool("dry-run"), emit)
	return flush()
}
