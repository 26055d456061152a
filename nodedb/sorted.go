package nodedb

import (
	"iter"
	"slices"
	"sort"
)

// An edit is the right to change shared parts in place: parts that carry the
// same edit were made by whoever holds it and have been shown to nobody.
type edit struct{ _ byte }

// A sorted is a map from names to values in the order of the names. It is two
// levels deep: a list of chunks. Changing it copies the list and one chunk, so
// an older copy of the sorted stays as it was, and shares all other chunks.
type sorted[V any] struct {
	chunks []*chunk[V]
	n      int
	owner  *edit // who may change chunks (the list) in place
}

type chunk[V any] struct {
	owner *edit
	items []item[V]
	cache chunkCache // of nodes
}

type item[V any] struct {
	name  string
	value V
}

// chunkMax is how many items a chunk may hold.
const chunkMax = 256

func (s *sorted[V]) len() int { return s.n }

// find returns where name is, or where it would be put.
func (s *sorted[V]) find(name string) (c, i int, ok bool) {
	c = sort.Search(len(s.chunks), func(i int) bool { return s.chunks[i].items[0].name > name }) - 1
	if c < 0 {
		return 0, 0, false
	}
	i, ok = s.chunks[c].find(name)
	return c, i, ok
}

// find returns where in the chunk name is, or where it would be put.
func (c *chunk[V]) find(name string) (i int, ok bool) {
	lo, hi := 0, len(c.items)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if c.items[m].name < name {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo, lo < len(c.items) && c.items[lo].name == name
}

// A finger is where something was found last.
type finger struct{ c, i int }

// findNear is find for names that mostly come in order: it looks behind the
// last place first.
func (s *sorted[V]) findNear(f *finger, name string) (c, i int, ok bool) {
	next := finger{f.c, f.i + 1}
	if next.c < len(s.chunks) && next.i >= len(s.chunks[next.c].items) {
		next = finger{f.c + 1, 0}
	}
	if next.c >= len(s.chunks) || s.chunks[next.c].items[next.i].name != name {
		next.c, next.i, ok = s.find(name)
		*f = next
		return next.c, next.i, ok
	}
	*f = next
	return next.c, next.i, true
}

func (s *sorted[V]) get(name string) (v V, ok bool) {
	c, i, ok := s.find(name)
	if !ok {
		return v, false
	}
	return s.chunks[c].items[i].value, true
}

// all yields every item in order.
func (s *sorted[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, c := range s.chunks {
			for i := range c.items {
				if !yield(c.items[i].name, c.items[i].value) {
					return
				}
			}
		}
	}
}

// from yields the items in order, beginning with the first that is not before
// name.
func (s *sorted[V]) from(name string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		c, i, _ := s.find(name)
		for ; c < len(s.chunks); c, i = c+1, 0 {
			for _, it := range s.chunks[c].items[i:] {
				if !yield(it.name, it.value) {
					return
				}
			}
		}
	}
}

// place is find for what is put: names that come in order go to the end.
func (s *sorted[V]) place(name string) (c, i int, ok bool) {
	c = len(s.chunks) - 1
	if i = len(s.chunks[c].items); s.chunks[c].items[i-1].name < name {
		return c, i, false
	}
	return s.find(name)
}

// put sets the value of name.
func (s *sorted[V]) put(e *edit, name string, v V) {
	if len(s.chunks) == 0 {
		s.chunks, s.owner = []*chunk[V]{{owner: e, items: []item[V]{{name, v}}}}, e
		s.n = 1
		return
	}
	ci, i, ok := s.place(name)
	c := s.own(e, ci)
	if ok {
		c.items[i].value = v
		return
	}
	s.n++
	if len(c.items) < chunkMax {
		c.items = slices.Insert(c.items, i, item[V]{name, v})
		return
	}
	s.split(e, ci, i, item[V]{name, v})
}

// split puts an item at place i of the full chunk ci. Items that come in order
// fill their chunks; others leave room on both sides.
func (s *sorted[V]) split(e *edit, ci, i int, it item[V]) {
	c := s.chunks[ci]
	at := chunkMax / 2
	if ci == len(s.chunks)-1 && i == chunkMax {
		at = chunkMax
	}
	right := &chunk[V]{owner: e, items: append(make([]item[V], 0, chunkMax), c.items[at:]...)}
	clear(c.items[at:])
	c.items = c.items[:at]
	if i < at {
		c.items = slices.Insert(c.items, i, it)
	} else {
		right.items = slices.Insert(right.items, i-at, it)
	}
	s.chunks = slices.Insert(s.chunks, ci+1, right)
}

// remove takes name away.
func (s *sorted[V]) remove(e *edit, name string) {
	ci, i, ok := s.find(name)
	if !ok {
		return
	}
	c := s.own(e, ci)
	c.items = slices.Delete(c.items, i, i+1)
	s.n--
	if len(c.items) == 0 {
		s.chunks = slices.Delete(s.chunks, ci, ci+1)
	}
}

// own returns chunk ci as one that e may change.
func (s *sorted[V]) own(e *edit, ci int) *chunk[V] {
	if s.owner != e {
		s.chunks, s.owner = slices.Clone(s.chunks), e
	}
	c := s.chunks[ci]
	if c.owner != e {
		c = &chunk[V]{owner: e, items: append(make([]item[V], 0, len(c.items)+1), c.items...)}
		s.chunks[ci] = c
	}
	return c
}
