package command

import (
	"context"
	"errors"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/vm"
)

var clonevmCmd = &Command{
	Name:  "clonevm",
	Usage: "node -t master | -b master noderange [-d]",
	Short: "make a master of a guest, or guests of a master",
	Long: `Make a master of a guest (-t), or guests of a master (-b). Clones share the
master's disks unless -d is given. On a host without vCenter the disks are
copied by the host itself; a guest that becomes a master must be off there.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.StringP("target", "t", "", "name of the master to make")
		f.StringP("base", "b", "", "name of the master to clone")
		f.BoolP("detached", "d", false, "copy the disks, sharing nothing with the master")
		f.BoolP("force", "f", false, "accepted for xCAT's sake")
		f.Bool("specialize", false, "make each a machine of its own by vCenter: Windows by sysprep, Linux by its name")
		f.Bool("dry-run", false, "say what would be done")
	},
	Run: clonevm,
}

func clonevm(ctx context.Context, s *Session, args []string) error {
	target, base := s.String("target"), s.String("base")
	switch {
	case target != "" && base != "":
		return errors.New("Cannot specify both base (-b) and target (-t)")
	case target == "" && base == "":
		return errors.New("Must specify one of base (-b) or target (-t)")
	}
	snap := s.DB.Snapshot()
	nodes, rest, err := s.guests(snap, args, "nodehm.mgt")
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	if target != "" {
		return makeMaster(ctx, s, snap, nodes, target)
	}
	return cloneMaster(ctx, s, snap, nodes, base)
}

func makeMaster(ctx context.Context, s *Session, snap *nodedb.Snapshot, nodes []*nodedb.Node, target string) error {
	if len(nodes) > 1 {
		return errors.New("Cannot specify mulitple nodes to create a master from") // xCAT's spelling
	}
	emit, flush := s.emit(ctx)
	for _, n := range nodes {
		s.Guests.MakeMaster(ctx, snap, n, vm.MasterRequest{Target: target, Who: s.Req.User, DryRun: s.Bool("dry-run")}, emit)
	}
	return flush()
}

func cloneMaster(ctx context.Context, s *Session, snap *nodedb.Snapshot, nodes []*nodedb.Node, base string) error {
	nics, err := vm.MasterNICs(snap, base)
	if err != nil {
		return err
	}
	dry := s.Bool("dry-run")
	if !dry {
		if nodes, err = s.allocate(ctx, nodes, func(*nodedb.Node) (int, error) { return nics, nil }); err != nil {
			return err
		}
	}
	emit, flush := s.emit(ctx)
	s.Guests.Clone(ctx, s.DB.Snapshot(), nodes, vm.CloneRequest{Base: base, Full: s.Bool("detached"), Specialize: s.Bool("specialize"), DryRun: dry}, emit)
	return flush()
}
