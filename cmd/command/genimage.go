package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
)

var genimageCmd = &Command{
	Name:  "genimage",
	Usage: "[--mirror url] [--root dir] osimage",
	Short: "make the image that nodes without a disk boot",
	Long: `Make the image that nodes without a disk boot: kernel, initial RAM disk and a
root that is fetched by HTTP, below <installdir>/netboot/<os>/<arch>/<profile>.

The root is made with debootstrap from the osimage's pkgdir, if that is a
mirror's address, or from the install tree of its medium; packages are those of
its pkglist. With --root a root that is there already is packed instead. Nodes
that boot meanwhile get the image that was there before.`,
	Group: GroupBoot,
	Flags: func(f *pflag.FlagSet) {
		f.String("mirror", "", "address of the distribution's packages, in place of pkgdir")
		f.String("root", "", "directory with a root that is to be packed as it is")
	},
	Complete: func(s *Session, _ []string, _ string) []string {
		var names []string
		for _, img := range s.DB.Snapshot().Images() {
			if img.ProvMethod == string(nodedb.ModeNetboot) {
				names = append(names, img.Name)
			}
		}
		return names
	},
	Run: genimage,
}

func genimage(ctx context.Context, s *Session, args []string) error {
	if len(args) != 1 {
		return Usagef("name one osimage")
	}
	b := provision.ImageBuild{
		Mirror: s.String("mirror"),
		Say: func(format string, args ...any) {
			s.Line(format, args...)
			s.Flush()
		},
	}
	if dir := s.String("root"); dir != "" {
		b.Root = s.Path(dir)
	}
	return s.Service.Genimage(ctx, args[0], b)
}
