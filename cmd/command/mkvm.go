package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/vm"
	"margay/vm/domxml"
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
		f.String("profile", "", "row of the table vmprofile whose values stand in for what the node and the command line leave open")
		f.String("xml", "", "file of further elements in libvirt's words: <devices><controller type='scsi' model='lsisas1068'/></devices>")
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
	prof, err := s.profile(s.DB.Snapshot())
	if err != nil {
		return err
	}
	req, err := mkvmRequest(s, prof)
	if err != nil {
		return err
	}
	seeds, err := s.seeder()
	if err != nil {
		return err
	}
	snap, err := s.adopt(ctx, nodes, prof, req.DryRun)
	if err != nil {
		return err
	}
	if nodes, err = s.again(snap, nodes); err != nil {
		return err
	}
	if !req.DryRun {
		nodes, err = s.allocate(ctx, nodes, func(n *nodedb.Node) (int, error) {
			nets, err := vm.ParseNetworks(n.VMNICs)
			return max(1, len(nets)), err
		})
		if err != nil {
			return err
		}
		snap = s.DB.Snapshot()
	}
	emit, flush := s.emit(ctx)
	made := newSuccess(emit)
	s.Guests.Make(ctx, snap, nodes, req, made.emit)
	if seeds != nil && !req.DryRun {
		err = s.seedAll(ctx, made.of(nodes), seeds)
	}
	return errors.Join(err, flush())
}

// mkvmRequest is what was typed, and what a profile says where nothing was.
func mkvmRequest(s *Session, prof map[string]string) (req vm.MakeRequest, err error) {
	req = vm.MakeRequest{Sizes: s.String("size"), Memory: s.String("mem"), CPUs: s.String("cpus"), Format: s.String("format"), DryRun: s.Bool("dry-run"), Linked: s.Bool("linked")}
	s.noteMemory(req.Memory)
	fill(&req.Sizes, prof["disks"])
	fill(&req.Format, prof["format"])
	image := s.String("image")
	fill(&image, prof["image"])
	if image != "" {
		if req.From, err = s.repository(); err != nil {
			return req, err
		}
		if req.Image, err = req.From.Image(image); err != nil {
			return req, err
		}
	}
	if file := s.String("xml"); file != "" {
		if s.remote() {
			return req, errors.New("--xml is a file of the server: run this there")
		}
		in, err := readInput(s, file)
		if err == nil {
			req.Fragment, err = domxml.DecodeFragment(in)
		}
		if err != nil {
			return req, fmt.Errorf("%s: %w", file, err)
		}
	}
	if req.Linked && req.Image == nil {
		return req, Usagef("--linked wants --image")
	}
	return req, nil
}
