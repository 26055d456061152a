package command

import (
	"context"

	"github.com/spf13/pflag"
)

var lsvmCmd = &Command{
	Name:  "lsvm",
	Usage: "noderange [-l]",
	Short: "list the guests on hosts",
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("long", "l", false, "with state, size, file, VMware Tools, address and pending questions")
	},
	Run: lsvm,
}

func lsvm(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	hosts, rest, err := s.hypervisors(snap, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	emit, flush := s.emit(ctx)
	s.Guests.List(ctx, snap, hosts, s.Bool("long"), emit)
	return flush()
}
