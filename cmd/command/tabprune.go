package command

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

const tabpruneUsage = "auditlog|eventlog [-V] -a | -n count | -i recid | -p percent | -d days"

var tabpruneCmd = &Command{
	Name:  "tabprune",
	Usage: tabpruneUsage,
	Short: "remove old entries of auditlog or eventlog",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		tableFlags(fs)
		fs.BoolP("all", "a", false, "remove all entries")
		fs.IntP("number", "n", 0, "remove so many of the oldest")
		fs.IntP("record", "i", 0, "remove the entries before this recid")
		fs.IntP("percent", "p", 0, "remove this percentage, the oldest")
		fs.IntP("days", "d", 0, "remove the entries that are older than so many days")
		fs.BoolP("verbose", "V", false, "print the entries that are removed, as tabdump does")
	},
	Run: tabprune,
	Complete: func(s *Session, args []string, word string) []string {
		return withPrefix([]string{"auditlog", "eventlog"}, word)
	},
}

func tabprune(ctx context.Context, s *Session, args []string) error {
	if answered(s, "tabprune "+tabpruneUsage, "Removes old entries of a log. The auditlog keeps its newest in any case: 10000 or site.auditlogmax of commands that change something, 10000 or site.auditreadsmax of those that only look.") {
		return nil
	}
	if len(args) != 1 || args[0] != "auditlog" && args[0] != "eventlog" {
		return Usagef("Table name eventlog or auditlog required.")
	}
	s.settleAudit(ctx, args[0])
	t := nodedb.TableByName(args[0])
	choose, err := pruneRule(s, t)
	if err != nil {
		return err
	}
	var gone []nodedb.Row
	err = s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		e := nodedb.Edit(tx)
		gone = choose(e.Rows(t))
		for _, row := range gone {
			e.DeleteRow(t, row)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !s.Bool("verbose") {
		s.Line("tabprune of %s complete.", t.Name)
		return nil
	}
	var b strings.Builder
	if err := nodedb.WriteCSV(&b, t, gone); err != nil {
		return err
	}
	s.Text(b.String())
	return nil
}

// pruneRule returns which of the rows, the oldest first, are to go.
func pruneRule(s *Session, t *nodedb.Table) (func([]nodedb.Row) []nodedb.Row, error) {
	given := 0
	for _, name := range []string{"all", "number", "record", "percent", "days"} {
		if s.Flags.Changed(name) {
			given++
		}
	}
	switch {
	case given == 0:
		return nil, Usagef("One option -p or -i or -n or -a or -d must be supplied.")
	case given > 1:
		return nil, Usagef("Only one option -p or -i or -n or -a or -d maybe used at a time.")
	}
	if s.Bool("all") {
		return func(rows []nodedb.Row) []nodedb.Row { return rows }, nil
	}
	for name, rule := range map[string]func(nodes []nodedb.Row, n int) []nodedb.Row{
		"number":  func(rows []nodedb.Row, n int) []nodedb.Row { return rows[:min(n, len(rows))] },
		"percent": func(rows []nodedb.Row, n int) []nodedb.Row { return rows[:len(rows)*min(n, 100)/100] },
		"record": func(rows []nodedb.Row, n int) []nodedb.Row {
			return before(rows, func(r nodedb.Row) bool { id, err := strconv.Atoi(r.Values[0]); return err == nil && id < n })
		},
		"days": func(rows []nodedb.Row, n int) []nodedb.Row {
			from := time.Now().AddDate(0, 0, -n).Format("2006-01-02 15:04:05")
			return before(rows, func(r nodedb.Row) bool { return r.Values[1] < from })
		},
	} {
		n, _ := s.Flags.GetInt(name)
		if !s.Flags.Changed(name) {
			continue
		}
		if n < 0 {
			return nil, fmt.Errorf("--%s %d: not a number to prune by", name, n)
		}
		return func(rows []nodedb.Row) []nodedb.Row { return rule(rows, n) }, nil
	}
	return nil, nil
}

// before returns the rows that are old.
func before(rows []nodedb.Row, old func(nodedb.Row) bool) []nodedb.Row {
	var out []nodedb.Row
	for _, r := range rows {
		if old(r) {
			out = append(out, r)
		}
	}
	return out
}
