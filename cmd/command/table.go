package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"margay/nodedb"
)

// tableNamed returns a table; unknown ones are refused in xCAT's words.
func tableNamed(name string) (*nodedb.Table, error) {
	if t := nodedb.TableByName(name); t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("Table %s does not exist.", name)
}

// columnNamed resolves table.column.
func columnNamed(name string) (*nodedb.Table, *nodedb.Column, error) {
	table, column, ok := strings.Cut(name, ".")
	if !ok || table == "" || column == "" {
		return nil, nil, fmt.Errorf("%s not a valid table.column description", name)
	}
	t, err := tableNamed(table)
	if err != nil {
		return nil, nil, err
	}
	c := t.Column(column)
	if c == nil {
		return nil, nil, noColumn(t, column)
	}
	return t, c, nil
}

func noColumn(t *nodedb.Table, column string) error {
	return fmt.Errorf("No column \"%s\" in table \"%s\"", column, t.Name)
}

// parseKeys parses column=value,column=value. A comma that no column= follows
// is part of the value.
func parseKeys(arg string) (map[string]string, error) {
	keys := make(map[string]string)
	last := ""
	for part := range strings.SplitSeq(arg, ",") {
		column, value, ok := strings.Cut(part, "=")
		switch {
		case ok && column != "" && !strings.ContainsAny(column, ". "):
			if _, twice := keys[column]; twice {
				return nil, fmt.Errorf("Incorrect argument \"%s\".", arg)
			}
			last, keys[column] = column, value
		case last != "":
			keys[last] += "," + part
		default:
			return nil, fmt.Errorf("Incorrect argument \"%s\".", arg)
		}
	}
	return keys, nil
}

// checkKeys refuses keys that are no columns of the table.
func checkKeys(t *nodedb.Table, keys map[string]string) error {
	for k := range keys {
		if t.Column(k) == nil {
			return noColumn(t, k)
		}
	}
	return nil
}

// nodeColumn resolves what may stand for a column of a node table: table.column,
// groups, tags, mgt, or an attribute of the object commands that is always the
// same column.
func nodeColumn(name string) (*nodedb.Table, *nodedb.Column, error) {
	switch name {
	case "groups", "tags":
		name = "nodelist.groups"
	case "mgt":
		name = "nodehm.mgt"
	}
	if a := nodedb.TypeByName("node").Attribute(name); a != nil && a.Name == name && a.Places[0].When == "" {
		return a.Places[0].Table, a.Places[0].Column, nil
	}
	t, c, err := columnNamed(name)
	if err != nil {
		return nil, nil, err
	}
	if !t.ByNode() {
		return nil, nil, fmt.Errorf("%s not a valid table.column description: %s is no table of nodes", name, t.Name)
	}
	return t, c, nil
}

// hasSecrets reports whether a table may hold secrets.
func hasSecrets(t *nodedb.Table) bool {
	return t.Kind == nodedb.KindSite || slices.ContainsFunc(t.Columns, func(c nodedb.Column) bool { return c.Secret })
}

// rows puts the secrets of rows in the form.
func (f secretForm) rows(t *nodedb.Table, rows []nodedb.Row) []nodedb.Row {
	if f == nil || !hasSecrets(t) {
		return rows
	}
	out := make([]nodedb.Row, len(rows))
	for i, row := range rows {
		out[i] = nodedb.Row{Key: row.Key, Values: slices.Clone(row.Values)}
		for j, c := range t.Columns {
			out[i].Values[j] = f.show(row.Key, t.Attr(c.Name), row.Values[j])
		}
	}
	return out
}

// plain is an error without the class behind it.
func plain(err error) error {
	if err == nil || errors.Is(err, errDry) {
		return err
	}
	return errors.New(defError(err))
}
