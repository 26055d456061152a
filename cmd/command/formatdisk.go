package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/vm"
)

var formatdiskCmd = &Command{
	Name:  "formatdisk",
	Usage: "noderange --id disk --name datastore [--dry-run]",
	Short: "make a VMFS datastore of a free disk",
	Long: `Make a VMFS datastore of a free disk of a host. No other command ever puts a
file system on a disk. --id is what follows "naa." in the disk's name.`,
	Group: GroupGuest,
	Flags: func(f *pflag.FlagSet) {
		f.String("id", "", "the disk")
		f.String("name", "", "name of the datastore")
		dryRunFlag(f)
	},
	Run: formatdisk,
}

func formatdisk(ctx context.Context, s *Session, args []string) error {
	if s.String("id") == "" || s.String("name") == "" {
		return Usagef("--id and --name are required")
	}
	return eachHost(ctx, s, args, vm.FormatDisk(s.String("id"), s.String("name")))
}
