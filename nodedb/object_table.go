package nodedb

import (
	"fmt"
	"maps"
	"strings"
)

// Rows returns the rows of a table as the transaction has them, sorted by key.
func (e *Editor) Rows(t *Table) []Row { return rows(e, t) }

// Find returns the rows of a table whose columns have the values in match.
func (e *Editor) Find(t *Table, match map[string]string) []Row { return find(e, t, match) }

// Find returns the rows of a table whose columns have the values in match.
func (s *Snapshot) Find(t *Table, match map[string]string) []Row { return find(s, t, match) }

func find(src source, t *Table, match map[string]string) []Row {
	if row, ok, direct := lookup(src, t, match); direct {
		if !ok {
			return nil
		}
		return []Row{row}
	}
	var found []Row
	for _, row := range rows(src, t) {
		if row.matches(t, match) {
			found = append(found, row)
		}
	}
	return found
}

// lookup finds a row without going through the table, if match is its one key.
func lookup(src source, t *Table, match map[string]string) (row Row, ok, direct bool) {
	name, given := match[t.Keys[0]]
	if !given || len(t.Keys) > 1 || len(match) > 1 {
		return Row{}, false, false
	}
	for _, kind := range t.kinds() {
		if r, there := src.Record(Key{kind, name}); there {
			if row, ok = t.row(r); ok {
				break
			}
		}
	}
	return row, ok, true
}

func (r Row) matches(t *Table, match map[string]string) bool {
	for column, value := range match {
		if i := t.Index(column); i < 0 || r.Values[i] != value {
			return false
		}
	}
	return true
}

// Get returns the value of a column.
func (r Row) Get(t *Table, column string) string {
	if i := t.Index(column); i >= 0 {
		return r.Values[i]
	}
	return ""
}

// PutRow writes a whole row: values are in the order of the table's columns.
// old, if not nil, is the row that it takes the place of; a row with the same
// keys is replaced in any case. The error wraps ErrInvalid.
func (e *Editor) PutRow(t *Table, old *Row, values []string) error {
	if err := t.checkRow(values); err != nil {
		return err
	}
	name := t.keyName(values)
	if old != nil && old.Key.Name != name {
		e.removeRow(t, old.Key)
	}
	if t.Kind != KindNode && t.isKind() {
		e.putRow(t, values)
		return nil
	}
	k := Key{t.Kind, name}
	if t.Name == "nodelist" {
		e.addNode(name)
	} else if t.Kind == KindNode {
		k = e.home(name)
	}
	e.putShare(t, k, values)
	return nil
}

// putShare writes a table's row into a record that has rows of others too.
func (e *Editor) putShare(t *Table, k Key, values []string) {
	attrs := e.attrs(k)
	maps.DeleteFunc(attrs, func(column, _ string) bool { return strings.HasPrefix(column, t.rowMark()) })
	for i := range t.Columns {
		if values[i] != "" && !t.IsKey(t.Columns[i].Name) {
			attrs[t.Columns[i].path] = values[i]
		}
	}
	if !hasColumns(attrs, t) {
		attrs[t.rowMark()] = ""
	}
	e.put(k, attrs)
}

// checkRow refuses values that cannot be stored and rows without a key.
func (t *Table) checkRow(values []string) error {
	for i, v := range values {
		if why := checkText(v); why != "" {
			return fmt.Errorf("%s: %s in the value: %w", t.Columns[i].path, why, ErrInvalid)
		}
	}
	for _, k := range t.Keys {
		if values[t.Index(k)] != "" {
			return nil
		}
	}
	return fmt.Errorf("table %s: no value for %s: %w", t.Name, strings.Join(t.Keys, ", "), ErrInvalid)
}

// DeleteRow removes a row. Of nodelist, that is the node; its rows in other
// tables stay.
func (e *Editor) DeleteRow(t *Table, r Row) { e.removeRow(t, r.Key) }

// ReplaceTable puts rows, each in the order of the table's columns, in place
// of all that the table has; with keep it adds them. Nothing is changed if one
// is not valid.
func (e *Editor) ReplaceTable(t *Table, list [][]string, keep bool) error {
	for i, values := range list {
		if err := t.checkRow(values); err != nil {
			return fmt.Errorf("row %d: %w", i+1, err)
		}
	}
	if !keep {
		names := make(map[string]bool, len(list))
		for _, values := range list {
			names[t.keyName(values)] = true
		}
		for _, row := range e.Rows(t) {
			if !names[row.Key.Name] {
				e.removeRow(t, row.Key)
			}
		}
	}
	for _, values := range list {
		if err := e.PutRow(t, nil, values); err != nil {
			return err
		}
	}
	return nil
}
