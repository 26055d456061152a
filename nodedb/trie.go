package nodedb

import (
	"hash/maphash"
	"slices"
)

// A trie is a map that shares with its older copies all that did not change: a
// tree by the bits of the keys' hashes, five a level, whose leaves hold a few
// entries each. Looking up is O(1) for any size that fits in memory.
type trie[K comparable, V any] struct {
	seed maphash.Seed
	root *tnode[K, V]
	n    int
}

// A tnode is a branch, if it has kids, or a leaf.
type tnode[K comparable, V any] struct {
	owner *edit
	kids  *[trieFan]*tnode[K, V]
	items []titem[K, V]
}

type titem[K comparable, V any] struct {
	key   K
	value V
}

const (
	trieBits = 5
	trieFan  = 1 << trieBits
	leafMax  = 8
)

func newTrie[K comparable, V any]() trie[K, V] {
	return trie[K, V]{seed: maphash.MakeSeed()}
}

func (t *trie[K, V]) get(k K) (v V, ok bool) {
	h := maphash.Comparable(t.seed, k)
	n := t.root
	for n != nil && n.kids != nil {
		n = n.kids[h%trieFan]
		h >>= trieBits
	}
	if n == nil {
		return v, false
	}
	for i := range n.items {
		if n.items[i].key == k {
			return n.items[i].value, true
		}
	}
	return v, false
}

func (t *trie[K, V]) put(e *edit, k K, v V) {
	t.root = t.with(e, t.root, 0, maphash.Comparable(t.seed, k), titem[K, V]{k, v})
}

func (t *trie[K, V]) remove(e *edit, k K) {
	if _, ok := t.get(k); ok {
		t.root = t.without(e, t.root, maphash.Comparable(t.seed, k), k)
		t.n--
	}
}

// with returns n, which is depth levels down, with an entry more. The hash is
// the key's without the bits of the levels above.
func (t *trie[K, V]) with(e *edit, n *tnode[K, V], depth int, hash uint64, it titem[K, V]) *tnode[K, V] {
	if n == nil {
		t.n++
		return &tnode[K, V]{owner: e, items: []titem[K, V]{it}}
	}
	n = n.own(e)
	if n.kids != nil {
		i := hash % trieFan
		n.kids[i] = t.with(e, n.kids[i], depth+1, hash>>trieBits, it)
		return n
	}
	for i := range n.items {
		if n.items[i].key == it.key {
			n.items[i] = it
			return n
		}
	}
	if len(n.items) < leafMax || (depth+1)*trieBits > 64 {
		t.n++
		n.items = append(n.items, it)
		return n
	}
	return t.with(e, t.spread(e, n, depth), depth, hash, it)
}

// spread makes a full leaf into a branch.
func (t *trie[K, V]) spread(e *edit, leaf *tnode[K, V], depth int) *tnode[K, V] {
	n := &tnode[K, V]{owner: e, kids: new([trieFan]*tnode[K, V])}
	for _, it := range leaf.items {
		i := maphash.Comparable(t.seed, it.key) >> (depth * trieBits) % trieFan
		if n.kids[i] == nil {
			n.kids[i] = &tnode[K, V]{owner: e}
		}
		n.kids[i].items = append(n.kids[i].items, it)
	}
	return n
}

func (t *trie[K, V]) without(e *edit, n *tnode[K, V], hash uint64, k K) *tnode[K, V] {
	n = n.own(e)
	if n.kids != nil {
		i := hash % trieFan
		n.kids[i] = t.without(e, n.kids[i], hash>>trieBits, k)
		return n
	}
	n.items = slices.DeleteFunc(n.items, func(o titem[K, V]) bool { return o.key == k })
	if len(n.items) == 0 {
		return nil
	}
	return n
}

// own returns n as one that e may change.
func (n *tnode[K, V]) own(e *edit) *tnode[K, V] {
	if n.owner == e {
		return n
	}
	c := &tnode[K, V]{owner: e, items: slices.Clone(n.items)}
	if n.kids != nil {
		kids := *n.kids
		c.kids = &kids
	}
	return c
}
