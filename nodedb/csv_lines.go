package nodedb

import "strings"

// A slotLine is the line of a record in a table's CSV: the table that was
// written last.
type slotLine struct {
	t    *Table
	text string // empty: the record has no row there
}

// csvLine returns the record's line in a table's CSV, "" if it has none.
func (s *slot) csvLine(t *Table) string {
	if l := s.line.Load(); l != nil && l.t == t {
		return l.text
	}
	l := &slotLine{t: t}
	if row, ok := t.row(s.rec); ok {
		var b strings.Builder
		row.writeCSV(&b)
		l.text = b.String()
	}
	s.line.Store(l)
	return l.text
}

// csvBlock is about how much of a table's CSV is handed on at once.
const csvBlock = 32 << 10

// CSV hands on a table of nodes, block by block, as WriteCSV writes its rows. The
// records remember their lines, so that of a table that is written often only
// those are made that have changed. For other tables it returns false.
func (s *Snapshot) CSV(t *Table, emit func(block string)) bool {
	if t.Kind != KindNode {
		return false
	}
	nodes := s.kind(KindNode)
	b := new(strings.Builder)
	b.Grow(min(csvBlock, 64*(1+nodes.len())))
	write := func(line string) {
		if b.Len()+len(line) > csvBlock && b.Len() > 0 {
			emit(b.String())
			b = new(strings.Builder)
			b.Grow(csvBlock)
		}
		b.WriteString(line)
	}
	writeHeader(b, t)
	var groups []*slot
	if len(t.kinds()) > 1 {
		for _, g := range s.kind(KindGroup).all() {
			groups = append(groups, g)
		}
	}
	for name, n := range nodes.all() {
		line := n.csvLine(t)
		for len(groups) > 0 && (groups[0].rec.Name < name || groups[0].rec.Name == name && line == "") {
			write(groups[0].csvLine(t))
			groups = groups[1:]
		}
		// A name that is both a node's and a group's has one row: the node's.
		if len(groups) > 0 && groups[0].rec.Name == name {
			groups = groups[1:]
		}
		write(line)
	}
	for _, g := range groups {
		write(g.csvLine(t))
	}
	emit(b.String())
	return true
}
