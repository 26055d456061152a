package nodedb

import (
	"fmt"
	"slices"
	"strings"
)

// assignMembers works out who enters a group and who leaves it.
func (d *draft) assignMembers(a Assign) error {
	names, err := d.e.expand(a.Value)
	if err != nil {
		return err
	}
	now := d.e.members(d.name)
	d.values["members"] = a.Value
	switch a.Op {
	case Minus:
		for _, name := range names {
			if !slices.Contains(now, name) {
				d.note(a, []string{name})
				continue
			}
			d.drop = append(d.drop, name)
		}
		d.changed = d.changed || d.drop != nil
		return nil
	case Set:
		for _, name := range now {
			if !slices.Contains(names, name) {
				d.drop = append(d.drop, name)
			}
		}
	}
	d.join, d.changed = names, true
	return nil
}

// expand is a noderange of nodes that there are.
func (e *Editor) expand(noderange string) ([]string, error) {
	names, unknown, err := e.Expand(noderange)
	if err == nil && unknown != nil {
		err = fmt.Errorf("Invalid nodes and/or groups in noderange: %s: %w", strings.Join(unknown, ","), ErrNotFound)
	}
	return names, err
}

// Expand is a noderange in a transaction, where nodes that it has made count
// too: those that there are, and the names that no node has.
func (e *Editor) Expand(noderange string) (names, unknown []string, err error) {
	if noderange == "" {
		return nil, nil, nil
	}
	all, err := e.snap.ExpandNames(noderange)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range all {
		if _, ok := e.tx.Get(Key{KindNode, name}); ok {
			names = append(names, name)
		} else {
			unknown = append(unknown, name)
		}
	}
	return names, unknown, nil
}

// members are the nodes that have a group in nodelist.groups.
func (e *Editor) members(group string) []string {
	var names []string
	for _, r := range e.Records(KindNode) {
		if hasItem(r.Attrs["nodelist.groups"], group) {
			names = append(names, r.Name)
		}
	}
	return names
}

func (e *Editor) joinGroup(node, group string) {
	attrs := e.attrs(Key{KindNode, node})
	attrs["nodelist.groups"] = addItems(attrs["nodelist.groups"], group, ",")
	delete(attrs, "nodelist.")
	e.put(Key{KindNode, node}, attrs)
}

func (e *Editor) leaveGroup(node, group string) {
	t := TableByName("nodelist")
	attrs := e.attrs(Key{KindNode, node})
	groups, _ := removeItems(attrs["nodelist.groups"], group, ",")
	setColumn(attrs, t, t.Column("groups"), groups)
	e.put(Key{KindNode, node}, attrs)
}

// applyGroup writes a group. Every group that was defined has a row in
// nodegroup; the members of a static one are kept with the nodes.
func (d *draft) applyGroup() {
	k := Key{KindGroup, d.name}
	d.applyNode(k)
	attrs := d.e.attrs(k)
	if attrs["nodegroup.grouptype"] == "" {
		attrs["nodegroup.grouptype"] = "static"
	}
	attrs["nodegroup.members"] = attrs["nodegroup.grouptype"]
	delete(attrs, "nodegroup.")
	d.e.put(k, attrs)
	for _, name := range d.drop {
		d.e.leaveGroup(name, d.name)
	}
	for _, name := range d.join {
		d.e.joinGroup(name, d.name)
	}
}

// setSite sets a row of the site table; "" removes it.
func (e *Editor) setSite(key string, p Place, value string) {
	k := Key{KindSite, key}
	if value == "" {
		e.delete(k)
		return
	}
	attrs := e.attrs(k)
	setColumn(attrs, p.Table, p.Column, value)
	e.put(k, attrs)
}
