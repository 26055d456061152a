package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

// safetyFlags are those of a command that takes things away: --yes and
// --dry-run.
func safetyFlags(fs *pflag.FlagSet) {
	yesFlag(fs)
	fs.Bool("dry-run", false, "show what would change, and change nothing")
}

// yesFlag is for commands that call Confirm.
func yesFlag(fs *pflag.FlagSet) {
	fs.Bool("yes", false, "do not ask, however many it is for")
}

// mostWithoutYes is how many nodes a command may take something from without
// being told twice, unless site.maxwithoutyes says another number.
const mostWithoutYes = 100

// Confirm returns nil if a command may do what it is about to do to n nodes:
// n is small, or --yes was given, or an operator at a terminal says so. What
// says it, as "remove nodes". The command declares --yes by yesFlag
// or safetyFlags.
func (s *Session) Confirm(n int, what string) error {
	limit := mostWithoutYes
	if v, err := strconv.Atoi(s.DB.Snapshot().Site("maxwithoutyes")); err == nil {
		limit = v
	}
	if limit <= 0 || n <= limit || s.Bool("yes") || s.Bool("dry-run") {
		return nil
	}
	if s.Req.TTY {
		s.ErrLine("%s: %d at once. Type %d to go on:", what, n, n)
		s.Flush()
		answer, _ := bufio.NewReader(s.Conn).ReadString('\n')
		if answer = strings.TrimSpace(answer); answer == strconv.Itoa(n) || answer == "yes" {
			return nil
		}
		return errors.New("nothing was done")
	}
	return fmt.Errorf("%s: %d at once; more than %d want --yes, and site.maxwithoutyes sets that number", what, n, limit)
}

// errDry ends a transaction that was only to be shown.
var errDry = errors.New("dry run")

// Update changes the table, or with --dry-run shows what would change and
// returns errDry, which Run takes for no error.
func (s *Session) Update(ctx context.Context, fn func(*nodedb.Tx) error) error {
	if !s.Bool("dry-run") {
		return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
			err := fn(tx)
			s.Conn.Yield() // the rest is waiting
			return err
		})
	}
	var diffs []nodedb.Diff
	err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		list, err := tx.Diffs()
		if err != nil {
			return err
		}
		diffs = list
		return errDry
	})
	if errors.Is(err, errDry) {
		s.printDiffs(diffs, "")
		s.Line("Dry run: nothing was changed.")
	}
	return err
}

// printDiffs prints what became of records, or is to, but for our own.
func (s *Session) printDiffs(diffs []nodedb.Diff, indent string) {
	var b strings.Builder
	for _, d := range diffs {
		if !d.Kind.Private() {
			writeDiff(&b, d, indent, hidden)
		}
	}
	s.Text(b.String())
}

// writeDiff writes a line for each value that goes and each that comes.
func writeDiff(b *strings.Builder, d nodedb.Diff, indent string, form secretForm) {
	name := keyLabel(d.Key)
	for _, c := range d.Columns {
		if strings.HasSuffix(c.Column, ".") {
			continue // a row without values
		}
		if c.Old != "" {
			fmt.Fprintf(b, "%s%s: -%s=%s\n", indent, name, c.Column, form.show(d.Key, c.Column, c.Old))
		}
		if c.New != "" {
			fmt.Fprintf(b, "%s%s: +%s=%s\n", indent, name, c.Column, form.show(d.Key, c.Column, c.New))
		}
	}
	if len(d.Columns) == 0 || d.Gone {
		fmt.Fprintf(b, "%s%s: %s\n", indent, name, map[bool]string{true: "removed", false: "made"}[d.Gone])
	}
}

// keyLabel is how a record is called in a listing: a node by its name, all
// else with what it is.
func keyLabel(k nodedb.Key) string {
	if k.Kind == nodedb.KindNode {
		return k.Name
	}
	return string(k.Kind) + " " + strings.ReplaceAll(k.Name, nodedb.KeySep, ",")
}
