package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"margay/nodedb"
)

// TestImportEveryTable moves a dump in that has a row in every table and a
// value in every column, and writes it out again: each file is what it was,
// byte by byte.
func TestImportEveryTable(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.Mkdir(in, 0o700); err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, table := range nodedb.Tables() {
		files[table.Name] = dumpOf(table)
		if err := os.WriteFile(filepath.Join(in, table.Name+".csv"), []byte(files[table.Name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t, dir)
	said := s.must("import", "xcat", in, "-a", "--hosts", "none", "--yes")
	for _, line := range strings.Split(said, "\n") {
		if strings.Contains(line, "not taken") {
			t.Error(line)
		}
	}
	s.must("dumpxCATdb", "-p", out, "-a", "--reveal")
	for name, want := range files {
		b, err := os.ReadFile(filepath.Join(out, name+".csv"))
		if err != nil {
			t.Error(err)
			continue
		}
		switch got := string(b); name {
		case "site", "auditlog": // have rows of our own too
			for _, line := range strings.Split(want, "\n") {
				if !strings.Contains(got, line) {
					t.Errorf("%s lacks %s:\n%s", name, line, got)
				}
			}
		default:
			if got != want {
				t.Errorf("%s.csv is\n%s\nand was\n%s", name, got, want)
			}
		}
	}
}

// dumpOf is a table as dumpxCATdb writes it, with a row in which all columns
// have values and one that is disabled and has the keys alone.
func dumpOf(t *nodedb.Table) string {
	var b strings.Builder
	b.WriteByte('#')
	for i, c := range t.Columns {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.Name)
	}
	for row := 1; row <= 2; row++ {
		b.WriteByte('\n')
		for i, c := range t.Columns {
			if i > 0 {
				b.WriteByte(',')
			}
			if v := dumpValue(t, c.Name, row); v != "" {
				b.WriteString(`"` + strings.ReplaceAll(v, `"`, `""`) + `"`)
			}
		}
	}
	return b.String() + "\n"
}

func dumpValue(t *nodedb.Table, column string, row int) string {
	switch {
	case column == "recid" || column == "priority":
		return fmt.Sprint(900 + row)
	case column == "net":
		return fmt.Sprintf("10.%d.0.0", row)
	case column == "mask":
		return "255.255.0.0"
	case slices.Contains(t.Keys, column) && slices.Index(t.Keys, column) == 0:
		return fmt.Sprintf("k%d", row)
	case slices.Contains(t.Keys, column):
		return fmt.Sprintf("%s%d", column, row)
	case column == "disable":
		return map[int]string{2: "1"}[row]
	case row == 2:
		return ""
	}
	return fmt.Sprintf(`%s "of", %s`, column, t.Name)
}
