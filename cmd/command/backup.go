package command

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/pflag"
)

var backupCmd = &Command{
	Name:  "backup",
	Usage: "file [--no-key]",
	Short: "write the whole table into a file on the server, while it serves",
	Long: `Write the whole table as it is at one moment into a file on the server: tables,
leases, attempts, history. margay restore reads it back. Passwords in it are
sealed, and the key is in it too, so keep it as you keep the state directory;
with --no-key it is of use only together with seal.key of this state directory.

Install trees are not in it: they come from media, with copycds.`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.Bool("no-key", false, "leave the sealing key out")
	},
	Run: backup,
}

func backup(ctx context.Context, s *Session, args []string) error {
	if len(args) != 1 {
		return Usagef("one file")
	}
	if s.remote() {
		return errors.New("the file is one of the server: run this there")
	}
	if s.Backup == nil {
		return errors.New("this server makes no backups")
	}
	s.settleAudit(ctx, "auditlog")
	n := 0
	err := writeWhole(s.Path(args[0]), func(f *os.File) (err error) {
		n, err = s.Backup(ctx, io.Writer(f), !s.Bool("no-key"))
		return err
	})
	if err != nil {
		return err
	}
	s.Line("%d records in %s", n, s.Path(args[0]))
	return nil
}
