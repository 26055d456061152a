package nodedb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An Op is what an assignment does to an attribute.
type Op int

// The operations. Plus and Minus treat the value as a list.
const (
	Set Op = iota
	Plus
	Minus
)

// An Assign is one attribute and what becomes of it. Set to an empty value
// takes the attribute away.
type Assign struct {
	Attr  string
	Op    Op
	Value string
}

// Check refuses attributes that the type does not have.
func (t *Type) Check(assigns []Assign) error {
	for _, a := range assigns {
		if t.Attribute(a.Attr) == nil {
			return &UnknownError{t.Name, a.Attr}
		}
	}
	return nil
}

// Known tells assignments of attributes that the type has from the others, of
// which each makes an UnknownError.
func (t *Type) Known(assigns []Assign) (known []Assign, unknown []error) {
	for _, a := range assigns {
		if t.Attribute(a.Attr) == nil {
			unknown = append(unknown, &UnknownError{t.Name, a.Attr})
			continue
		}
		known = append(known, a)
	}
	return known, unknown
}

// Define makes an object. ErrExists if there is one, ErrInvalid if an
// attribute that it needs is missing or one is wrong.
func (e *Editor) Define(t *Type, name string, assigns []Assign) error {
	if err := e.checkName(t, name); err != nil {
		return err
	}
	if e.defined(t, name) {
		return fmt.Errorf("%s %s: %w", t.Name, name, ErrExists)
	}
	d, err := e.resolve(t, name, assigns)
	if err != nil {
		return err
	}
	if err := d.required(); err != nil {
		return err
	}
	return d.apply()
}

// Replace makes an object in place of the one that has its name.
func (e *Editor) Replace(t *Type, name string, assigns []Assign) error {
	if !e.Has(t, name) || t.IsSite() {
		return e.Define(t, name, assigns)
	}
	// Resolved as if the object were not there, so that nothing is removed
	// for a definition that is refused.
	d := &draft{e: e, t: t, name: name, values: make(map[string]string), fresh: true}
	if err := d.resolve(assigns); err != nil {
		return err
	}
	if err := d.required(); err != nil {
		return err
	}
	if err := e.Remove(t, name); err != nil {
		return err
	}
	return d.apply()
}

// A Result is what a change came to. Notes are items that were to be taken away
// and were not there; Changed says whether any value is another now.
type Result struct {
	Created, Changed bool
	Notes            []error
}

// Change changes an object, or makes it if there is none.
func (e *Editor) Change(t *Type, name string, assigns []Assign) (Result, error) {
	created := !e.Has(t, name) && !t.IsSite()
	if created || t.IsSite() {
		if err := e.checkName(t, name); err != nil {
			return Result{}, err
		}
	}
	d, err := e.resolve(t, name, assigns)
	if err != nil {
		return Result{}, err
	}
	if created {
		if err := d.required(); err != nil {
			return Result{}, err
		}
	}
	r := Result{Created: created, Changed: created || d.changed, Notes: d.notes}
	return r, d.apply()
}

// A draft is what is to be written for one object, worked out before any of
// it is.
type draft struct {
	e       *Editor
	t       *Type
	name    string
	record  *Record           // the object's own record, nil if it has none yet
	fresh   bool              // what the object has now does not count
	values  map[string]string // by attribute: what assignments make of them
	cells   []cell
	notes   []error
	changed bool     // a value will be another
	drop    []string // members to leave the group
	join    []string // members to enter it
}

// A cell is one column and what it is to hold.
type cell struct {
	attr  string
	place Place
	value string
}

func (e *Editor) resolve(t *Type, name string, assigns []Assign) (*draft, error) {
	d := &draft{e: e, t: t, name: name, values: make(map[string]string)}
	d.record = e.record(t, name)
	return d, d.resolve(assigns)
}

// record is the record that holds most of an object's attributes.
func (e *Editor) record(t *Type, name string) *Record {
	var r Record
	var ok bool
	switch t.Name {
	case "node":
		r, ok = e.tx.Get(Key{KindNode, name})
	case "group":
		r, ok = e.tx.Get(Key{KindGroup, name})
	case "site":
	default:
		r, ok = t.find(e, name)
	}
	if !ok {
		return nil
	}
	return &r
}

// resolve works out the cells. Attributes that always exist come first, since
// the others depend on them.
func (d *draft) resolve(assigns []Assign) error {
	if err := d.t.Check(assigns); err != nil {
		return err
	}
	for _, conditional := range []bool{false, true} {
		for _, a := range assigns {
			attr := d.t.Attribute(a.Attr)
			if attr.depends() != conditional {
				continue
			}
			if err := d.assign(attr, a); err != nil {
				return err
			}
		}
	}
	return d.checkNet()
}

func (d *draft) assign(attr *Attribute, a Assign) error {
	why := checkText(a.Value)
	if strings.ContainsAny(a.Value, "\n\r") {
		why = "a line break"
	}
	if why != "" {
		return fmt.Errorf("%s: %s: %s in the value: %w", d.name, a.Attr, why, ErrInvalid)
	}
	if d.t.Name == "group" && a.Attr == "members" {
		return d.assignMembers(a)
	}
	share := a.Attr != attr.Name // one interface's share of a list
	if a.Op == Set && a.Value == "" && !share {
		d.clear(attr)
		return nil
	}
	p, ok := attr.At(d.get)
	if !ok {
		on, values := attr.condition()
		return &ConditionError{d.name, a.Attr, on, values}
	}
	old := d.current(attr, p)
	if share && isExpr(old) {
		return fmt.Errorf("%s: %s is one expression for all interfaces; set that: %w", d.name, attr.Name, ErrInvalid)
	}
	if share {
		nic := nicName(a.Attr)
		value, notes := combine(nicOf(old, nic), a, "|")
		d.note(a, notes)
		d.set(attr, p, setNIC(old, nic, value))
		return nil
	}
	value, notes := combine(old, a, p.separator())
	d.note(a, notes)
	if a.Op == Minus && value == "" && old != "" && d.wouldInherit(p) {
		value = NoValue
	}
	d.set(attr, p, value)
	return nil
}

// NoValue is the expression that stands in a node's row for no value where a
// group has one.
const NoValue = "|^.*$||"

// wouldInherit reports whether a node without a value of its own would have
// its groups'.
func (d *draft) wouldInherit(p Place) bool {
	if d.t.Name != "node" || p.Table.Kind != KindNode || p.Table.Name == "nodelist" {
		return false
	}
	for _, g := range splitList(d.get("groups"), ",") {
		if r, _ := d.e.tx.Get(Key{KindGroup, g}); r.Attrs[p.Attr()] != "" {
			return true
		}
	}
	return false
}

func nicName(attr string) string {
	_, nic, _ := strings.Cut(attr, ".")
	return nic
}

func (d *draft) note(a Assign, items []string) {
	for _, item := range items {
		d.notes = append(d.notes, &NoItemError{d.name, a.Attr, item})
	}
}

func (d *draft) set(attr *Attribute, p Place, value string) {
	d.changed = d.changed || d.current(attr, p) != value
	d.values[attr.Name] = value
	d.cells = append(d.cells, cell{attr.Name, p, value})
}

// clear takes an attribute away wherever it is.
func (d *draft) clear(attr *Attribute) {
	d.changed = true
	d.values[attr.Name] = ""
	for _, p := range attr.Places {
		d.cells = append(d.cells, cell{attr.Name, p, ""})
	}
}

// combine works out a list. Items that are to go and are not there are
// returned; a single "" says that there is no list.
func combine(old string, a Assign, sep string) (value string, missing []string) {
	switch a.Op {
	case Plus:
		return addItems(old, a.Value, sep), nil
	case Minus:
		if old == "" {
			return "", []string{""}
		}
		return removeItems(old, a.Value, sep)
	}
	return a.Value, nil
}

func addItems(list, items, sep string) string {
	out := splitList(list, sep)
	for _, item := range splitList(items, sep) {
		if !slices.Contains(out, item) {
			out = append(out, item)
		}
	}
	return strings.Join(out, sep)
}

func removeItems(list, items, sep string) (value string, missing []string) {
	out := splitList(list, sep)
	for _, item := range splitList(items, sep) {
		i := slices.Index(out, item)
		if i < 0 {
			missing = append(missing, item)
			continue
		}
		out = slices.DeleteFunc(out, func(s string) bool { return s == item })
	}
	return strings.Join(out, sep), missing
}

func splitList(list, sep string) []string {
	var out []string
	for s := range strings.SplitSeq(list, sep) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// separator is what stands between the items of a list at the place.
func (p Place) separator() string {
	switch p.Attr() {
	case "nodegroup.wherevals":
		return "::"
	case "vm.othersettings", "networks.dynamicrange":
		return ";"
	case "mac.mac":
		return "|"
	}
	return ","
}

// get returns an attribute as it will be.
func (d *draft) get(attr string) string {
	if v, ok := d.values[attr]; ok {
		return v
	}
	a := d.t.byName[attr]
	if a == nil {
		return ""
	}
	return d.current(a, a.Places[0])
}

// current returns what the object has at a place, inherited values included:
// adding to a list that a node has from its group keeps the group's items.
func (d *draft) current(a *Attribute, p Place) string {
	if v, ok := d.values[a.Name]; ok {
		return v
	}
	switch {
	case d.t.IsSite():
		r, _ := d.e.tx.Get(Key{KindSite, a.Name})
		return r.Attrs["site.value"]
	case p.Table.ByNode() && p.Table.Kind != KindNode && d.t.Name != p.Table.Name:
		return d.currentKeyed(p)
	}
	if d.record != nil {
		if v := p.value(*d.record); v != "" && !(d.t.Name == "node" && isExpr(v)) {
			return v
		}
	}
	if d.t.Name == "node" && p.Table.Name != "nodelist" {
		return d.inherited(p.Attr())
	}
	return ""
}

func (d *draft) currentKeyed(p Place) string {
	if d.fresh {
		return ""
	}
	if keys := d.keyedRows(p.Table, p.User); len(keys) > 0 {
		r, _ := d.e.tx.Get(keys[0])
		return p.value(r)
	}
	return ""
}

// keyedRows are the name's rows in a table with further keys, those of a user
// if one is given.
func (d *draft) keyedRows(t *Table, user string) []Key {
	keys := d.e.keyedRows(t, d.name)
	if user == "" {
		return keys
	}
	return slices.DeleteFunc(keys, func(k Key) bool { return k.Name != t.KeyName(d.name, user) })
}

// inherited returns what the node's groups give it.
func (d *draft) inherited(column string) string {
	if d.record != nil {
		if n, err := d.e.snap.Node(d.name); err == nil && !d.e.touched[KindNode][d.name] {
			return n.Attr(column)
		}
	}
	for _, g := range splitList(d.get("groups"), ",") {
		r, _ := d.e.tx.Get(Key{KindGroup, g})
		if v := r.Attrs[column]; v != "" && !isExpr(v) {
			return v
		}
	}
	return ""
}

// required refuses an object that lacks what it needs.
func (d *draft) required() error {
	for _, attr := range d.t.Required {
		if d.values[attr] == "" {
			return &MissingError{d.t.Name, d.name, attr}
		}
	}
	return nil
}

// checkNet refuses a second network with the same address and mask.
func (d *draft) checkNet() error {
	if d.t.Name != "network" {
		return nil
	}
	net, mask := d.get("net"), d.get("mask")
	if net == "" || mask == "" {
		return &MissingError{"network", d.name, "net"}
	}
	r, ok := d.e.tx.Get(Key{KindNetwork, d.t.Table.KeyName(net, mask)})
	if other := r.Attrs["networks.netname"]; ok && other != d.name {
		return &SameNetError{d.name, other}
	}
	return nil
}

// apply writes the cells.
func (d *draft) apply() error {
	switch {
	case d.t.IsSite():
		d.applySite()
	case d.t.Name == "node":
		d.e.addNode(d.name)
		d.applyNode(Key{KindNode, d.name})
	case d.t.Name == "group":
		d.applyGroup()
	case d.t.Table.Kind == KindNode:
		d.applyNode(d.e.home(d.name))
	case d.t.Table.Kind == KindImage:
		d.applyImage()
	default:
		return d.applyRow()
	}
	return nil
}

func (d *draft) applySite() {
	for _, cell := range d.cells {
		d.e.setSite(cell.attr, cell.place, cell.value)
	}
}

// applyNode writes cells of node tables into a node's or group's record, and
// those of tables with further keys into rows of their own.
func (d *draft) applyNode(home Key) {
	attrs := d.e.attrs(home)
	type place struct {
		t    *Table
		user string
	}
	keyed := make(map[place][]cell)
	for _, cell := range d.cells {
		if cell.place.Table.ByNode() && cell.place.Table.Kind != KindNode {
			at := place{cell.place.Table, cell.place.User}
			keyed[at] = append(keyed[at], cell)
			continue
		}
		setColumn(attrs, cell.place.Table, cell.place.Column, cell.value)
	}
	if d.t.Table.Kind == KindNode && d.t.Name != "node" && !hasColumns(attrs, d.t.Table) {
		attrs[d.t.Table.rowMark()] = ""
	}
	d.e.put(home, attrs)
	for at, cells := range keyed {
		d.applyKeyed(at.t, at.user, cells)
	}
}

// applyKeyed writes cells of a table with further keys: into the name's first
// row there, or that of a user, or a new one.
func (d *draft) applyKeyed(t *Table, user string, cells []cell) {
	row := Row{Values: make([]string, len(t.Columns))}
	row.Values[0] = d.name
	if user != "" {
		row.Values[t.Index("username")] = user
	}
	keys := d.keyedRows(t, user)
	if len(keys) > 0 {
		r, _ := d.e.tx.Get(keys[0])
		row, _ = t.row(r)
	}
	empty := true
	for _, cell := range cells {
		row.Values[t.Index(cell.place.Column.Name)] = cell.value
	}
	for i, v := range row.Values {
		empty = empty && (v == "" || i == 0 || user != "" && t.Columns[i].Name == "username")
	}
	if len(keys) > 0 {
		d.e.delete(keys[0])
	}
	if !empty {
		d.e.putRow(t, row.Values)
	}
}

func (d *draft) applyImage() {
	k := Key{KindImage, d.name}
	attrs := d.e.attrs(k)
	for _, cell := range d.cells {
		setColumn(attrs, cell.place.Table, cell.place.Column, cell.value)
	}
	if image := TableByName("osimage"); !hasColumns(attrs, image) {
		attrs[image.rowMark()] = ""
	}
	d.e.put(k, attrs)
}

// applyRow writes an object that is one row of a table.
func (d *draft) applyRow() error {
	t := d.t.Table
	values := make([]string, len(t.Columns))
	if d.record != nil {
		row, _ := t.row(*d.record)
		values = row.Values
	}
	values[t.Index(d.t.Key)] = d.name
	for _, cell := range d.cells {
		values[t.Index(cell.place.Column.Name)] = cell.value
	}
	if d.record != nil {
		d.e.delete(d.record.Key)
	}
	d.e.putRow(t, values)
	return nil
}

// putRow writes a whole row of a table that is a kind of its own.
func (e *Editor) putRow(t *Table, values []string) {
	attrs := make(map[string]string)
	for i := range t.Columns {
		if values[i] != "" && !t.IsKey(t.Columns[i].Name) {
			attrs[t.Columns[i].path] = values[i]
		}
	}
	if len(attrs) == 0 {
		attrs[t.rowMark()] = ""
	}
	e.put(Key{t.Kind, t.keyName(values)}, attrs)
}

// Remove removes an object and all its rows. The error wraps ErrNotFound.
func (e *Editor) Remove(t *Type, name string) error {
	if !e.Has(t, name) {
		return fmt.Errorf("%s %s: %w", t.Name, name, ErrNotFound)
	}
	switch {
	case t.Name == "node":
		e.delete(Key{KindNode, name})
		e.removeKeyed(name)
		e.removePrivate(name)
	case t.Name == "group":
		for _, r := range e.Records(KindNode) {
			if hasItem(r.Attrs["nodelist.groups"], name) {
				e.leaveGroup(r.Name, name)
			}
		}
		e.delete(Key{KindGroup, name})
		if !e.Has(TypeByName("node"), name) {
			e.removeKeyed(name)
		}
	case t.IsSite():
		for _, r := range e.Records(KindSite) {
			e.delete(r.Key)
		}
	default:
		r := e.record(t, name)
		if t.Table.Kind == KindNode {
			e.removeRow(t.Table, r.Key)
			break
		}
		e.delete(r.Key)
	}
	return nil
}

// removeKeyed removes a node's rows in tables with further keys.
func (e *Editor) removeKeyed(name string) {
	for _, t := range Tables() {
		if t.ByNode() && t.Kind != KindNode {
			for _, k := range e.keyedRows(t, name) {
				e.delete(k)
			}
		}
	}
}

// removeRow takes a table's row out of a record.
func (e *Editor) removeRow(t *Table, k Key) {
	if t.Name == "nodelist" {
		e.dropNode(k.Name)
		return
	}
	if t.isKind() {
		e.delete(k)
		return
	}
	attrs := e.attrs(k)
	maps.DeleteFunc(attrs, func(column, _ string) bool { return strings.HasPrefix(column, t.rowMark()) })
	e.put(k, attrs)
}
