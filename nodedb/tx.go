package nodedb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Tx is one change to the table. It is used by one goroutine.
type Tx struct {
	snap    *Snapshot
	pending map[Kind]*pendings
	last    *pendings // where something was looked for last
	order   []*pending
	stands  []stand   // values that were put in place of secrets, those that were overwritten too
	seal    *sealed   // what opens sealed values; nil: nothing is sealed
	slab    []pending // memory for more

	column, value string   // the last ones that were kept
	columns       []string // that column alone
}

// A pending is a record as the transaction has it: the attributes that it had
// with one column set, as long as nothing else is asked of it, or attrs.
type pending struct {
	Key
	attrs   map[string]string // nil: removed, unless one column is set
	before  Record            // of the snapshot
	there   bool              // before is a record
	one     bool              // touched[0] is set to value, and attrs is not there yet
	shared  bool              // attrs has been handed out
	whole   bool              // attrs was put whole; else only touched may differ from before
	touched []string
	value   string
}

// own makes the attributes that the record has now.
func (p *pending) own() {
	if !p.one {
		return
	}
	p.one = false
	n := len(p.before.Attrs)
	if _, was := p.before.Attrs[p.touched[0]]; !was {
		n++
	}
	p.attrs = make(map[string]string, n)
	for column, v := range p.before.Attrs {
		p.attrs[column] = v
	}
	p.set(p.touched[0], p.value)
}

func (p *pending) set(column, value string) {
	if isNone(column, value) {
		delete(p.attrs, column)
		return
	}
	p.attrs[column] = value
}

// isNone says that a column with that value is not there: an empty value, but
// for "table.", which marks a row.
func isNone(column, value string) bool { return value == "" && !strings.HasSuffix(column, ".") }

// A pendings is what a transaction has of one kind, in the order in which it
// came. As long as that is the order of the names it is found without an index.
type pendings struct {
	kind  Kind
	list  []*pending
	index map[string]*pending // nil: the list is sorted
	was   *sorted[*slot]      // what the snapshot has of the kind
	near  finger              // in that
}

func (ps *pendings) find(name string) *pending {
	if ps.index != nil {
		return ps.index[name]
	}
	n := len(ps.list)
	if n == 0 || ps.list[n-1].Name < name {
		return nil
	}
	if p := ps.list[n-1]; p.Name == name {
		return p
	}
	i, ok := slices.BinarySearchFunc(ps.list, name, func(p *pending, name string) int { return strings.Compare(p.Name, name) })
	if !ok {
		return nil
	}
	return ps.list[i]
}

func (ps *pendings) add(p *pending) {
	if n := len(ps.list); ps.index == nil && n > 0 && ps.list[n-1].Name > p.Name {
		ps.index = make(map[string]*pending, 2*n)
		for _, p := range ps.list {
			ps.index[p.Name] = p
		}
	}
	ps.list = append(ps.list, p)
	if ps.index != nil {
		ps.index[p.Name] = p
	}
}

// before returns what the snapshot has of a record.
func (ps *pendings) before(name string) (Record, bool) {
	c, i, ok := ps.was.findNear(&ps.near, name)
	if !ok {
		return Record{}, false
	}
	return ps.was.chunks[c].items[i].value.rec, true
}

// of returns what the transaction has of a kind, nil if that is nothing.
func (tx *Tx) of(k Kind) *pendings {
	if tx.last != nil && tx.last.kind == k {
		return tx.last
	}
	ps := tx.pending[k]
	if ps != nil {
		tx.last = ps
	}
	return ps
}

// find returns what the transaction has of a record, nil if that is nothing.
func (tx *Tx) find(k Key) *pending {
	ps := tx.of(k.Kind)
	if ps == nil {
		return nil
	}
	return ps.find(k.Name)
}

// Snapshot is the table as it was before the transaction.
func (tx *Tx) Snapshot() *Snapshot { return tx.snap }

// Get returns a record as the transaction has it. Its Attrs may not be changed
// and stay as they are; Rev is that of the record before the transaction.
func (tx *Tx) Get(k Key) (Record, bool) {
	p := tx.find(k)
	if p == nil {
		return tx.snap.Record(k)
	}
	p.own()
	if p.attrs == nil {
		return Record{}, false
	}
	p.shared = true
	return Record{Key: k, Attrs: p.attrs, Rev: p.before.Rev}, true
}

// Record is Get, so that a transaction may be read as a snapshot is.
func (tx *Tx) Record(k Key) (Record, bool) { return tx.Get(k) }

// Records returns all records of a kind as the transaction has them, sorted by
// name.
func (tx *Tx) Records(k Kind) []Record {
	list := tx.snap.Records(k)
	ps := tx.of(k)
	if ps == nil {
		return list
	}
	list = slices.DeleteFunc(list, func(r Record) bool { return ps.find(r.Name) != nil })
	for _, p := range ps.list {
		if r, ok := tx.Get(p.Key); ok {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Put replaces a record whole. Empty values are left out, except that of
// "table.", which marks a row.
func (tx *Tx) Put(k Key, attrs map[string]string) {
	own := make(map[string]string, len(attrs))
	for column, v := range attrs {
		if !isNone(column, v) {
			own[strings.Clone(column)] = strings.Clone(v)
			tx.stood(k, column, v)
		}
	}
	p := tx.record(k)
	p.attrs, p.one, p.shared, p.whole, p.touched = own, false, false, true, nil
}

// Set sets one column of a record, which is made if need be; "" removes the
// column, or sets the mark if the column is "table.".
func (tx *Tx) Set(k Key, column, value string) {
	// One column of many records is a common change: they share its texts.
	if column != tx.column {
		tx.column = strings.Clone(column)
		tx.columns = []string{tx.column}
	}
	if value != tx.value {
		tx.value = strings.Clone(value)
	}
	if !isNone(column, value) {
		tx.stood(k, column, value)
	}
	p := tx.find(k)
	if p == nil {
		p = tx.record(k)
		p.one, p.touched, p.value = true, tx.columns[:1:1], tx.value
		return
	}
	if p.one && p.touched[0] == column {
		p.value = tx.value
		return
	}
	p.change()
	if !p.whole && !slices.Contains(p.touched, column) {
		p.touched = append(p.touched, tx.column)
	}
	p.set(tx.column, tx.value)
}

// Delete removes a record.
func (tx *Tx) Delete(k Key) {
	p := tx.record(k)
	p.attrs, p.one, p.shared, p.whole, p.touched = nil, false, false, true, nil
}

// record returns what the transaction has of a record, which is added if need
// be.
func (tx *Tx) record(k Key) *pending {
	ps := tx.of(k.Kind)
	if ps == nil {
		ps = &pendings{kind: k.Kind, was: tx.snap.kind(k.Kind)}
		tx.pending[k.Kind], tx.last = ps, ps
	}
	p := ps.find(k.Name)
	if p != nil {
		return p
	}
	if len(tx.slab) == 0 {
		tx.slab = make([]pending, max(1, min(len(tx.order), slabMost)))
	}
	p, tx.slab = &tx.slab[0], tx.slab[1:]
	p.Key = k
	if p.before, p.there = ps.before(k.Name); p.there {
		p.Key = p.before.Key // whose texts are kept anyway
	}
	ps.add(p)
	tx.order = append(tx.order, p)
	return p
}

// slabMost is for how many records a large transaction takes memory at once.
const slabMost = 256

// change makes attrs the record's own, to be changed in place.
func (p *pending) change() {
	p.own()
	if p.shared {
		p.attrs, p.shared = maps.Clone(p.attrs), false
	}
	if p.attrs == nil {
		p.attrs = make(map[string]string)
	}
}

// same says whether the record is as it was.
func (p *pending) same() bool {
	switch {
	case p.one:
		old, was := p.before.Attrs[p.touched[0]]
		return p.there && was != isNone(p.touched[0], p.value) && old == p.value
	case p.there != (p.attrs != nil):
		return false
	case p.whole:
		return maps.Equal(p.before.Attrs, p.attrs)
	}
	for _, column := range p.touched {
		v, ok := p.attrs[column]
		if old, was := p.before.Attrs[column]; ok != was || v != old {
			return false
		}
	}
	return true
}

// changes returns what has to be committed: nothing for records that are as
// they were.
func (tx *Tx) changes() ([]Change, error) {
	changed := make([]*pending, 0, len(tx.order))
	for _, p := range tx.order {
		if !p.same() {
			changed = append(changed, p)
		}
	}
	ownAll(changed)
	list := make([]Change, 0, len(changed)+1)
	for _, p := range changed {
		if !p.there {
			if err := checkKey(p.Key); err != nil {
				return nil, err
			}
		}
		c := Change{Key: p.Key, Attrs: p.attrs, If: p.before.Rev}
		if p.there && !p.whole {
			c.Touched = p.touched
		}
		list = append(list, c)
	}
	return list, nil
}

// ownAll has all processors make the attributes that records have now.
func ownAll(list []*pending) {
	inParts(len(list), func(from, to int) {
		for _, p := range list[from:to] {
			p.own()
		}
	})
}

// maxName bounds names, which every store has to keep as keys.
const maxName = 1024

func checkKey(k Key) error {
	bad := func(s string) bool {
		return s == "" || len(s) > maxName || strings.Contains(s, "\x00") || !utf8.ValidString(s)
	}
	if bad(string(k.Kind)) || bad(k.Name) {
		return fmt.Errorf("%s %.64q: not a name that can be kept: %w", k.Kind, k.Name, ErrInvalid)
	}
	return nil
}
