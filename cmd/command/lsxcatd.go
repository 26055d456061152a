package command

import (
	"context"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

var lsxcatdCmd = &Command{
	Name:  "lsxcatd",
	Usage: "[-v | -d | -t | -a]",
	Short: "say what the daemon is: its version, its table, what kind of server",
	Group: GroupTable,
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("version", "v", false, "the version")
		f.BoolP("database", "d", false, "the table")
		f.BoolP("nodetype", "t", false, "the kind of server")
		f.BoolP("all", "a", false, "all of it")
	},
	Run: lsxcatd,
}

func lsxcatd(_ context.Context, s *Session, args []string) error {
	all := s.Bool("all")
	if len(args) > 0 || !all && !s.Bool("version") && !s.Bool("database") && !s.Bool("nodetype") {
		return Usagef("one of -v, -d, -t and -a is required")
	}
	snap := s.DB.Snapshot()
	if all || s.Bool("version") {
		s.Line("Version %s", s.Version)
	}
	if all || s.Bool("nodetype") {
		s.Line("This is a Management Node")
	}
	if all || s.Bool("database") {
		for _, word := range [...]struct{ name, value string }{
			{"cfgloc", s.Store.Where}, {"dbengine", s.Store.Engine}, {"dbname", s.Store.Name}, {"dbhost", s.Store.Host}, {"dbadmin", s.Store.Admin},
		} {
			if word.value != "" {
				s.Line("%s=%s", word.name, word.value)
			}
		}
		s.Line("tables=%d", len(nodedb.Tables()))
		s.Line("nodes=%d", len(snap.Nodes()))
		s.Line("revision=%d", snap.Rev())
		if err := s.DB.Err(); err != nil {
			s.Warn("the table is not being followed: %v", err)
		}
	}
	return nil
}
