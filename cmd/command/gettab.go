package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

const gettabUsage = "[-H] [--reveal] column=value[,column=value ...] table.column ..."

var gettabCmd = &Command{
	Name:  "gettab",
	Usage: gettabUsage,
	Short: "print columns of one row",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		tableFlags(fs)
		fs.BoolP("with-fieldname", "H", false, "with the column's name before each value")
		revealFlag(fs)
	},
	Run:      gettab,
	Complete: func(*Session, []string, string) []string { return nil },
}

func gettab(ctx context.Context, s *Session, args []string) error {
	if answered(s, "gettab "+gettabUsage, "Prints columns of the first row whose columns have the given values.") {
		return nil
	}
	if err := s.mayReveal(); err != nil {
		return err
	}
	if len(args) < 2 {
		return Usagef("which row and which columns are missing")
	}
	keys, err := parseKeys(args[0])
	if err != nil {
		return err
	}
	var lines []string
	s.settleAudit(ctx, args...)
	snap := s.DB.Snapshot()
	for _, name := range args[1:] {
		t, c, err := columnNamed(name)
		if err != nil {
			return err
		}
		for k := range keys {
			if t.Column(k) == nil {
				return fmt.Errorf("Unknown key %s to %s", k, t.Name)
			}
		}
		value := ""
		if rows := s.secretForm().rows(t, snap.Find(t, keys)); len(rows) > 0 {
			value = rows[0].Get(t, c.Name)
		}
		if len(args) > 2 || s.Bool("with-fieldname") {
			value = strings.TrimSuffix(name+": "+value, " ")
		}
		lines = append(lines, value)
	}
	for _, l := range lines {
		s.Line("%s", l)
	}
	return nil
}
