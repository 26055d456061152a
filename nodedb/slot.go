package nodedb

import (
	"slices"
	"strings"
	"sync/atomic"
)

// A slot is a record in a snapshot, with what is worked out from it. Slots are
// shared by all snapshots in which neither the record nor, for a node, its
// groups differ.
type slot struct {
	rec      Record
	disabled bool  // some table's row is switched off
	changed  int64 // of a node: the revision of its record, less changes of status
	set      *groupSet
	node     atomic.Pointer[Node] // built when first asked for
	line     atomic.Pointer[slotLine]
}

// A groupSet is the rows that nodes with the same nodelist.groups inherit.
type groupSet struct {
	names []string
	rows  []*slot // of those groups that have a record, in order
	env   *env

	fields lazy[[]groupField]
}

// A groupField is a text field of Node that groups give a value.
type groupField struct {
	column string
	raw    string
}

// fieldValues are the fields that the groups give values, before those are
// worked out for a node.
func (g *groupSet) fieldValues() []groupField {
	return g.fields.get(func() []groupField {
		var list []groupField
		var none Node
		nobody := &slot{set: g}
		for _, row := range g.rows {
			for column := range row.rec.Attrs {
				if none.text(column) == nil || slices.ContainsFunc(list, func(f groupField) bool { return f.column == column }) {
					continue
				}
				if raw := nobody.raw(column); raw != "" {
					list = append(list, groupField{column, raw})
				}
			}
		}
		return list
	})
}

// An env is what bears on the values of all nodes.
type env struct {
	exprs        *exprCache
	hierarchical map[string]bool // site.hierarchicalattrs
}

func newSlot(r Record) *slot {
	s := &slot{rec: r}
	for column, v := range r.Attrs {
		if v != "" && strings.HasSuffix(column, ".disable") && isDisabled(v) {
			s.disabled = true
		}
	}
	return s
}

// statusColumns say how a node is, not what it is to be.
var statusColumns = []string{
	"nodelist.status", "nodelist.statustime", "nodelist.appstatus", "nodelist.appstatustime", "nodelist.updatestatus", "nodelist.updatestatustime",
}

// sameButStatus says whether two records of a node differ in its status at most.
func sameButStatus(a, b map[string]string) bool {
	both := 0
	for column, v := range a {
		w, ok := b[column]
		if ok {
			both++
		}
		if (!ok || v != w) && !slices.Contains(statusColumns, column) {
			return false
		}
	}
	if both == len(b) {
		return true
	}
	for column := range b {
		if _, ok := a[column]; !ok && !slices.Contains(statusColumns, column) {
			return false
		}
	}
	return true
}

// isDisabled says whether a value of a disable column switches its row off.
func isDisabled(v string) bool {
	return v != "" && v != "0" && !strings.EqualFold(v, "no")
}

// own returns the record's own value of a column, "" if its row is off.
func (s *slot) own(column string) string {
	v := s.rec.Attrs[column]
	if v == "" || !s.disabled {
		return v
	}
	table, name, _ := strings.Cut(column, ".")
	if name != "disable" && isDisabled(s.rec.Attrs[table+".disable"]) {
		return ""
	}
	return v
}

// off says whether the whole node is switched off in nodelist.
func (s *slot) off() bool { return s.disabled && isDisabled(s.rec.Attrs["nodelist.disable"]) }

// inherits says whether groups give their members values of a column.
func inherits(column string) bool {
	return !strings.HasPrefix(column, "nodelist.") && !strings.HasSuffix(column, ".disable") && !strings.HasPrefix(column, "nodegroup.")
}

// nextRecord at the end of a value has the next group's value appended.
const nextRecord = "+=NEXTRECORD"

// raw returns the value of a node's column before it is worked out: the
// node's own, or that of the first of its groups that has one.
func (s *slot) raw(column string) string {
	v := s.own(column)
	if s.set == nil || !inherits(column) {
		return v
	}
	if s.set.env.isHierarchical(column) {
		return s.joined(column)
	}
	if v != "" && !strings.HasSuffix(v, nextRecord) {
		return v
	}
	for _, row := range s.set.rows {
		g := row.own(column)
		if g == "" {
			continue
		}
		v = strings.TrimSuffix(v, nextRecord) + g
		if !strings.HasSuffix(g, nextRecord) {
			break
		}
	}
	return strings.ReplaceAll(v, nextRecord, "")
}

// joined returns the items of the node's and all its groups' values, each once.
func (s *slot) joined(column string) string {
	var items []string
	add := func(v string) {
		for item := range strings.SplitSeq(v, ",") {
			if item != "" && !slices.Contains(items, item) {
				items = append(items, item)
			}
		}
	}
	add(s.own(column))
	for _, row := range s.set.rows {
		add(row.own(column))
	}
	return strings.Join(items, ",")
}

func (e *env) isHierarchical(column string) bool {
	if len(e.hierarchical) == 0 {
		return false
	}
	_, name, _ := strings.Cut(column, ".")
	return e.hierarchical[column] || e.hierarchical[name]
}

// value returns the effective value of a node's column.
func (s *slot) value(column string) (string, error) {
	v := s.raw(column)
	if v == "" || s.set == nil {
		return v, nil
	}
	if strings.HasPrefix(column, "nics.") && strings.Contains(v, "!") && !isExpr(v) {
		return s.nics(v)
	}
	return s.set.env.exprs.eval(v, s.rec.Name)
}

// nics returns a list of interfaces with the value of each worked out; one
// that comes to nothing is left out.
func (s *slot) nics(list string) (string, error) {
	var out []string
	for _, nic := range parseNICs(list) {
		v, err := s.set.env.exprs.eval(nic.value, s.rec.Name)
		if err != nil {
			return "", err
		}
		if v != "" {
			out = append(out, nic.name+"!"+v)
		}
	}
	return strings.Join(out, ","), nil
}

// source names the group that a node's value of a column comes from: "" if it
// is the node's own or there is none.
func (s *slot) source(column string) string {
	if s.own(column) != "" || s.set == nil || !inherits(column) {
		return ""
	}
	for _, row := range s.set.rows {
		if row.own(column) != "" {
			return row.rec.Name
		}
	}
	return ""
}
