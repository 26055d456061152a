package nodedb

import "strings"

// keyedReader reads an attribute that is, or may be, in a table whose rows have
// further keys than the node: passwd.HMC, productkey, mpa.username. It is nil if
// the name is none of those. What such a table says is no part of a node's
// record, so nothing of it may be kept from one snapshot to the next.
func (x *expander) keyedReader(name string) func(*slot) string {
	places := keyedPlaces(name)
	if places == nil {
		return nil
	}
	rows := make(map[*Table]map[string][]Record)
	for _, p := range places {
		if p.Table.Kind == KindNode || rows[p.Table] != nil {
			continue
		}
		byName := make(map[string][]Record)
		for _, r := range x.snap.Records(p.Table.Kind) {
			owner := p.Table.KeyValues(r.Name)[0]
			byName[owner] = append(byName[owner], r)
		}
		rows[p.Table] = byName
	}
	return func(s *slot) string {
		for _, p := range places {
			if on, value, ok := strings.Cut(p.When, "="); ok && !hasItem(s.attribute(on), value) {
				continue
			}
			if p.Table.Kind == KindNode {
				v, _ := s.value(p.Attr())
				return v
			}
			return s.keyed(p, rows[p.Table])
		}
		return ""
	}
}

// keyedPlaces are the places of an attribute some of which are in a table with
// further keys; nil if there are none.
func keyedPlaces(name string) []Place {
	if a := TypeByName("node").Attribute(name); a != nil && a.Name == name {
		for _, p := range a.Places {
			if p.Table.Kind != KindNode {
				return a.Places
			}
		}
		return nil
	}
	t, c, ok := ColumnByName(name)
	if !ok || !t.ByNode() || t.Kind == KindNode {
		return nil
	}
	return []Place{{Table: t, Column: c}}
}

// attribute is the value of an attribute that decides about others; those have
// one place.
func (s *slot) attribute(name string) string {
	v, _ := s.value(TypeByName("node").byName[name].Places[0].Attr())
	return v
}

// keyed is what the first row of the node, or else of its groups, has at a
// place.
func (s *slot) keyed(p Place, rows map[string][]Record) string {
	if list := rows[s.rec.Name]; len(list) > 0 {
		r, _ := p.of(list)
		return p.value(r)
	}
	if s.set == nil {
		return ""
	}
	for _, g := range s.set.rows {
		if list := rows[g.rec.Name]; len(list) > 0 {
			r, _ := p.of(list)
			return p.value(r)
		}
	}
	return ""
}

// addIf adds the nodes of which is says so.
func (n *nodeSet) addIf(is func(*slot) bool) {
	for at, chunk := range n.table.chunks {
		live := liveOf(chunk)
		for i := range chunk.items {
			if is(chunk.items[i].value) {
				n.bits[at*wordsPerChunk+i/64] |= 1 << (i % 64) & live[i/64]
			}
		}
	}
}
