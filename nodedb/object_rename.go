package nodedb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Rename gives an object another name, in every table that has rows of it and,
// for a group, in its members' lists. What merely mentions a node or an image
// by name is left alone.
func (e *Editor) Rename(t *Type, name, to string) error {
	if !e.Has(t, name) {
		return fmt.Errorf("%s %s: %w", t.Name, name, ErrNotFound)
	}
	if err := e.checkName(t, to); err != nil {
		return err
	}
	if e.Has(t, to) {
		return fmt.Errorf("%s %s: %w", t.Name, to, ErrExists)
	}
	switch {
	case t.Name == "node":
		e.addNode(to)
		attrs := e.attrs(Key{KindNode, to})
		maps.Copy(attrs, e.attrs(Key{KindNode, name}))
		e.delete(Key{KindNode, name})
		e.put(Key{KindNode, to}, attrs)
		e.renameKeyed(name, to)
		e.renamePrivate(name, to)
	case t.Name == "group":
		e.renameGroup(name, to)
	default:
		r := e.record(t, name)
		return e.renameRow(t, r.Key, name, to)
	}
	return nil
}

func (e *Editor) renameGroup(name, to string) {
	attrs := e.attrs(Key{KindGroup, to})
	maps.Copy(attrs, e.attrs(Key{KindGroup, name}))
	e.delete(Key{KindGroup, name})
	e.put(Key{KindGroup, to}, attrs)
	if _, node := e.tx.Get(Key{KindNode, name}); !node {
		e.renameKeyed(name, to)
	}
	for _, member := range e.members(name) {
		attrs := e.attrs(Key{KindNode, member})
		groups := splitList(attrs["nodelist.groups"], ",")
		groups[slices.Index(groups, name)] = to
		attrs["nodelist.groups"] = strings.Join(groups, ",")
		e.put(Key{KindNode, member}, attrs)
	}
}

// renameKeyed renames rows in tables with further keys.
func (e *Editor) renameKeyed(name, to string) {
	for _, t := range Tables() {
		if !t.ByNode() || t.Kind == KindNode {
			continue
		}
		for _, k := range e.keyedRows(t, name) {
			attrs := e.attrs(k)
			e.delete(k)
			e.put(Key{k.Kind, to + strings.TrimPrefix(k.Name, name)}, attrs)
		}
	}
}

// renameRow renames an object that is kept in one record.
func (e *Editor) renameRow(t *Type, k Key, name, to string) error {
	if t.Table.Kind == KindNode {
		return fmt.Errorf("%s %s: rename the node instead: %w", t.Name, name, ErrInvalid)
	}
	r, _ := e.tx.Get(k)
	if t.Table.Kind == KindImage {
		attrs := maps.Clone(r.Attrs)
		e.delete(k)
		e.put(Key{KindImage, to}, attrs)
		return nil
	}
	row, _ := t.Table.row(r)
	row.Values[t.Table.Index(t.Key)] = to
	e.delete(k)
	e.putRow(t.Table, row.Values)
	return nil
}
