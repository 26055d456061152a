package nodedb

import (
	"slices"
	"strings"
)

// A View reads objects of one snapshot. It keeps what it has worked out, so
// reading many objects is best done with one View. It is used by one
// goroutine.
type View struct {
	snap    *Snapshot
	columns map[string][]string            // by nodelist.groups: columns that those groups have
	keyed   map[string]map[string][]Record // table, node: rows of tables with further keys
}

// NewView returns a view of the snapshot.
func NewView(snap *Snapshot) *View {
	return &View{snap: snap, columns: make(map[string][]string)}
}

// Names returns the names of all objects of a type, sorted.
func (v *View) Names(t *Type) []string {
	var names []string
	switch {
	case t.Name == "node":
		for _, r := range v.snap.Records(KindNode) {
			if !isDisabled(r.Attrs["nodelist.disable"]) {
				names = append(names, r.Name)
			}
		}
		return names
	case t.Name == "group":
		names = slices.Clone(v.snap.Groups())
	case t.IsSite():
		if len(v.snap.Records(KindSite)) > 0 {
			names = []string{SiteObject}
		}
	default:
		names = t.names(v.snap)
	}
	if t.Table.isKind() && !t.IsSite() && t.Key == t.Table.Keys[0] {
		return names // in the table's order
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// names are the names of the objects that rows of the type's table define.
func (t *Type) names(src source) []string {
	var names []string
	i := t.Table.Index(t.Key)
	for _, row := range rows(src, t.Table) {
		if row.Values[i] != "" {
			names = append(names, row.Values[i])
		}
	}
	return names
}

// Object returns an object; ok is false if there is none of that name.
func (v *View) Object(t *Type, name string) (o *Object, ok bool) {
	o = &Object{Type: t, Name: name}
	switch {
	case t.Name == "node":
		n, err := v.snap.Node(name)
		if err != nil || n.Off() {
			return nil, false
		}
		v.addNode(o, n)
	case t.Name == "group":
		if !v.hasGroup(name) {
			return nil, false
		}
		v.addGroup(o)
	case t.IsSite():
		if name != SiteObject {
			return nil, false
		}
		for _, r := range v.snap.Records(KindSite) {
			o.add(r.Name, r.Attrs["site.value"], siteAttribute(r.Name).Places[0])
		}
	default:
		r, ok := t.find(v.snap, name)
		if !ok {
			return nil, false
		}
		o.addRecord(r)
	}
	slices.SortStableFunc(o.Values, func(a, b Value) int { return strings.Compare(a.Name, b.Name) })
	o.Values = slices.CompactFunc(o.Values, func(a, b Value) bool { return a.Name == b.Name })
	return o, true
}

// Has reports whether there is an object of that name.
func (v *View) Has(t *Type, name string) bool {
	switch {
	case t.Name == "node":
		r, ok := v.snap.Record(Key{KindNode, name})
		return ok && !isDisabled(r.Attrs["nodelist.disable"])
	case t.Name == "group":
		return v.hasGroup(name)
	case t.IsSite():
		return name == SiteObject && len(v.snap.Records(KindSite)) > 0
	}
	_, ok := t.find(v.snap, name)
	return ok
}

// find returns the record of an object whose attributes are all in one record.
func (t *Type) find(src source, name string) (Record, bool) {
	if name == "" {
		return Record{}, false
	}
	if len(t.Table.Keys) == 1 && t.Key == t.Table.Keys[0] {
		for _, kind := range t.Table.kinds() {
			if r, ok := src.Record(Key{kind, name}); ok && t.Table.has(r) {
				return r, true
			}
		}
		return Record{}, false
	}
	i := t.Table.Index(t.Key)
	for _, row := range rows(src, t.Table) {
		if row.Values[i] == name {
			return src.Record(row.Key)
		}
	}
	return Record{}, false
}

func (v *View) hasGroup(name string) bool {
	_, found := slices.BinarySearch(v.snap.Groups(), name)
	return found
}

// addRecord adds the values that a record has for the object's attributes.
func (o *Object) addRecord(r Record) {
	get := func(attr string) string { return o.Type.raw(r, attr) }
	for _, a := range o.Type.Attributes {
		if p, ok := a.At(get); ok {
			o.add(a.Name, p.value(r), p)
		}
	}
}

// raw returns the value that a record has for an attribute without condition.
func (t *Type) raw(r Record, attr string) string {
	if a := t.byName[attr]; a != nil {
		return a.Places[0].value(r)
	}
	return ""
}

// value returns what a record has at the place.
func (p Place) value(r Record) string {
	if i := slices.Index(p.Table.Keys, p.Column.Name); i >= 0 && p.Table.has(r) {
		return p.Table.KeyValues(r.Name)[i]
	}
	return r.Attrs[p.Column.path]
}

// of returns the row of those of a name that the place is in.
func (p Place) of(rows []Record) (Record, bool) {
	for _, r := range rows {
		if p.User == "" || p.Table.KeyValues(r.Name)[1] == p.User {
			return r, true
		}
	}
	return Record{}, false
}

// add adds a value unless it is empty; lists of interfaces one by one.
func (o *Object) add(name, text string, p Place) {
	if text == "" {
		return
	}
	if p.Table.Name == "nics" && isNIC(p.Column.Name) && strings.Contains(text, "!") && !isExpr(text) {
		for _, nic := range parseNICs(text) {
			o.Values = append(o.Values, Value{name + "." + nic.name, nic.value, p})
		}
		return
	}
	o.Values = append(o.Values, Value{name, text, p})
}

// addGroup adds what is written for a group, and its members.
func (v *View) addGroup(o *Object) {
	r, _ := v.snap.Record(Key{KindGroup, o.Name})
	get := func(attr string) string { return o.Type.raw(r, attr) }
	for _, a := range o.Type.Attributes {
		p, ok := a.At(get)
		switch {
		case !ok, a.Name == "members", a.Name == "grouptype":
		case p.Table.Kind == KindNode || p.Table.Kind == KindGroup:
			o.add(a.Name, p.value(r), p)
		default:
			if row, ok := p.of(v.keyedRows(p.Table, o.Name)); ok {
				o.add(a.Name, p.value(row), p)
			}
		}
	}
	kind := "static"
	if r.Attrs["nodegroup.grouptype"] == "dynamic" {
		kind = "dynamic"
	}
	o.add("grouptype", kind, o.Type.byName["grouptype"].Places[0])
	o.add("members", v.members(o.Name, kind), o.Type.byName["members"].Places[0])
}

func (v *View) members(group, kind string) string {
	if kind == "dynamic" {
		return "dynamic"
	}
	var names []string
	for _, n := range v.snap.Members(group) {
		names = append(names, n.Name)
	}
	return strings.Join(names, ",")
}

// addNode adds a node's effective values. Only columns that the node or one
// of its groups has are asked for: a node has some twenty of three hundred.
func (v *View) addNode(o *Object, n *Node) {
	r, _ := v.snap.Record(Key{KindNode, n.Name})
	refs := types().columns
	inherited := v.groupColumns(n)
	o.Values = make([]Value, 0, len(r.Attrs)+len(inherited))
	for column := range r.Attrs {
		o.addColumn(n, refs[column], column)
	}
	for _, column := range inherited {
		if r.Attrs[column] == "" {
			o.addColumn(n, refs[column], column)
		}
	}
	for _, t := range types().keyed {
		v.addKeyed(o, n, t)
	}
}

// addColumn adds the attributes that a column of the node is.
func (o *Object) addColumn(n *Node, refs []columnRef, column string) {
	if len(refs) == 0 {
		return
	}
	text := n.Attr(column)
	if text == "" {
		return
	}
	for _, ref := range refs {
		if ref.on == "" || hasItem(n.Attr(ref.on), ref.value) {
			o.add(ref.attr, text, ref.place)
		}
	}
}

// groupColumns are the columns that the node's groups have.
func (v *View) groupColumns(n *Node) []string {
	key := strings.Join(n.Groups, ",")
	columns, ok := v.columns[key]
	if !ok {
		for _, g := range n.Groups {
			r, _ := v.snap.Record(Key{KindGroup, g})
			for c := range r.Attrs {
				columns = append(columns, c)
			}
		}
		slices.Sort(columns)
		columns = slices.Compact(columns)
		v.columns[key] = columns
	}
	return columns
}

// addKeyed adds what the first row of the node, or else of its groups, says
// in a table that has further keys.
func (v *View) addKeyed(o *Object, n *Node, t *Table) {
	if v.snap.Count(t.Kind) == 0 {
		return
	}
	for _, name := range append([]string{n.Name}, n.Groups...) {
		rows := v.keyedRows(t, name)
		if len(rows) == 0 {
			continue
		}
		for i := range t.Columns {
			for _, ref := range types().columns[t.Columns[i].path] {
				row, ok := ref.place.of(rows)
				if ok && (ref.on == "" || hasItem(n.Attr(ref.on), ref.value)) {
					o.add(ref.attr, ref.place.value(row), ref.place)
				}
			}
		}
		return
	}
}

// keyedRows are the rows of a node or group in a table with further keys.
func (v *View) keyedRows(t *Table, name string) []Record {
	if v.keyed == nil {
		v.keyed = make(map[string]map[string][]Record)
	}
	byNode, ok := v.keyed[t.Name]
	if !ok {
		byNode = make(map[string][]Record)
		for _, r := range v.snap.Records(t.Kind) {
			node := t.KeyValues(r.Name)[0]
			byNode[node] = append(byNode[node], r)
		}
		v.keyed[t.Name] = byNode
	}
	return byNode[name]
}
