package command

import (
	"context"
	"strings"

	"github.com/spf13/pflag"

	"margay/provision"
)

var mknbCmd = &Command{
	Name:  "mknb",
	Usage: "arch [--root dir] [--with program]... [--memtest] [--from dir]",
	Short: "make the small system that nodeset's shell, runcmd and runimage load",
	Long: `Make the small system that nodes load for shell, runcmd, runimage, standby,
reboot and shutdown, below <installdir>/genesis/<arch>: a kernel, its drivers and
busybox of a root, which is the server's own unless another is given. Programs
named with --with go into it with the libraries they need; dropbear among them
lets the keys of site.sshkeys log in.

With --memtest take memtest86+ instead, which nodeset's memtest loads.`,
	Group: GroupBoot,
	Flags: func(f *pflag.FlagSet) {
		f.String("root", "/", "directory of a root that has a kernel in /boot, its modules and busybox")
		f.StringArray("with", nil, "a further program; may be repeated")
		f.Bool("memtest", false, "take memtest86+")
		f.String("from", "/boot", "directory with memtest86+x64.bin and memtest86+x64.efi")
		f.BoolP("configfileonly", "c", false, "accepted for xCAT's sake: there are no configuration files to write")
	},
	Complete: func(*Session, []string, string) []string { return []string{"x86_64", "aarch64", "ppc64le"} },
	Run:      mknb,
}

func mknb(ctx context.Context, s *Session, args []string) error {
	if len(args) != 1 {
		return Usagef("name one architecture: x86_64, aarch64 or ppc64le")
	}
	if s.Bool("configfileonly") {
		return nil
	}
	if s.Bool("memtest") {
		took, err := s.Service.Memtest(args[0], s.Path(s.String("from")))
		if err == nil {
			s.Line("%s for %s machines", strings.Join(took, " and "), args[0])
		}
		return err
	}
	return s.Service.Workimage(ctx, args[0], provision.ImageBuild{
		Root: s.Path(s.String("root")),
		With: strings.FieldsFunc(strings.Join(s.Strings("with"), ","), func(c rune) bool { return c == ',' || c == ' ' }),
		Say: func(format string, args ...any) {
			s.Line(format, args...)
			s.Flush()
		},
	})
}
