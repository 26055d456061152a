package nodedb

import (
	"slices"
	"strings"
	"sync"
)

// A Table is one of xCAT's tables: its columns in the order in which tabdump
// prints them, and which of them tell its rows apart.
type Table struct {
	Name    string
	Desc    string
	Kind    Kind     // of the records that carry its columns
	Keys    []string // columns that tell rows apart, in the order of Key.Name
	Columns []Column // keys included; comments and disable stand last
}

// A Column is one column of a table.
type Column struct {
	Name   string
	Desc   string
	Secret bool // its values are passwords or keys

	path  string    // table.column
	attrs []attrRef // what the object commands call it
}

// An attrRef names a column in the object commands. When is a condition of the
// form attribute=value or "" for always. User says which of a name's rows it is
// in, where the table is keyed by users too; "" for the first.
type attrRef struct{ name, when, user string }

// Tables returns every table, sorted by name. Callers may not change them.
func Tables() []*Table { return schema().tables }

// TableByName returns the table, or nil if there is none of that name.
func TableByName(name string) *Table { return schema().byName[name] }

// Index returns the place of the column, or -1.
func (t *Table) Index(column string) int {
	return slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == column })
}

// Column returns the column, or nil if the table has none of that name.
func (t *Table) Column(name string) *Column {
	if i := t.Index(name); i >= 0 {
		return &t.Columns[i]
	}
	return nil
}

// IsKey reports whether the column is one of those that tell rows apart.
func (t *Table) IsKey(column string) bool { return slices.Contains(t.Keys, column) }

// ByNode reports whether rows are a node's or a group's: the first key is the
// name of one. What controls blades or partitions is a node too.
func (t *Table) ByNode() bool {
	switch t.Keys[0] {
	case "node", "mpa", "hcp":
		return true
	}
	return t.Kind == KindNode
}

// Attr returns the name under which a record keeps the column.
func (t *Table) Attr(column string) string { return t.Name + "." + column }

// Attr is the column as records have it, table.column.
func (c *Column) Attr() string { return c.path }

// KeyValues are the values of the key columns of the record called name.
func (t *Table) KeyValues(name string) []string {
	values := strings.SplitN(name, KeySep, len(t.Keys))
	for len(values) < len(t.Keys) {
		values = append(values, "")
	}
	return values
}

// KeyName is the name of the record whose key columns have the values.
func (t *Table) KeyName(values ...string) string { return strings.Join(values, KeySep) }

// rowMark is the attribute that says a record has a row in the table when all
// the row's columns but the key are empty.
func (t *Table) rowMark() string { return t.Name + "." }

// ColumnByName resolves "table.column"; ok is false if there is no such column.
func ColumnByName(name string) (t *Table, c *Column, ok bool) {
	table, column, _ := strings.Cut(name, ".")
	if t = TableByName(table); t == nil {
		return nil, nil, false
	}
	c = t.Column(column)
	return t, c, c != nil
}

// IsSecret reports whether "table.column" holds passwords or keys. For the
// passwd table's rows that is the password column. What the history says of
// them is secret too. The site table's settings are as site.KEY.
func IsSecret(name string) bool {
	if name == HistorySealed {
		return true
	}
	if key, ok := strings.CutPrefix(name, "site."); ok {
		return secretSite(key)
	}
	_, c, ok := ColumnByName(name)
	return ok && c.Secret
}

// IsSecret reports whether the record's column holds passwords or keys.
func (k Key) IsSecret(column string) bool { return IsSecret(k.named(column)) }

// named is what a record's column is called where it matters which setting of the
// site it is.
func (k Key) named(column string) string {
	if k.Kind == KindSite && column == siteValue {
		return "site." + k.Name
	}
	return column
}

const siteValue = "site.value"

// schema is every table, put together once.
var schema = sync.OnceValue(func() *tableSet {
	s := &tableSet{byName: make(map[string]*Table)}
	for _, tables := range [][]*Table{nodeTables(), vmTables(), imageTables(), clusterTables(), hardwareTables(), softwareTables(), esxiTables()} {
		for _, t := range tables {
			s.byName[t.Name] = t
			s.tables = append(s.tables, t)
		}
	}
	slices.SortFunc(s.tables, func(a, b *Table) int { return strings.Compare(a.Name, b.Name) })
	return s
})

type tableSet struct {
	tables []*Table
	byName map[string]*Table
}

// col makes a column: its name, what the object commands call it ("" if they
// do not show it) and what it means.
func col(name, attr, desc string) Column {
	c := Column{Name: name, Desc: desc}
	if attr != "" {
		c.attrs = []attrRef{{name: attr}}
	}
	return c
}

// when makes the column's attribute one that exists only under a condition.
func (c Column) when(cond string) Column {
	c.attrs[len(c.attrs)-1].when = cond
	return c
}

// also gives the column another name in the object commands.
func (c Column) also(attr, cond string) Column {
	c.attrs = append(slices.Clone(c.attrs), attrRef{name: attr, when: cond})
	return c
}

// any gives the column a name in the object commands under each of several
// conditions.
func (c Column) any(attr string, conds ...string) Column {
	for _, cond := range conds {
		c = c.also(attr, cond)
	}
	return c
}

// of names the column of those rows that are a user's.
func (c Column) of(user, attr string, conds ...string) Column {
	c = c.any(attr, conds...)
	for i := range c.attrs {
		if c.attrs[i].name == attr {
			c.attrs[i].user = user
		}
	}
	return c
}

// secret marks a column that holds passwords or keys.
func (c Column) secret() Column {
	c.Secret = true
	return c
}

// byNode makes a table whose rows are keyed by node or group, and by the
// further columns named in keys after that.
func byNode(name, desc string, keys []string, columns ...Column) *Table {
	kind := KindNode
	if len(keys) > 0 {
		kind = Kind(name)
	}
	node := col("node", "", "the node or group that the row is for")
	return table(kind, name, desc, append([]string{"node"}, keys...), append([]Column{node}, columns...))
}

// table puts the columns that every table ends with behind the given ones.
func table(kind Kind, name, desc string, keys []string, columns []Column) *Table {
	t := &Table{Name: name, Desc: desc, Kind: kind, Keys: keys, Columns: columns}
	if t.Column("comments") == nil {
		t.Columns = append(t.Columns, col("comments", "", "notes of the operator"))
	}
	if t.Column("disable") == nil {
		t.Columns = append(t.Columns, col("disable", "", "1 or yes: the row is not looked at"))
	}
	for i := range t.Columns {
		t.Columns[i].path = name + "." + t.Columns[i].Name
	}
	return t
}

// own makes a table that is a kind of its own.
func own(name, desc string, keys []string, columns ...Column) *Table {
	return table(Kind(name), name, desc, keys, columns)
}
