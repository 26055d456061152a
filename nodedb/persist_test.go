package nodedb

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Every version of a sorted and of a trie keeps what it held, whatever is done
// to later ones.
func TestVersionsAgreeWithMaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			s    sorted[int]
			t    trie[string, int]
			want map[string]int
		}
		v := version{t: newTrie[string, int](), want: map[string]int{}}
		versions := []version{v}
		names := rapid.IntRange(1, 3000).Draw(t, "names")
		for range rapid.IntRange(1, 8).Draw(t, "commits") {
			e := new(edit)
			v.want = maps.Clone(v.want)
			for range rapid.IntRange(1, 700).Draw(t, "changes") {
				k := fmt.Sprintf("n%d", rapid.IntRange(0, names).Draw(t, "k"))
				if rapid.IntRange(0, 3).Draw(t, "op") == 0 {
					v.s.remove(e, k)
					v.t.remove(e, k)
					delete(v.want, k)
					continue
				}
				v.s.put(e, k, len(versions))
				v.t.put(e, k, len(versions))
				v.want[k] = len(versions)
			}
			versions = append(versions, v)
		}
		for i, v := range versions {
			if v.s.len() != len(v.want) || v.t.n != len(v.want) {
				t.Fatalf("version %d: %d and %d entries, want %d", i, v.s.len(), v.t.n, len(v.want))
			}
			var keys []string
			for k, n := range v.s.all() {
				if v.want[k] != n {
					t.Fatalf("version %d: %s is %d, want %d", i, k, n, v.want[k])
				}
				keys = append(keys, k)
			}
			if !slices.IsSorted(keys) {
				t.Fatalf("version %d: not in order", i)
			}
			for k, n := range v.want {
				if got, ok := v.s.get(k); !ok || got != n {
					t.Fatalf("version %d: sorted has %s = %d, want %d", i, k, got, n)
				}
				if got, ok := v.t.get(k); !ok || got != n {
					t.Fatalf("version %d: trie has %s = %d, want %d", i, k, got, n)
				}
			}
			if _, ok := v.t.get("none"); ok {
				t.Fatalf("version %d: trie has what was never put", i)
			}
		}
	})
}

// Entries whose hashes agree in all bits that matter stay apart.
func TestTrieDepth(t *testing.T) {
	tr := newTrie[int, int]()
	e := new(edit)
	for i := range 50000 {
		tr.put(e, i, -i)
	}
	for i := range 50000 {
		if v, ok := tr.get(i); !ok || v != -i {
			t.Fatalf("%d is %d", i, v)
		}
	}
}

func TestIndexKeepsAllOwners(t *testing.T) {
	x := newIndex[int]()
	for _, n := range []string{"b", "a", "c", "a"} {
		x.add(new(edit), 7, n)
	}
	if got := fmt.Sprint(x.names(7)); got != "[a b c]" {
		t.Errorf("owners %s, want [a b c]", got)
	}
	x.remove(new(edit), 7, "a")
	if one, _ := x.get(7); one != "b" {
		t.Errorf("first is %q, want b", one)
	}
	x.remove(new(edit), 7, "b")
	x.remove(new(edit), 7, "c")
	if _, ok := x.get(7); ok || x.names(7) != nil {
		t.Error("still there after the last owner went")
	}
}
