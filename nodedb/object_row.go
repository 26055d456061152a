package nodedb

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A source is what rows and objects are read from: a snapshot, or a
// transaction with what it has changed so far.
type source interface {
	Record(Key) (Record, bool)
	Records(Kind) []Record
}

// A Row is one row of a table.
type Row struct {
	Key    Key      // of the record that the row is in
	Values []string // in the order of the table's columns
}

// Rows returns the rows of a table, sorted by key.
func (s *Snapshot) Rows(t *Table) []Row { return rows(s, t) }

func rows(src source, t *Table) []Row {
	var list []Row
	for _, kind := range t.kinds() {
		records := src.Records(kind)
		if t.isKind() {
			list = slices.Grow(list, len(records))
		}
		for _, r := range records {
			if row, ok := t.row(r); ok {
				list = append(list, row)
			}
		}
	}
	slices.SortStableFunc(list, t.compare)
	// A name that is both a node's and a group's has one row: the node's.
	return slices.CompactFunc(list, func(a, b Row) bool { return a.Key.Name == b.Key.Name })
}

// kinds are the kinds of records that may have a row of the table.
func (t *Table) kinds() []Kind {
	if t.Kind == KindNode && t.Name != "nodelist" {
		return []Kind{KindNode, KindGroup}
	}
	return []Kind{t.Kind}
}

// isKind reports whether every record of the table's kind is a row. Those of
// images are shared by several tables.
func (t *Table) isKind() bool {
	return t.Name == "nodelist" || t.Kind == Kind(t.Name) && t.Kind != KindImage
}

// defines reports whether rows say that something exists, so that a row with
// its key alone still means something.
func (t *Table) defines() bool {
	return t.isKind() || t.Name == "nodegroup" || t.Name == "osimage"
}

// has reports whether the record has a row in the table.
func (t *Table) has(r Record) bool {
	if t.isKind() {
		return r.Kind == t.Kind
	}
	if _, ok := r.Attrs[t.rowMark()]; ok {
		return true
	}
	for i := range t.Columns {
		if _, ok := r.Attrs[t.Columns[i].path]; ok {
			return true
		}
	}
	return false
}

// row takes the table's row out of a record.
func (t *Table) row(r Record) (Row, bool) {
	if !t.has(r) {
		return Row{}, false
	}
	values := make([]string, len(t.Columns))
	for i := range t.Columns {
		values[i] = r.Attrs[t.Columns[i].path]
	}
	if len(t.Keys) == 1 {
		values[t.Index(t.Keys[0])] = r.Name
		return Row{r.Key, values}, true
	}
	for i, key := range t.KeyValues(r.Name) {
		values[t.Index(t.Keys[i])] = key
	}
	return Row{r.Key, values}, true
}

// keyName is the name of the record that a row with the values belongs to.
func (t *Table) keyName(values []string) string {
	keys := make([]string, len(t.Keys))
	for i, k := range t.Keys {
		keys[i] = values[t.Index(k)]
	}
	return t.KeyName(keys...)
}

// compare orders rows by their keys; numbers as numbers where a table is
// ordered by them.
func (t *Table) compare(a, b Row) int {
	if t.isKind() && t.Kind != KindNode {
		x, errx := strconv.ParseFloat(a.Key.Name, 64)
		y, erry := strconv.ParseFloat(b.Key.Name, 64)
		if errx == nil && erry == nil && x != y {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(a.Key.Name, b.Key.Name)
}

// Hidden stands in a listing for a secret that is not shown. A record that gets
// it back keeps the secret it has; one that has none refuses it.
const Hidden = "******"

// checkText says what in a value cannot be stored, "" if nothing.
func checkText(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "not UTF-8"
	case strings.ContainsRune(s, 0):
		return "a NUL character"
	case strings.Contains(s, KeySep):
		return "a unit separator character"
	}
	return ""
}
