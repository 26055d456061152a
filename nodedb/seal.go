package nodedb

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"sync"
)

// sealMark begins every sealed value.
const sealMark = "sealed:1:"

// Seal returns a store that keeps secret columns sealed in the store below it:
// AES-256-GCM (NIST SP 800-38D), bound to the record and the column, so that
// nobody can put one record's secret in another's place. secret says which
// columns, as "table.column", and which settings of the site, as "site.KEY".
// Values that are not sealed, as an older table may have them, are read as they
// are and sealed when written.
//
// The nonce is a keyed hash of what is sealed, so that a dump of the same table
// is the same text each time, and a nonce never serves two texts.
func Seal(below Store, key [32]byte, secret func(column string) bool) Store {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the right block size
	}
	derive := hmac.New(sha256.New, key[:])
	derive.Write([]byte("nonce"))
	return &sealed{Store: below, gcm: gcm, nonceKey: derive.Sum(nil), secret: secret}
}

type sealed struct {
	Store
	gcm      cipher.AEAD
	nonceKey []byte
	secret   func(string) bool
	asked    sync.Map // column: what secret said; every value is asked for, of few columns
}

func (s *sealed) isSecret(column string) bool {
	if v, ok := s.asked.Load(column); ok {
		return v.(bool)
	}
	v := s.secret(column)
	s.asked.Store(column, v)
	return v
}

// bound is what a sealed value belongs to.
func bound(k Key, column string) []byte {
	return []byte(string(k.Kind) + "\x00" + k.Name + "\x00" + column)
}

// Load opens what is sealed. A value that the key does not open is an error.
func (s *sealed) Load(ctx context.Context) ([]Record, int64, error) {
	recs, rev, err := s.Store.Load(ctx)
	if err != nil {
		return nil, 0, err
	}
	recs, err = s.openAll(recs)
	return recs, rev, err
}

// Commit seals.
func (s *sealed) Commit(ctx context.Context, changes []Change) (int64, error) {
	out := changes
	for i, c := range changes {
		attrs := s.convert(c.Key, c.Attrs, func(column, v string) string { return s.seal(c.Key, column, v) })
		if attrs == nil {
			continue
		}
		if &out[0] == &changes[0] {
			out = append([]Change(nil), changes...)
		}
		out[i].Attrs, out[i].Touched = attrs, nil // older secrets may be there unsealed
	}
	return s.Store.Commit(ctx, out)
}

// Watch opens what is sealed. It ends with an error at a commit that holds a
// value which the key does not open.
func (s *sealed) Watch(ctx context.Context, after int64, fn func([]Record, int64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var fault error
	err := s.Store.Watch(ctx, after, func(recs []Record, rev int64) {
		if fault != nil {
			return
		}
		if recs, fault = s.openAll(recs); fault != nil {
			cancel()
			return
		}
		fn(recs, rev)
	})
	if fault != nil {
		return fault
	}
	return err
}

// openAll opens the values of records. The slice is changed only if it has to
// be, and then copied.
func (s *sealed) openAll(recs []Record) ([]Record, error) {
	var fault error
	own := false
	for i, r := range recs {
		attrs := s.convert(r.Key, r.Attrs, func(column, v string) string {
			plain, err := s.open(r.Key, column, v)
			if err != nil && fault == nil {
				fault = err
			}
			return plain
		})
		if fault != nil {
			return nil, fault
		}
		if attrs == nil {
			continue
		}
		if !own {
			recs, own = append([]Record(nil), recs...), true
		}
		recs[i].Attrs = attrs
	}
	return recs, nil
}

// convert returns a copy of attrs with its secret values converted, nil if
// there are none.
func (s *sealed) convert(k Key, attrs map[string]string, fn func(column, v string) string) map[string]string {
	var out map[string]string
	for column, v := range attrs {
		if v == "" || !s.isSecret(k.named(column)) {
			continue
		}
		if out == nil {
			out = maps.Clone(attrs)
		}
		out[column] = fn(column, v)
	}
	return out
}

func (s *sealed) seal(k Key, column, v string) string {
	h := hmac.New(sha256.New, s.nonceKey)
	fmt.Fprintf(h, "%d:", len(k.Kind)+len(k.Name)+len(column))
	h.Write(bound(k, column))
	h.Write([]byte(v))
	nonce := h.Sum(nil)[:s.gcm.NonceSize()]
	return sealMark + base64.RawStdEncoding.EncodeToString(s.gcm.Seal(nonce, nonce, []byte(v), bound(k, column)))
}

func (s *sealed) open(k Key, column, v string) (string, error) {
	text, ok := strings.CutPrefix(v, sealMark)
	if !ok {
		return v, nil
	}
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err == nil && len(b) < s.gcm.NonceSize() {
		err = fmt.Errorf("too short")
	}
	if err == nil {
		n := s.gcm.NonceSize()
		b, err = s.gcm.Open(nil, b[:n], b[n:], bound(k, column))
	}
	if err != nil {
		name := strings.ReplaceAll(k.Name, KeySep, " ")
		return "", fmt.Errorf("%s %s: the sealing key does not open %s; put back the key that the table was written with: %w", k.Kind, name, column, ErrInvalid)
	}
	return string(b), nil
}
