package nodedb

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// A Type is a kind of object that the object commands know: what mkdef -t
// takes. Its attributes are columns of one or several tables.
type Type struct {
	Name       string
	Key        string       // the attribute that is the object's name
	Table      *Table       // has a row for every object
	Required   []string     // attributes without which no object is made
	Attributes []*Attribute // sorted by name, the key left out

	// Aside says that -a, which means every type, leaves the type out: logs, and
	// tables that are no objects in xCAT, which rmdef -a is not to empty.
	Aside bool

	byName map[string]*Attribute
}

// An Attribute is one attribute of a type and the columns that may hold it.
type Attribute struct {
	Name   string
	Places []Place // the first whose condition holds is the one
}

// A Place is a column that holds an attribute. When is attribute=value, of the
// same object, or empty if the place is always the one. User is whose row it is
// in, in a table that is keyed by node and user; if empty, the node's first.
type Place struct {
	Table  *Table
	Column *Column
	When   string
	User   string
}

// Attr returns the place as "table.column".
func (p Place) Attr() string { return p.Column.path }

// rank orders places: those that xCAT has too come first, and one that is
// always the one comes last.
func (p Place) rank() int {
	switch p.When {
	case "":
		return 2
	case whenRedfish:
		return 1
	}
	return 0
}

// SiteObject is the name of the one object of type site.
const SiteObject = "clustersite"

// Types returns every type, sorted by name. Callers may not change them.
func Types() []*Type { return types().list }

// TypeByName returns the type, or nil if there is none of that name.
func TypeByName(name string) *Type { return types().byName[name] }

// Attribute returns the attribute, or nil if the type has none of that name.
// Any name is an attribute of site; nicips.eth1 is nicips.
func (t *Type) Attribute(name string) *Attribute {
	if a := t.byName[name]; a != nil {
		return a
	}
	if t.IsSite() && name != "" && name != t.Key {
		return siteAttribute(name)
	}
	if base, nic, ok := strings.Cut(name, "."); ok && nic != "" && isNIC(base) {
		return t.byName[base]
	}
	return nil
}

// IsSite reports whether the type is site, whose attributes are rows.
func (t *Type) IsSite() bool { return t.Table.Kind == KindSite }

// isNIC reports whether an attribute holds a list of nic!value, and so can be
// named with an interface behind it.
func isNIC(attr string) bool {
	t, c, ok := ColumnByName("nics." + attr)
	return ok && !t.IsKey(c.Name) && c.Name != "comments" && c.Name != "disable"
}

// Secret reports whether the attribute holds passwords or keys.
func (a *Attribute) Secret() bool {
	return slices.ContainsFunc(a.Places, func(p Place) bool { return p.Column.Secret })
}

// Desc returns what the attribute means; meanings of several places are
// joined by " or ".
func (a *Attribute) Desc() string {
	var texts []string
	for _, p := range a.Places {
		if !slices.Contains(texts, p.Column.Desc) {
			texts = append(texts, p.Column.Desc)
		}
	}
	return strings.Join(texts, " or ")
}

// condition returns the attribute that decides whether the attribute exists,
// and its values for which it does; "" if it always does.
func (a *Attribute) condition() (attr string, values []string) {
	for _, p := range a.Places {
		if p.When == "" {
			return "", nil
		}
		name, value, _ := strings.Cut(p.When, "=")
		if attr == "" || attr == name {
			attr, values = name, append(values, value)
		}
	}
	return attr, values
}

// depends reports whether it is another attribute that says where this one is.
func (a *Attribute) depends() bool { return a.Places[0].When != "" }

// At returns the place that holds the attribute of an object whose attributes
// get returns. It is false if no place's condition holds.
func (a *Attribute) At(get func(attr string) string) (Place, bool) {
	for _, p := range a.Places {
		if p.When == "" {
			return p, true
		}
		name, value, _ := strings.Cut(p.When, "=")
		if hasItem(get(name), value) {
			return p, true
		}
	}
	return Place{}, false
}

type typeSet struct {
	list    []*Type
	byName  map[string]*Type
	columns map[string][]columnRef // by table.column: attributes of a node
	keyed   []*Table               // node tables with further keys that have attributes
}

// A columnRef is an attribute of a node that a column is, if the column on has
// value.
type columnRef struct {
	attr      string
	place     Place
	on, value string
}

// index fills columns and keyed.
func (s *typeSet) index() {
	s.columns = make(map[string][]columnRef)
	node := s.byName["node"]
	for _, a := range node.Attributes {
		for _, p := range a.Places {
			ref := columnRef{attr: a.Name, place: p}
			if on, value, ok := strings.Cut(p.When, "="); ok {
				ref.on, ref.value = node.byName[on].Places[0].Attr(), value
			}
			s.columns[p.Attr()] = append(s.columns[p.Attr()], ref)
			if p.Table.Kind != KindNode && !slices.Contains(s.keyed, p.Table) {
				s.keyed = append(s.keyed, p.Table)
			}
		}
	}
}

var types = sync.OnceValue(func() *typeSet {
	s := &typeSet{byName: make(map[string]*Type)}
	for _, t := range []*Type{
		nodeType(), groupType(), imageType(),
		tableType("network", "networks", "netname", "usercomment", "net", "mask"),
		tableType("site", "site", SiteObject, ""),
		tableType("policy", "policy", "priority", "usercomment"),
		tableType("route", "routes", "routename", "usercomment"),
		tableType("zone", "zone", "zonename", "usercomment"),
		tableType("rack", "rack", "rackname", "usercomment"),
		tableType("osdistro", "osdistro", "osdistroname", "usercomment"),
		tableType("osdistroupdate", "osdistroupdate", "osupdatename", "usercomment"),
		tableType("kit", "kit", "kitname", "usercomment"),
		tableType("kitcomponent", "kitcomponent", "kitcompname", "usercomment"),
		tableType("kitrepo", "kitrepo", "kitreponame", "usercomment"),
		tableType("boottarget", "boottarget", "bprofile", "comments"),
		tableType("notification", "notification", "filename", "comments"),
		tableType("monitoring", "monitoring", "name", "comments"),
		aside(tableType("auditlog", "auditlog", "recid", "comments")),
		aside(tableType("eventlog", "eventlog", "recid", "comments")),
		aside(tableType("passwd", "passwd", "key", "usercomment")),
		aside(tableType("vmmaster", "vmmaster", "name", "usercomment")),
		tableType("firmware", "firmware", "cfgfile", "comments"),
		tableType("taskstate", "taskstate", "node", "comments"),
		tableType("pdu", "pdu", "node", "comments"),
		switchType(),
		tableType("zvmivp", "zvmivp", "id", "comments"),
	} {
		s.byName[t.Name] = t
		s.list = append(s.list, t)
	}
	slices.SortFunc(s.list, func(a, b *Type) int { return cmp.Compare(a.Name, b.Name) })
	s.index()
	return s
})

// nodeType has the attributes that columns of node tables name.
func nodeType() *Type {
	t := newType("node", "nodelist", "node")
	t.Required = []string{"groups"}
	for _, table := range Tables() {
		if table.ByNode() {
			t.addTable(table)
		}
	}
	return t.sorted()
}

// groupType has the attributes of nodes, which its members inherit, and what
// a group is. What nodelist says of a node is no attribute of a group.
func groupType() *Type {
	t := newType("group", "nodegroup", "groupname")
	t.addTable(TableByName("nodegroup"))
	for _, table := range Tables() {
		if table.ByNode() && table.Name != "nodelist" {
			t.addTable(table)
		}
	}
	return t.sorted()
}

func imageType() *Type {
	t := newType("osimage", "osimage", "imagename")
	for _, table := range Tables() {
		if table.Kind == KindImage {
			t.addTable(table)
		}
	}
	return t.sorted()
}

// tableType is a type whose attributes are the columns of one table.
func tableType(name, table, key, comments string, required ...string) *Type {
	t := newType(name, table, key)
	t.Required = required
	for i := range t.Table.Columns {
		switch c := &t.Table.Columns[i]; {
		case t.IsSite(), c.Name == key, c.Name == "disable" && comments == "usercomment", c.Name == "node" && t.Table.ByNode():
		case c.Name == "comments":
			t.add(comments, Place{Table: t.Table, Column: c})
		default:
			t.add(c.Name, Place{Table: t.Table, Column: c})
		}
	}
	return t.sorted()
}

// switchType has what switches are asked by, under the names that nodes with
// nodetype=switch have for it. Such a node is one object of each type.
func switchType() *Type {
	t := newType("switch", "switches", "switch")
	for i := range t.Table.Columns {
		c := &t.Table.Columns[i]
		for _, ref := range c.attrs {
			t.add(ref.name, Place{Table: t.Table, Column: c})
		}
		if c.Name == "comments" {
			t.add("usercomment", Place{Table: t.Table, Column: c})
		}
	}
	return aside(t.sorted())
}

func aside(t *Type) *Type {
	t.Aside = true
	return t
}

func newType(name, table, key string) *Type {
	return &Type{Name: name, Key: key, Table: TableByName(table), byName: make(map[string]*Attribute)}
}

// addTable adds the attributes that the table's columns name.
func (t *Type) addTable(table *Table) {
	for i := range table.Columns {
		c := &table.Columns[i]
		for _, ref := range c.attrs {
			t.add(ref.name, Place{table, c, ref.when, ref.user})
		}
	}
}

func (t *Type) add(name string, p Place) {
	a := t.byName[name]
	if a == nil {
		a = &Attribute{Name: name}
		t.byName[name] = a
		t.Attributes = append(t.Attributes, a)
	}
	a.Places = append(a.Places, p)
}

func (t *Type) sorted() *Type {
	for _, a := range t.Attributes {
		slices.SortStableFunc(a.Places, func(p, q Place) int { return cmp.Compare(p.rank(), q.rank()) })
	}
	slices.SortFunc(t.Attributes, func(a, b *Attribute) int { return cmp.Compare(a.Name, b.Name) })
	return t
}

// siteAttribute is the attribute of a site key.
func siteAttribute(key string) *Attribute {
	table := TableByName("site")
	c := Column{Name: "value", Desc: siteDesc(key), path: siteValue, Secret: secretSite(key)}
	return &Attribute{Name: key, Places: []Place{{Table: table, Column: &c}}}
}

// hasItem reports whether a list separated by commas has the item.
func hasItem(list, item string) bool {
	for s := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(s) == item {
			return true
		}
	}
	return false
}
