package nodedb

import (
	"fmt"
	"strings"
)

// Sealed returns a secret of the record as a dump may show it: what Update
// opens again when the same record gets it back, in a table with the same key.
// It is the same text each time. Where the store seals nothing it is v.
func (db *DB) Sealed(k Key, column, v string) string {
	s, ok := db.store.(*sealed)
	if !ok || v == "" || !s.isSecret(k.named(column)) {
		return v
	}
	return s.seal(k, column, v)
}

// A stand is a value that a listing showed in place of a secret.
type stand struct {
	k             Key
	column, value string
}

// stood notes a value that may stand for a secret.
func (tx *Tx) stood(k Key, column, v string) {
	if (v == Hidden || strings.HasPrefix(v, sealMark)) && k.IsSecret(column) {
		tx.stands = append(tx.stands, stand{k, strings.Clone(column), strings.Clone(v)})
	}
}

// settle puts secrets in place of what listings show for them: sealed values
// are opened, and Hidden is what the record has already.
func (tx *Tx) settle() error {
	list := tx.stands
	tx.stands = nil
	for _, s := range list {
		p := tx.find(s.k)
		p.own()
		if p.attrs[s.column] != s.value {
			continue // overwritten since
		}
		v, err := tx.secret(s)
		if err != nil {
			return err
		}
		tx.Set(s.k, s.column, v)
	}
	return nil
}

func (tx *Tx) secret(s stand) (string, error) {
	if s.value != Hidden {
		if tx.seal == nil {
			return s.value, nil
		}
		return tx.seal.open(s.k, s.column, s.value)
	}
	before, _ := tx.snap.Record(s.k)
	if v := before.Attrs[s.column]; v != "" {
		return v, nil
	}
	if n, err := tx.snap.Node(s.k.Name); err == nil && s.k.Kind == KindNode && n.Attr(s.column) != "" {
		return "", nil // a group's, and stays the group's
	}
	name := strings.ReplaceAll(s.k.Name, KeySep, " ")
	return "", fmt.Errorf("%s %s: %s: %s stands for a hidden value, and there is none to keep; list it with --reveal, or dump it sealed: %w", s.k.Kind, name, s.column, Hidden, ErrInvalid)
}
