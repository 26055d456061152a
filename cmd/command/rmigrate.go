package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/vm"
)

var rmigrateCmd = &Command{
	Name:  "rmigrate",
	Usage: "noderange host [-f] | noderange -s storage",
	Short: "move guests to another host or datastore",
	Long: `Move guests to another host, or with -s to another datastore, while they
run. That takes a vCenter (hostmanager of both hosts). --dry-run lists what a
move needs and what of it is there.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.StringP("storage", "s", "", "datastore to move the disks to: nfs://server/path or vmfs://datastore")
		f.BoolP("force", "f", false, "the guest's host is dead: take it up on the target")
		f.Bool("dry-run", false, "only look whether it can be done")
	},
	Run: rmigrate,
}

func rmigrate(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, rest, err := s.guests(snap, args, "nodehm.power,mgt")
	if err != nil {
		return err
	}
	req := vm.MigrateRequest{Storage: s.String("storage"), Force: s.Bool("force"), DryRun: s.Bool("dry-run")}
	if len(rest) > 0 {
		req.Target = rest[0]
	}
	if len(rest) > 1 {
		return Usagef("Unrecognized arguments %s", rest[1])
	}
	emit, flush := s.emit(ctx)
	s.Guests.Migrate(ctx, snap, nodes, req, emit)
	return flush()
}
