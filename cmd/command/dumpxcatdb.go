package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

var dumpxCATdbCmd = &Command{
	Name:  "dumpxCATdb",
	Usage: "-p directory [-a] [-V] [--reveal]",
	Short: "write every table as CSV into a directory on the server",
	Long: `Write every table as TABLE.csv, as tabdump prints it, into a directory on the
server. restorexCATdb reads them back. Without -a the logs are left out, and the
tables that site.skiptables names.
Passwords in them are sealed with this server's key; with --reveal they are in
the clear, for another server or for xCAT. Only their owner may read the files.`,
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		dumpFlags(fs)
		fs.Bool("reveal", false, "with the passwords in the clear")
	},
	Run: dumpxCATdb,
}

var restorexCATdbCmd = &Command{
	Name:  "restorexCATdb",
	Usage: "-p directory [-a] [-V] [--dry-run] [--yes]",
	Short: "put what dumpxCATdb wrote in place of the tables",
	Long: `Read every TABLE.csv of a directory on the server, and put its rows in place of
the table's. Tables without a file stay as they are, and so do the logs without
-a. Nothing is changed if a line of any file is wrong.`,
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		dumpFlags(fs)
		safetyFlags(fs)
	},
	Run: restorexCATdb,
}

func dumpFlags(fs *pflag.FlagSet) {
	fs.StringP("path", "p", "", "the directory")
	fs.BoolP("all", "a", false, "auditlog and eventlog too")
	fs.BoolP("verbose", "V", false, "name each table")
	fs.StringP("backend", "b", "", "")
	fs.MarkHidden("backend")
}

// siteWords reads a list separated by commas or blanks.
func siteWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// logTables are tables that grow by themselves.
var logTables = []string{"auditlog", "eventlog"}

func dumpDir(s *Session, args []string) (string, error) {
	dir := s.String("path")
	if len(args) > 0 || dir == "" {
		return "", Usagef("-p and a directory are required")
	}
	if s.remote() {
		return "", errors.New("the directory is one of the server: run this there")
	}
	return s.Path(dir), nil
}

func dumpxCATdb(ctx context.Context, s *Session, args []string) error {
	dir, err := dumpDir(s, args)
	if err != nil {
		return err
	}
	s.settleAudit(ctx, "auditlog")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	snap := s.DB.Snapshot()
	left := append(siteWords(snap.Site("skiptables")), logTables...)
	for _, t := range nodedb.Tables() {
		if slices.Contains(left, t.Name) && !s.Bool("all") {
			continue
		}
		if err := dumpTable(filepath.Join(dir, t.Name+".csv"), t, s.dumpForm().rows(t, snap.Rows(t))); err != nil {
			return err
		}
		if s.Bool("verbose") {
			s.Line("%s", t.Name)
		}
	}
	s.Line("Backup Complete.")
	return nil
}

// dumpTable writes one table, whole or not at all.
func dumpTable(file string, t *nodedb.Table, rows []nodedb.Row) error {
	var b strings.Builder
	if err := nodedb.WriteCSV(&b, t, rows); err != nil {
		return err
	}
	return writeWhole(file, func(f *os.File) error {
		_, err := f.WriteString(b.String())
		return err
	})
}

// writeWhole makes a file that its owner only may read; it appears whole.
func writeWhole(file string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".margay-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// A tableFile is a table's rows from a file.
type tableFile struct {
	t    *nodedb.Table
	rows [][]string
}

func restorexCATdb(ctx context.Context, s *Session, args []string) error {
	dir, err := dumpDir(s, args)
	if err != nil {
		return err
	}
	files, err := tableFiles(s, dir)
	if err != nil {
		return err
	}
	lost := 0
	for _, f := range files {
		lost += lostRows(s.DB.Snapshot(), f.t, f.rows)
	}
	if err := s.Confirm(lost, "remove rows"); err != nil {
		return err
	}
	if err := s.Update(ctx, func(tx *nodedb.Tx) error { return replaceTables(nodedb.Edit(tx), files) }); err != nil {
		return plain(err)
	}
	s.Line("Restore of Database Complete.")
	return nil
}

// tableFiles reads the files of a directory. Files of no table are named and
// left out.
func tableFiles(s *Session, dir string) ([]tableFile, error) {
	names, err := csvFiles(dir)
	if err != nil {
		return nil, err
	}
	var files []tableFile
	for _, name := range names {
		t := nodedb.TableByName(tableOf(name))
		if t == nil {
			s.Warn("%s: no such table; left out", name)
			continue
		}
		if slices.Contains(logTables, t.Name) && !s.Bool("all") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		rows, err := nodedb.ParseCSV(t, string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, plain(err))
		}
		if s.Bool("verbose") {
			s.Line("%s", t.Name)
		}
		files = append(files, tableFile{t, rows})
	}
	return files, nil
}

// csvFiles are the names of a directory's CSV files, sorted.
func csvFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, pathCause(err))
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".csv") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: no .csv file is there", dir)
	}
	return names, nil
}

// replaceTables puts rows in place of those of tables. What nodes and groups
// there are comes first: rows of other tables belong to them.
func replaceTables(e *nodedb.Editor, files []tableFile) error {
	first := []string{"nodegroup", "nodelist"}
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b tableFile) int {
		return slices.Index(first, b.t.Name) - slices.Index(first, a.t.Name)
	})
	for _, f := range files {
		if err := e.ReplaceTable(f.t, f.rows, false); err != nil {
			return fmt.Errorf("%s: %w", f.t.Name, err)
		}
	}
	return nil
}
