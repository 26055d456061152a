package nodedb

import "slices"

// An index maps a key to the names of the nodes that have it: one as a rule,
// several where an operator made a mistake that is worth showing.
type index[K comparable] struct {
	one  trie[K, string]   // the first name, in order
	more trie[K, []string] // all names, where there are several
}

func newIndex[K comparable]() index[K] {
	return index[K]{newTrie[K, string](), newTrie[K, []string]()}
}

// get returns the first of the names.
func (x *index[K]) get(k K) (string, bool) { return x.one.get(k) }

// names returns all names.
func (x *index[K]) names(k K) []string {
	if all, ok := x.more.get(k); ok {
		return all
	}
	if one, ok := x.one.get(k); ok {
		return []string{one}
	}
	return nil
}

func (x *index[K]) add(e *edit, k K, name string) {
	if _, there := x.one.get(k); !there {
		x.one.put(e, k, name)
		return
	}
	if all := x.names(k); !slices.Contains(all, name) {
		x.set(e, k, append(slices.Clone(all), name))
	}
}

func (x *index[K]) remove(e *edit, k K, name string) {
	all := slices.Clone(x.names(k))
	if i := slices.Index(all, name); i >= 0 {
		x.set(e, k, slices.Delete(all, i, i+1))
	}
}

func (x *index[K]) set(e *edit, k K, names []string) {
	if len(names) == 0 {
		x.one.remove(e, k)
		return
	}
	slices.Sort(names)
	x.one.put(e, k, names[0])
	if len(names) > 1 {
		x.more.put(e, k, names)
		return
	}
	x.more.remove(e, k)
}
