package nodedb

import (
	"fmt"
	"strings"
)

// A criterion is what an attribute is compared with.
type criterion struct {
	attr  string
	value string
	match func(v string) bool

	exact, negate bool // it asks for the value itself, or for any other
}

// parseCriterion reads attr==value, attr=value, attr!=value, attr=~regex or
// attr!~regex; ok is false if it is none of them. A regular expression is not
// anchored and may stand between slashes.
func parseCriterion(text string) (c criterion, ok bool, err error) {
	at := strings.IndexAny(text, "=~!")
	if at <= 0 {
		return criterion{}, false, nil
	}
	c.attr = text[:at]
	rest := text[at:]
	for _, op := range []string{"!=", "=~", "==", "!~", "="} {
		value, ok := strings.CutPrefix(rest, op)
		if !ok {
			continue
		}
		c.value = value
		return c, true, c.compile(op)
	}
	return criterion{}, false, nil
}

func (c *criterion) compile(op string) error {
	switch op {
	case "==", "=", "!=":
		c.exact, c.negate = true, op == "!="
		c.match = func(v string) bool { return (v == c.value) != c.negate }
		return nil
	}
	pattern := strings.TrimSuffix(strings.TrimPrefix(c.value, "/"), "/")
	re, err := perlRegexp(pattern)
	if err != nil {
		return errRegexp(pattern, err)
	}
	negate := op == "!~"
	c.match = func(v string) bool { return re.MatchString(v) != negate }
	return nil
}

// selection evaluates an atom that selects nodes by an attribute's effective
// value; a node that has none has "".
func (x *expander) selection(text string) (*nodeSet, error) {
	c, ok, err := parseCriterion(text)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("noderange %s: not an attribute and a value (nodehm.mgt==esx): %w", text, ErrInvalid)
	}
	set := x.empty()
	if get := x.keyedReader(c.attr); get != nil {
		set.addIf(func(s *slot) bool { return c.match(get(s)) })
		return set, nil
	}
	get, err := nodeAttr(c.attr)
	if err != nil {
		return nil, fmt.Errorf("noderange %s: %w", text, err)
	}
	set.addWhere(c.attr, get, &c)
	return set, nil
}

// nodeAttr returns how to read an attribute of a node by what an operator may
// call it: table.column, an attribute of the object commands, tags or node.
func nodeAttr(name string) (func(*slot) string, error) {
	switch name {
	case "tags":
		name = "groups"
	case "node":
		return func(s *slot) string { return s.rec.Name }, nil
	}
	if a := TypeByName("node").Attribute(name); a != nil {
		if get := placeReader(a.Places); get != nil {
			return nicReader(get, strings.TrimPrefix(name, a.Name)), nil
		}
	}
	t, c, ok := ColumnByName(name)
	if !ok || t.Kind != KindNode {
		return nil, fmt.Errorf("%s is no attribute of nodes: %w", name, ErrInvalid)
	}
	if t.IsKey(c.Name) {
		return func(s *slot) string { return s.rec.Name }, nil
	}
	return reader(t.Attr(c.Name)), nil
}

func reader(column string) func(*slot) string {
	return func(s *slot) string {
		v, _ := s.value(column)
		return v
	}
}

// placeReader reads an attribute from the first of its places whose condition
// holds for the node; nil if none is in a node's record.
func placeReader(places []Place) func(*slot) string {
	type place struct {
		get   func(*slot) string
		on    func(*slot) string
		value string
	}
	var list []place
	for _, p := range places {
		if p.Table.Kind != KindNode {
			continue
		}
		q := place{get: reader(p.Table.Attr(p.Column.Name))}
		if attr, value, ok := strings.Cut(p.When, "="); ok {
			on, err := nodeAttr(attr)
			if err != nil {
				continue
			}
			q.on, q.value = on, value
		}
		list = append(list, q)
	}
	if len(list) == 0 {
		return nil
	}
	return func(s *slot) string {
		for _, p := range list {
			if p.on == nil || hasItem(p.on(s), p.value) {
				return p.get(s)
			}
		}
		return ""
	}
}

// nicReader reads one interface's share, ".eth1", of a list such as
// eth0!10.0.0.1,eth1!10.0.0.2; all of it if nic is "".
func nicReader(get func(*slot) string, nic string) func(*slot) string {
	if nic == "" {
		return get
	}
	return func(s *slot) string { return nicOf(get(s), nic[1:]) }
}

// group returns the nodes of a group; ok is false if there is none of that
// name.
func (x *expander) group(name string) (set *nodeSet, ok bool, err error) {
	rec, defined := x.snap.slot(Key{KindGroup, name})
	if defined && rec.own("nodegroup.grouptype") == "dynamic" {
		set, err = x.dynamic(name, rec.own("nodegroup.wherevals"))
		return set, true, err
	}
	members, ok := x.snap.members.get(name)
	if !ok && (!defined || !isNodegroup(rec.rec.Attrs)) {
		return nil, false, nil
	}
	set = x.empty()
	if ok {
		set.addSorted(members)
	}
	return set, true, nil
}

// dynamic returns the nodes that all conditions of a dynamic group hold for.
func (x *expander) dynamic(name, where string) (*nodeSet, error) {
	if err := x.enter(); err != nil {
		return nil, err
	}
	defer x.leave()
	if where == "" {
		return x.empty(), nil
	}
	var all *nodeSet
	for cond := range strings.SplitSeq(where, "::") {
		set, err := x.selection(cond)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", name, err)
		}
		if all == nil {
			all = set
			continue
		}
		all.intersect(set)
	}
	return all, nil
}

// groupSet returns the nodes of a group for Members, nil if there is none.
func (s *Snapshot) groupSet(name string) (*nodeSet, error) {
	x := &expander{snap: s, table: s.kind(KindNode), verify: true, left: maxNames}
	set, ok, err := x.group(name)
	if !ok || err != nil {
		return nil, err
	}
	return set, nil
}
