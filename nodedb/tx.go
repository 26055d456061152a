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
	order   []Key
	seal    *sealed // what opens sealed values; nil: nothing is sealed
}

// A pending is a record as the transaction has it; attrs nil: removed.
type pending struct {
	attrs  map[string]string
	shared bool // attrs has been handed out, or is the snapshot's
}

// Snapshot is the table as it was before the transaction.
func (tx *Tx) Snapshot() *Snapshot { return tx.snap }

// Get returns a record as the transaction has it. Its Attrs may not be changed
// and stay as they are; Rev is that of the record before the transaction.
func (tx *Tx) Get(k Key) (Record, bool) {
	before, ok := tx.snap.Record(k)
	p := tx.pending[k]
	if p == nil {
		return before, ok
	}
	if p.attrs == nil {
		return Record{}, false
	}
	p.shared = true
	return Record{Key: k, Attrs: p.attrs, Rev: before.Rev}, true
}

// Record is Get, so that a transaction may be read as a snapshot is.
func (tx *Tx) Record(k Key) (Record, bool) { return tx.Get(k) }

// Records returns all records of a kind as the transaction has them, sorted by
// name.
func (tx *Tx) Records(k Kind) []Record {
	list := tx.snap.Records(k)
	changed := false
	for _, key := range tx.order {
		if key.Kind == k {
			changed = true
		}
	}
	if !changed {
		return list
	}
	list = slices.DeleteFunc(list, func(r Record) bool { return tx.pending[r.Key] != nil })
	for _, key := range tx.order {
		if key.Kind != k {
			continue
		}
		if r, ok := tx.Get(key); ok {
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
		}
	}
	tx.set(k, &pending{attrs: own})
}

// Set sets one column of a record, which is made if need be; "" removes the
// column, or sets the mark if the column is "table.".
func (tx *Tx) Set(k Key, column, value string) {
	p := tx.change(k)
	if value == "" && !strings.HasSuffix(column, ".") {
		delete(p.attrs, column)
		return
	}
	p.attrs[strings.Clone(column)] = strings.Clone(value)
}

// Delete removes a record.
func (tx *Tx) Delete(k Key) { tx.set(k, &pending{}) }

func (tx *Tx) set(k Key, p *pending) {
	if tx.pending[k] == nil {
		tx.order = append(tx.order, k)
	}
	tx.pending[k] = p
}

// change returns a record to be changed in place.
func (tx *Tx) change(k Key) *pending {
	p := tx.pending[k]
	switch {
	case p == nil:
		r, _ := tx.snap.Record(k)
		p = &pending{attrs: maps.Clone(r.Attrs)}
		tx.set(k, p)
	case p.shared:
		p.attrs, p.shared = maps.Clone(p.attrs), false
	}
	if p.attrs == nil {
		p.attrs = make(map[string]string)
	}
	return p
}

// changes returns what has to be committed: nothing for records that are as
// they were.
func (tx *Tx) changes() ([]Change, error) {
	var list []Change
	for _, k := range tx.order {
		before, ok := tx.snap.Record(k)
		p := tx.pending[k]
		if !ok && p.attrs == nil || ok && p.attrs != nil && maps.Equal(before.Attrs, p.attrs) {
			continue
		}
		if err := checkKey(k); err != nil {
			return nil, err
		}
		list = append(list, Change{Key: k, Attrs: p.attrs, If: before.Rev})
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
