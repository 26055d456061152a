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
	pending map[Key]*pending
	order   []*pending
	stands  []stand // values that were put in place of secrets, those that were overwritten too
	seal    *sealed // what opens sealed values; nil: nothing is sealed

	column, value string // the last ones that were kept
}

// A pending is a record as the transaction has it; attrs nil: removed.
type pending struct {
	Key
	attrs   map[string]string
	before  Record // of the snapshot
	there   bool   // before is a record
	shared  bool   // attrs has been handed out
	whole   bool   // attrs was put whole; else only touched may differ from before
	touched []string
}

// Snapshot is the table as it was before the transaction.
func (tx *Tx) Snapshot() *Snapshot { return tx.snap }

// Get returns a record as the transaction has it. Its Attrs may not be changed
// and stay as they are; Rev is that of the record before the transaction.
func (tx *Tx) Get(k Key) (Record, bool) {
	p := tx.pending[k]
	if p == nil {
		return tx.snap.Record(k)
	}
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
	if !slices.ContainsFunc(tx.order, func(p *pending) bool { return p.Kind == k }) {
		return list
	}
	list = slices.DeleteFunc(list, func(r Record) bool { return tx.pending[r.Key] != nil })
	for _, p := range tx.order {
		if p.Kind != k {
			continue
		}
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
		if v != "" || strings.HasSuffix(column, ".") {
			own[strings.Clone(column)] = strings.Clone(v)
			tx.stood(k, column, v)
		}
	}
	p := tx.record(k)
	p.attrs, p.shared, p.whole, p.touched = own, false, true, nil
}

// Set sets one column of a record, which is made if need be; "" removes the
// column, or sets the mark if the column is "table.".
func (tx *Tx) Set(k Key, column, value string) {
	p := tx.change(k)
	// One column of many records is a common change: they share its texts.
	if column != tx.column {
		tx.column = strings.Clone(column)
	}
	if !p.whole && !slices.Contains(p.touched, column) {
		p.touched = append(p.touched, tx.column)
	}
	if value == "" && !strings.HasSuffix(column, ".") {
		delete(p.attrs, column)
		return
	}
	if value != tx.value {
		tx.value = strings.Clone(value)
	}
	p.attrs[tx.column] = tx.value
	tx.stood(k, column, value)
}

// Delete removes a record.
func (tx *Tx) Delete(k Key) {
	p := tx.record(k)
	p.attrs, p.shared, p.whole, p.touched = nil, false, true, nil
}

// record returns what the transaction has of a record.
func (tx *Tx) record(k Key) *pending {
	p := tx.pending[k]
	if p == nil {
		p = &pending{Key: k}
		p.before, p.there = tx.snap.Record(k)
		tx.pending[k] = p
		tx.order = append(tx.order, p)
	}
	return p
}

// change returns a record to be changed in place.
func (tx *Tx) change(k Key) *pending {
	p, known := tx.pending[k], true
	if p == nil {
		p, known = tx.record(k), false
	}
	switch {
	case !known:
		p.attrs = maps.Clone(p.before.Attrs)
	case p.shared:
		p.attrs, p.shared = maps.Clone(p.attrs), false
	}
	if p.attrs == nil {
		p.attrs = make(map[string]string)
	}
	return p
}

// same says whether the record is as it was.
func (p *pending) same() bool {
	switch {
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
	list := make([]Change, 0, len(tx.order)+1)
	for _, p := range tx.order {
		if p.same() {
			continue
		}
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
