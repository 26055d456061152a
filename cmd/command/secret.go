package command

import (
	"errors"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

// revealFlag is for commands that show values of secret columns.
func revealFlag(fs *pflag.FlagSet) {
	fs.Bool("reveal", false, "show passwords, which are ****** otherwise; on the server only")
}

// mayReveal refuses --reveal from afar. At the daemon's own socket are root and
// the daemon's user alone.
func (s *Session) mayReveal() error {
	if s.Bool("reveal") && s.remote() {
		return errors.New("--reveal: passwords are shown on the server only; run this there")
	}
	return nil
}

// A secretForm is how a listing shows a secret of a record.
type secretForm func(k nodedb.Key, column, v string) string

func hidden(nodedb.Key, string, string) string { return nodedb.Hidden }

// secretForm is hidden unless --reveal was given; nil: as it is. The command
// declares the flag by revealFlag.
func (s *Session) secretForm() secretForm {
	if s.Bool("reveal") && !s.remote() {
		return nil
	}
	return hidden
}

// dumpForm is what a dump shows: sealed, unless --reveal was given.
func (s *Session) dumpForm() secretForm {
	if s.secretForm() == nil {
		return nil
	}
	return s.DB.Sealed
}

// show is a value of a column in the form.
func (f secretForm) show(k nodedb.Key, column, v string) string {
	if f == nil || v == "" || !k.IsSecret(column) {
		return v
	}
	return f(k, column, v)
}

// remote reports whether the client's files are not the daemon's.
func (s *Session) remote() bool { return s.Req.From != "unix" }
