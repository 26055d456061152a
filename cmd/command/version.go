package command

import (
	"context"
)

var versionCmd = &Command{
	Name:  "version",
	Short: "print the daemon's version",
	Group: GroupMargay,
	Run: func(_ context.Context, s *Session, _ []string) error {
		s.Line("margay %s", s.Version)
		return nil
	},
}
