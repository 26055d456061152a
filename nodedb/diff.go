package nodedb

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// A Diff is what becomes of one record. Columns are sorted by name and only
// those that differ.
type Diff struct {
	Key
	Made, Gone bool
	Columns    []ColumnDiff
}

// A ColumnDiff is a column before and after, "" if it has no value. A mark
// "table." that is there has the value ".".
type ColumnDiff struct{ Column, Old, New string }

// markSet stands for a mark in a Diff, whose value in a record is empty.
const markSet = "."

// Diffs returns what the transaction would change, sorted by kind and name.
func (tx *Tx) Diffs() ([]Diff, error) {
	if err := tx.settle(); err != nil {
		return nil, err
	}
	var list []Diff
	for _, p := range tx.order {
		p.own()
		d := diff(p.Key, p.before.Attrs, p.attrs)
		if d.Made = !p.there; d.Made && p.attrs == nil || len(d.Columns) == 0 && !d.Made && !d.Gone {
			continue
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Diff) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name))
	})
	return list, nil
}

// diff compares two sets of attributes; after nil says that the record is gone.
func diff(k Key, before, after map[string]string) Diff {
	d := Diff{Key: k, Gone: after == nil}
	for column, old := range before {
		if now, ok := after[column]; !ok || now != old {
			d.Columns = append(d.Columns, ColumnDiff{column, shown(before, column), shown(after, column)})
		}
	}
	for column := range after {
		if _, ok := before[column]; !ok {
			d.Columns = append(d.Columns, ColumnDiff{column, "", shown(after, column)})
		}
	}
	slices.SortFunc(d.Columns, func(a, b ColumnDiff) int { return strings.Compare(a.Column, b.Column) })
	return d
}

// diffOf is diff where no other columns than those can differ.
func diffOf(k Key, before, after map[string]string, columns []string) Diff {
	d := Diff{Key: k, Gone: after == nil}
	for _, column := range columns {
		old, was := before[column]
		now, is := after[column]
		if was != is || old != now {
			d.Columns = append(d.Columns, ColumnDiff{column, shown(before, column), shown(after, column)})
		}
	}
	if len(d.Columns) > 1 {
		slices.SortFunc(d.Columns, func(a, b ColumnDiff) int { return strings.Compare(a.Column, b.Column) })
	}
	return d
}

func shown(attrs map[string]string, column string) string {
	v, ok := attrs[column]
	if ok && v == "" {
		return markSet
	}
	return v
}

// Private reports whether a kind is none of the operator's.
func (k Kind) Private() bool { return strings.HasPrefix(string(k), "margay.") }

// back returns the attributes with the columns as they were before the change,
// nil if there was no record.
func (d Diff) back(now map[string]string) map[string]string {
	if d.Made {
		return nil
	}
	attrs := maps.Clone(now)
	if attrs == nil {
		attrs = make(map[string]string)
	}
	for _, c := range d.Columns {
		switch {
		case c.Old == "":
			delete(attrs, c.Column)
		case strings.HasSuffix(c.Column, "."):
			attrs[c.Column] = ""
		default:
			attrs[c.Column] = c.Old
		}
	}
	return attrs
}

// stands returns the first column that is not as the change left it; ok if
// there is none.
func (d Diff) stands(now map[string]string, there bool) (column string, ok bool) {
	if d.Gone {
		return "", !there
	}
	if !there {
		return "", false
	}
	for _, c := range d.Columns {
		if shown(now, c.Column) != c.New {
			return c.Column, false
		}
	}
	if d.Made {
		for column := range now {
			if _, known := slices.BinarySearchFunc(d.Columns, column, func(c ColumnDiff, s string) int { return strings.Compare(c.Column, s) }); !known {
				return column, false
			}
		}
	}
	return "", true
}
