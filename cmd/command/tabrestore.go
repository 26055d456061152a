package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

const tabrestoreUsage = "[-a] table.csv | [-a] -t table < file"

var tabrestoreCmd = &Command{
	Name:  "tabrestore",
	Usage: tabrestoreUsage,
	Short: "put the rows of a CSV file in place of a table's",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		tableFlags(fs)
		fs.BoolP("addrows", "a", false, "add the rows to those that are there")
		fs.StringP("table", "t", "", "the table, and its rows come from standard input")
		safetyFlags(fs)
	},
	Run:      tabrestore,
	Complete: func(*Session, []string, string) []string { return nil },
}

func tabrestore(ctx context.Context, s *Session, args []string) error {
	if answered(s, "tabrestore "+tabrestoreUsage, "Reads a file as tabdump prints it. The table is the file's name up to its first dot.\nNothing is changed if a line is wrong.") {
		return nil
	}
	name, text, err := restoreInput(s, args)
	if err != nil {
		return err
	}
	t := nodedb.TableByName(name)
	if t == nil {
		return fmt.Errorf("No such table: %s", name)
	}
	rows, err := nodedb.ParseCSV(t, text)
	if err != nil {
		return plain(err)
	}
	if !s.Bool("addrows") {
		if err := s.Confirm(lostRows(s.DB.Snapshot(), t, rows), "remove rows of "+t.Name); err != nil {
			return err
		}
	}
	err = s.Update(ctx, func(tx *nodedb.Tx) error {
		return nodedb.Edit(tx).ReplaceTable(t, rows, s.Bool("addrows"))
	})
	if err != nil {
		return plain(err)
	}
	warnTable(s, t, rows)
	return nil
}

// lostRows counts the rows of a table that are not among the new ones.
func lostRows(snap *nodedb.Snapshot, t *nodedb.Table, rows [][]string) int {
	key := func(values []string) string {
		var keys []string
		for _, k := range t.Keys {
			keys = append(keys, values[t.Index(k)])
		}
		return t.KeyName(keys...)
	}
	stay := make(map[string]bool, len(rows))
	for _, values := range rows {
		stay[key(values)] = true
	}
	n := 0
	for _, row := range snap.Rows(t) {
		if !stay[key(row.Values)] {
			n++
		}
	}
	return n
}

// warnTable warns of what is doubtful about the nodes whose rows came.
func warnTable(s *Session, t *nodedb.Table, rows [][]string) {
	touched := make(map[string]bool)
	for _, c := range t.Columns {
		touchColumn(touched, t.Attr(c.Name))
	}
	if t.Name == "nodegroup" {
		warnGroups(s, s.DB.Snapshot().Groups())
	}
	if t.Name == "bootparams" || t.Name == "site" {
		printDoubts(s, statementDoubts(s.DB.Snapshot()), nil)
	}
	if !t.ByNode() || len(touched) == 0 {
		return
	}
	snap := s.DB.Snapshot()
	var nodes []string
	for _, values := range rows {
		name := values[t.Index(t.Keys[0])]
		if snap.HasNode(name) {
			nodes = append(nodes, name)
			continue
		}
		for _, n := range snap.Members(name) {
			nodes = append(nodes, n.Name)
		}
	}
	slices.Sort(nodes)
	warnDoubts(s, slices.Compact(nodes), touched)
}

// restoreInput returns the table's name and the text to read.
func restoreInput(s *Session, args []string) (table, text string, err error) {
	var in io.Reader = s.Stdin()
	table = s.String("table")
	switch {
	case table == "" && len(args) == 1 && s.remote():
		return "", "", Usagef("from afar, rows come from standard input: tabrestore -t %s < %[1]s.csv", tableOf(args[0]))
	case table == "" && len(args) == 1:
		table = tableOf(args[0])
		f, err := os.Open(s.Path(args[0]))
		if err != nil {
			return "", "", fmt.Errorf("%s: %w", args[0], pathCause(err))
		}
		defer f.Close()
		in = f
	case table == "" || len(args) > 0:
		return "", "", Usagef("one file")
	}
	b, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err == nil && len(b) > maxInput {
		err = fmt.Errorf("%s: more than %d MB", table, maxInput>>20)
	}
	return table, string(b), err
}

// tableOf is the table that a file is named for.
func tableOf(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return name
}

// pathCause is what is wrong with a file, without its name.
func pathCause(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}
