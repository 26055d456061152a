package nodedb

import (
	"maps"
	"slices"
	"strings"
)

// An Editor changes objects and rows within one transaction. Each of its
// methods does all of its work or, when it returns an error, none of it, so a
// caller may go on with the next object.
type Editor struct {
	tx      *Tx
	snap    *Snapshot
	touched map[Kind]map[string]bool              // records that were written
	keyed   map[string]map[string]map[string]bool // table, node: records of tables with further keys
	kinds   map[Kind][]Record                     // Records as they are now, until the next write
}

// Edit returns an editor of the transaction.
func Edit(tx *Tx) *Editor {
	return &Editor{tx: tx, snap: tx.Snapshot(), touched: make(map[Kind]map[string]bool)}
}

// Record returns a record as the transaction has it.
func (e *Editor) Record(k Key) (Record, bool) { return e.tx.Get(k) }

// Records returns the records of a kind as the transaction has them, sorted by
// name.
func (e *Editor) Records(kind Kind) []Record {
	old := e.snap.Records(kind)
	touched := e.touched[kind]
	if len(touched) == 0 {
		return old
	}
	if list, ok := e.kinds[kind]; ok {
		return list
	}
	var list []Record
	for _, r := range old {
		if !touched[r.Name] {
			list = append(list, r)
		}
	}
	for name := range touched {
		if r, ok := e.tx.Get(Key{kind, name}); ok {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	if e.kinds == nil {
		e.kinds = make(map[Kind][]Record)
	}
	e.kinds[kind] = list
	return list
}

// put writes a record. A node stays a node without any attribute; any other
// record without one goes.
func (e *Editor) put(k Key, attrs map[string]string) {
	if k.Kind == KindNode && len(attrs) == 0 {
		attrs = map[string]string{"nodelist.": ""}
	}
	if len(attrs) == 0 {
		e.delete(k)
		return
	}
	e.tx.Put(k, attrs)
	e.touch(k)
	e.index(k, true)
}

func (e *Editor) delete(k Key) {
	if _, ok := e.tx.Get(k); !ok {
		return
	}
	e.tx.Delete(k)
	e.touch(k)
	e.index(k, false)
}

func (e *Editor) touch(k Key) {
	if e.touched[k.Kind] == nil {
		e.touched[k.Kind] = make(map[string]bool)
	}
	e.touched[k.Kind][k.Name] = true
	delete(e.kinds, k.Kind)
}

// attrs is a copy of a record's attributes, empty if there is no record.
func (e *Editor) attrs(k Key) map[string]string {
	r, ok := e.tx.Get(k)
	if !ok {
		return make(map[string]string)
	}
	return maps.Clone(r.Attrs)
}

// index keeps keyed up to date.
func (e *Editor) index(k Key, there bool) {
	byNode, ok := e.keyed[string(k.Kind)]
	if !ok {
		return
	}
	node, _, _ := strings.Cut(k.Name, KeySep)
	if !there {
		delete(byNode[node], k.Name)
		return
	}
	if byNode[node] == nil {
		byNode[node] = make(map[string]bool)
	}
	byNode[node][k.Name] = true
}

// keyedRows are the keys of a node's rows in a table with further keys, sorted.
func (e *Editor) keyedRows(t *Table, node string) []Key {
	if e.keyed == nil {
		e.keyed = make(map[string]map[string]map[string]bool)
	}
	if e.keyed[t.Name] == nil {
		e.keyed[t.Name] = make(map[string]map[string]bool)
		for _, r := range e.Records(t.Kind) {
			e.index(r.Key, true)
		}
	}
	var keys []Key
	for _, name := range slices.Sorted(maps.Keys(e.keyed[t.Name][node])) {
		keys = append(keys, Key{t.Kind, name})
	}
	return keys
}

// home is the key of the record that keeps a name's rows in node tables.
func (e *Editor) home(name string) Key {
	k := Key{KindNode, name}
	if _, ok := e.tx.Get(k); !ok {
		k.Kind = KindGroup
	}
	return k
}

// setColumn sets one column in a record's attributes; "" takes it out. A row
// that loses its last column goes, unless it says that something exists.
func setColumn(attrs map[string]string, t *Table, c *Column, value string) {
	if value != "" {
		attrs[c.path] = value
		delete(attrs, t.rowMark())
		return
	}
	delete(attrs, c.path)
	if t.defines() && !hasColumns(attrs, t) {
		attrs[t.rowMark()] = ""
	}
}

// hasColumns reports whether attrs has a column of the table.
func hasColumns(attrs map[string]string, t *Table) bool {
	for i := range t.Columns {
		if _, ok := attrs[t.Columns[i].path]; ok {
			return true
		}
	}
	return false
}

// Has reports whether an object exists.
func (e *Editor) Has(t *Type, name string) bool {
	switch {
	case t.Name == "node":
		_, ok := e.tx.Get(Key{KindNode, name})
		return ok
	case t.Name == "group":
		return e.hasGroup(name)
	case t.IsSite():
		return name == SiteObject && len(e.Records(KindSite)) > 0
	}
	_, ok := t.find(e, name)
	return ok
}

// checkName says why an object cannot have a name. A node and a group cannot
// share one: they would share their rows.
func (e *Editor) checkName(t *Type, name string) error {
	_, node := e.tx.Get(Key{KindNode, name})
	switch {
	case t.Name == "group" && node:
		return &NameError{t.Name, name, "a node has that name"}
	case t.Name == "node" && !node && e.hasRow(name):
		return &NameError{t.Name, name, "a group has that name"}
	}
	return t.CheckName(name)
}

// defined reports whether making an object would take another's place. A group
// that only its members name, and site, may be defined at any time.
func (e *Editor) defined(t *Type, name string) bool {
	if t.Name == "group" {
		return e.hasRow(name)
	}
	return !t.IsSite() && e.Has(t, name)
}

// hasRow reports whether a group has a row in nodegroup.
func (e *Editor) hasRow(name string) bool {
	r, ok := e.tx.Get(Key{KindGroup, name})
	return ok && TableByName("nodegroup").has(r)
}

func (e *Editor) hasGroup(name string) bool {
	if e.hasRow(name) {
		return true
	}
	if len(e.touched[KindNode]) == 0 {
		_, found := slices.BinarySearch(e.snap.Groups(), name)
		return found
	}
	return slices.ContainsFunc(e.Records(KindNode), func(r Record) bool { return hasItem(r.Attrs["nodelist.groups"], name) })
}

// addNode makes a node of a name. Rows that node tables had for the name
// before become the node's, unless they are a group's.
func (e *Editor) addNode(name string) {
	k, old := Key{KindNode, name}, Key{KindGroup, name}
	if _, ok := e.tx.Get(k); ok {
		return
	}
	attrs := make(map[string]string)
	if r, ok := e.tx.Get(old); ok && !e.hasGroup(name) {
		attrs = maps.Clone(r.Attrs)
		e.delete(old)
	}
	e.put(k, attrs)
}

// dropNode takes a node's row out of nodelist. Its rows in other tables stay,
// without a node; what is kept of it privately goes.
func (e *Editor) dropNode(name string) {
	attrs := e.attrs(Key{KindNode, name})
	e.delete(Key{KindNode, name})
	e.removePrivate(name)
	group := e.attrs(Key{KindGroup, name})
	for column, value := range attrs {
		if !strings.HasPrefix(column, "nodelist.") {
			group[column] = value
		}
	}
	e.put(Key{KindGroup, name}, group)
}
