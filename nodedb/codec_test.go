package nodedb

import (
	"errors"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

func TestAttrsSurvive(t *testing.T) {
	d := new(AttrDecoder)
	rapid.Check(t, func(t *rapid.T) {
		attrs := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "attrs")
		got, err := d.Decode(AppendAttrs(nil, attrs))
		if err != nil || !maps.Equal(got, attrs) {
			t.Fatalf("%v became %v (%v)", attrs, got, err)
		}
	})
}

// Any one bit that is not as it was written is noticed.
func TestAttrsDamaged(t *testing.T) {
	whole := AppendAttrs(nil, map[string]string{"nodetype.os": "esxi8.0", "nodetype.arch": "x86_64", "mac.mac": "00:50:56:00:00:01"})
	d := new(AttrDecoder)
	for i := range whole {
		for bit := range 8 {
			b := append([]byte(nil), whole...)
			b[i] ^= 1 << bit
			if _, err := d.Decode(b); !errors.Is(err, ErrInvalid) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
		}
		if _, err := d.Decode(whole[:i]); !errors.Is(err, ErrInvalid) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func FuzzAttrs(f *testing.F) {
	f.Add(AppendAttrs(nil, map[string]string{"a.b": "c", "d.e": ""}))
	f.Fuzz(func(t *testing.T, b []byte) {
		attrs, err := new(AttrDecoder).Decode(b)
		if err == nil && attrs == nil {
			t.Error("no attributes and no error")
		}
	})
}
