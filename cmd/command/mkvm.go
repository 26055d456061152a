package command

import (
	"context"
	"crypto/rand"
	"errors"
	"io"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/vm"
)

var mkvmCmd = &Command{
	Name:  "mkvm",
	Usage: "noderange [-s size[,size...]] [--mem size] [--cpus n] [--image image]",
	Short: "make guests on their hosts",
	Long: `Make guests on their hosts. The host is vmhost, the disks go to vmstorage,
the network cards to vmnics; datastores are mounted and networks made where
the host lacks them. A guest whose files are there still is taken up again as
it was. Without -s there is one disk of 4G; "-s none" makes none.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.StringP("size", "s", "", "sizes of the disks, in G unless K, M, G or T is behind them")
		f.String("mem", "", "memory, in M unless a unit is behind it")
		f.String("cpus", "", "number of processors")
		f.String("format", "", "thin, zeroedthick or eagerzeroedthick")
		f.String("image", "", "image to copy the disks from; -s makes them larger, or adds more")
		f.Bool("linked", false, "with --image: disks hold only what differs from the image's")
		seedFlags(f)
		f.Bool("dry-run", false, "say what would be done")
	},
	Run: mkvm,
}

func randomBytes() io.Reader { return rand.Reader }

func mkvm(ctx context.Context, s *Session, args []string) error {
	nodes, rest, err := s.guests(s.DB.Snapshot(), args, "nodehm.mgt")
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("Invalid arguments:  %s", rest[0])
	}
	req := vm.MakeRequest{Sizes: s.String("size"), Memory: s.String("mem"), CPUs: s.String("cpus"), Format: s.String("format"), DryRun: s.Bool("dry-run")}
	if name := s.String("image"); name != "" {
		if req.From, err = s.repository(); err != nil {
			return err
		}
		if req.Image, err = req.From.Image(name); err != nil {
			return err
		}
	}
	if req.Linked = s.Bool("linked"); req.Linked && req.Image == nil {
		return Usagef("--linked wants --image")
	}
	if !req.DryRun {
		nodes, err = s.allocate(ctx, nodes, func(n *nodedb.Node) (int, error) {
			nets, err := vm.ParseNetworks(n.VMNICs)
			return max(1, len(nets)), err
		})
		if err != nil {
			return err
		}
	}
	seeds, err := s.seeder()
	if err != nil {
		return err
	}
	emit, flush := s.emit(ctx)
	made := newSuccess(emit)
	s.Guests.Make(ctx, s.DB.Snapshot(), nodes, req, made.emit)
	if seeds != nil && !req.DryRun {
		err = s.seedAll(ctx, made.of(nodes), seeds)
	}
	return errors.Join(err, flush())
}
