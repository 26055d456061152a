package command

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

const tabdumpUsage = "[-d] [-w attr==val ...] [-n count] [-f file] [--sealed | --reveal] [table]"

var tabdumpCmd = &Command{
	Name:  "tabdump",
	Usage: tabdumpUsage,
	Short: "print a table as CSV, or the names of all tables",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		tableFlags(fs)
		fs.BoolP("description", "d", false, "describe the tables, or the columns of one")
		fs.StringArrayP("where", "w", nil, "only rows that meet the condition: ==, !=, >, >=, <, <=, =~ and !~ with % and _ as in SQL's LIKE")
		fs.IntP("number", "n", 0, "only the last entries of auditlog or eventlog")
		fs.StringP("file", "f", "", "write to a file on the server, passwords sealed")
		fs.Bool("sealed", false, "with passwords sealed, as tabrestore takes them on this server")
		revealFlag(fs)
	},
	Run:      tabdump,
	Complete: completeTable,
}

func tabdump(ctx context.Context, s *Session, args []string) error {
	if answered(s, "tabdump "+tabdumpUsage, "Prints a table as tabrestore reads it. Without a table, the names of all tables.\nPasswords are shown as ******; a row that gets that back keeps the password it has.") {
		return nil
	}
	if err := s.mayReveal(); err != nil {
		return err
	}
	if len(args) > 1 {
		return Usagef("one table at a time")
	}
	if len(args) == 0 {
		return listTables(s)
	}
	t := nodedb.TableByName(args[0])
	if t == nil && s.Bool("description") {
		return fmt.Errorf("table %s does not exist.", args[0])
	}
	if t == nil {
		return fmt.Errorf("No such table: %s", args[0])
	}
	if s.Bool("description") {
		describeTable(s, t)
		return nil
	}
	s.settleAudit(ctx, t.Name)
	name := s.String("file")
	if name == "" && !s.Flags.Changed("where") && !s.Flags.Changed("number") && !hasSecrets(t) {
		if s.DB.Snapshot().CSV(t, s.Text) {
			return nil
		}
	}
	rows, err := chosenRows(s, t)
	if err != nil {
		return err
	}
	form := s.secretForm()
	if name != "" || s.Bool("sealed") {
		form = s.dumpForm()
	}
	var b strings.Builder
	if err := nodedb.WriteCSV(&b, t, form.rows(t, rows)); err != nil {
		return err
	}
	if name != "" {
		if s.remote() {
			return Usagef("from afar, redirect the output in place of -f")
		}
		return os.WriteFile(s.Path(name), []byte(b.String()), 0o600)
	}
	s.Text(b.String())
	return nil
}

func completeTable(s *Session, args []string, word string) []string {
	var names []string
	for _, t := range nodedb.Tables() {
		if len(args) == 0 && strings.HasPrefix(t.Name, word) {
			names = append(names, t.Name)
		}
	}
	return names
}

func listTables(s *Session) error {
	for _, t := range nodedb.Tables() {
		if s.Bool("description") {
			s.Line("%s:%s%s", t.Name, descTab(t.Name), t.Desc)
			continue
		}
		s.Line("%s", t.Name)
	}
	return nil
}

func describeTable(s *Session, t *nodedb.Table) {
	for _, c := range t.Columns {
		s.Line("%s:%s%s", c.Name, descTab(c.Name), c.Desc)
		if t.Name == "site" && c.Name == "key" {
			for _, k := range nodedb.SiteKeys() {
				s.Line(" %s:\t%s", k.Name, k.Desc)
			}
		}
	}
}

// chosenRows are the rows that -w and -n leave.
func chosenRows(s *Session, t *nodedb.Table) ([]nodedb.Row, error) {
	var tests []func(nodedb.Row) bool
	for _, w := range s.Strings("where") {
		test, err := rowTest(t, w)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	rows := s.DB.Snapshot().Rows(t)
	if len(tests) > 0 {
		rows = slices.DeleteFunc(rows, func(r nodedb.Row) bool {
			return slices.ContainsFunc(tests, func(test func(nodedb.Row) bool) bool { return !test(r) })
		})
	}
	if n, _ := s.Flags.GetInt("number"); s.Flags.Changed("number") {
		if t.Name != "auditlog" && t.Name != "eventlog" || n < 0 {
			return nil, Usagef("-n takes a number and auditlog or eventlog")
		}
		rows = rows[max(0, len(rows)-n):]
	}
	return rows, nil
}

// rowTest makes a test of a condition such as groups=~comput%.
func rowTest(t *nodedb.Table, where string) (func(nodedb.Row) bool, error) {
	i := strings.IndexAny(where, "=!<>")
	if i <= 0 {
		return nil, fmt.Errorf("Incorrect selection string specified with -w flag.")
	}
	column, rest := where[:i], where[i:]
	at := t.Index(column)
	if at < 0 {
		return nil, noColumn(t, column)
	}
	for _, op := range []string{"==", "!=", "=~", "!~", ">=", "<=", ">", "<", "="} {
		if value, ok := strings.CutPrefix(rest, op); ok {
			test := valueTest(op, value)
			return func(r nodedb.Row) bool { return r.Values[at] != "" && test(r.Values[at]) }, nil
		}
	}
	return nil, fmt.Errorf("Incorrect selection string specified with -w flag.")
}

func valueTest(op, want string) func(string) bool {
	switch op {
	case "!=":
		return func(v string) bool { return v != want }
	case "=~":
		return func(v string) bool { return like(v, want) }
	case "!~":
		return func(v string) bool { return !like(v, want) }
	case ">":
		return func(v string) bool { return order(v, want) > 0 }
	case ">=":
		return func(v string) bool { return order(v, want) >= 0 }
	case "<":
		return func(v string) bool { return order(v, want) < 0 }
	case "<=":
		return func(v string) bool { return order(v, want) <= 0 }
	}
	return func(v string) bool { return v == want }
}

// order compares numbers as numbers, all else as text.
func order(a, b string) int {
	x, errx := strconv.ParseFloat(a, 64)
	y, erry := strconv.ParseFloat(b, 64)
	if errx == nil && erry == nil {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	return strings.Compare(a, b)
}

// like matches as SQL's LIKE does: % is any text, _ any character. It takes
// time in proportion to the product of the lengths at worst.
func like(text, pattern string) bool {
	t, p := []rune(text), []rune(pattern)
	i, j, star, mark := 0, 0, -1, 0
	for i < len(t) {
		switch {
		case j < len(p) && p[j] == '%':
			star, mark = j, i
			j++
		case j < len(p) && (p[j] == '_' || p[j] == t[i]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j] == '%' {
		j++
	}
	return j == len(p)
}
