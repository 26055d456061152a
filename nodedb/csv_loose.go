package nodedb

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// A Loss is a column of a CSV file that the table does not have, and how many
// of its values are not empty.
type Loss struct {
	Column string
	Values int
}

// ParseForeignCSV reads a table that another program wrote: as ParseCSV does,
// but columns that the table does not have are left out and returned, and text
// that is not UTF-8 is taken as Latin-1; recoded says that it was.
func ParseForeignCSV(t *Table, text string) (rows [][]string, lost []Loss, recoded bool, err error) {
	if !utf8.ValidString(text) {
		text, recoded = fromLatin1(text), true
	}
	p := &csvParser{text: text, line: 1}
	line, _, _ := strings.Cut(text, "\n")
	wide := *t
	for name := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSuffix(line, "\r"), "#"), ",") {
		name = strings.Trim(strings.TrimSpace(name), `"`)
		if name != "" && wide.Index(name) < 0 {
			wide.Columns = append(slices.Clip(wide.Columns), Column{Name: name, path: t.Name + "." + name})
			lost = append(lost, Loss{Column: name})
		}
	}
	rows, err = p.rows(&wide)
	for i := range rows {
		for j := range lost {
			if rows[i][len(t.Columns)+j] != "" {
				lost[j].Values++
			}
		}
		rows[i] = rows[i][:len(t.Columns)]
	}
	return rows, lost, recoded, err
}

// fromLatin1 takes each byte as the character of its number (ISO 8859-1).
func fromLatin1(s string) string {
	out := make([]rune, 0, len(s))
	for _, b := range []byte(s) {
		out = append(out, rune(b))
	}
	return string(out)
}
