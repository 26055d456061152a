package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/vm"
)

var snapshotCmd = &Command{
	Name:  "snapshot",
	Usage: "noderange ls | take name | revert [name] | rm name | rm --all",
	Short: "take snapshots of guests, and go back to them",
	Long: `Take snapshots of guests, and go back to them.

  ls        list them, each under the one that it grew from
  take      keep what the guest is now under a name; --memory keeps a running
            guest's memory too, --quiesce has VMware Tools still its file systems
  revert    make the guest what it was: the one named, else the current one. It
            runs afterwards only if its memory was kept
  rm        forget one, or --all; the guest stays what it is. With --children
            those that grew from it go too

A snapshot may also be named by its number: #3. One that guests are linked to
is not removed. Disks of guests with snapshots cannot grow.`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.String("description", "", "take: a word on it")
		f.Bool("memory", false, "take: with the memory of a guest that runs")
		f.Bool("quiesce", false, "take: file systems stilled by VMware Tools")
		f.Bool("children", false, "rm: all that grew from it too")
		f.Bool("all", false, "rm: every one")
		safetyFlags(f)
	},
	Complete: rangeThen("ls", "take", "revert", "rm"),
	Run:      snapshot,
}

func snapshot(ctx context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes, words, err := s.guests(snap, args, byMgt)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		words = []string{string(vm.SnapshotList)}
	}
	req := vm.SnapshotRequest{Word: vm.SnapshotWord(words[0]), Children: s.Bool("children"), All: s.Bool("all"), DryRun: s.Bool("dry-run"),
		SnapshotSpec: vm.SnapshotSpec{Description: s.String("description"), Memory: s.Bool("memory"), Quiesce: s.Bool("quiesce")}}
	switch most := 2; req.Word {
	case vm.SnapshotList:
		most = 1
		fallthrough
	case vm.SnapshotTake, vm.SnapshotRevert, vm.SnapshotRemove:
		if len(words) > most {
			return Usagef("Invalid arguments:  %s", words[most])
		}
	default:
		return Usagef("%q: one of ls, take, revert, rm is wanted", words[0])
	}
	if len(words) == 2 {
		req.Name = words[1]
	}
	if req.Word == vm.SnapshotRevert || req.Word == vm.SnapshotRemove {
		if err := s.Confirm(len(nodes), "snapshot "+words[0]); err != nil {
			return err
		}
	}
	emit, flush := s.emit(ctx)
	s.Guests.Snapshots(ctx, snap, nodes, req, emit)
	return flush()
}
