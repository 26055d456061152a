package nodedb

import (
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// A nodeSet is a set of nodes of one snapshot, a bit each, in the order of
// their names; and of names that are no nodes, for expansions that take those.
type nodeSet struct {
	table *sorted[*slot]
	bits  []uint64 // chunkMax bits for each chunk of table
	extra map[string]struct{}
}

const wordsPerChunk = chunkMax / 64

func newNodeSet(table *sorted[*slot]) *nodeSet {
	return &nodeSet{table: table, bits: make([]uint64, wordsPerChunk*len(table.chunks))}
}

func (n *nodeSet) addAt(chunk, i int) {
	n.bits[chunk*wordsPerChunk+i/64] |= 1 << (i % 64)
}

// addNode adds a node; false if there is none of that name that noderanges
// may name.
func (n *nodeSet) addNode(name string) bool {
	c, i, ok := n.table.find(name)
	if !ok || n.table.chunks[c].items[i].value.off() {
		return false
	}
	n.addAt(c, i)
	return true
}

// addName adds a name that is no node.
func (n *nodeSet) addName(name string) {
	if n.extra == nil {
		n.extra = make(map[string]struct{})
	}
	n.extra[name] = struct{}{}
}

// addNamed adds the nodes whose names begin with prefix and that want says yes
// to.
func (n *nodeSet) addNamed(prefix string, want func(name string) bool) {
	c, i, _ := n.table.find(prefix)
	for ; c < len(n.table.chunks); c, i = c+1, 0 {
		items := n.table.chunks[c].items
		for ; i < len(items); i++ {
			if !strings.HasPrefix(items[i].name, prefix) {
				return
			}
			if want(items[i].name) && !items[i].value.off() {
				n.addAt(c, i)
			}
		}
	}
}

// addSorted adds those nodes that are in a sorted list of names.
func (n *nodeSet) addSorted(names *sorted[struct{}]) {
	if names.len() == n.table.len() {
		n.addAll() // members of groups are nodes
		return
	}
	if names.len()*16 < n.table.len() {
		at := 0
		for name := range names.all() {
			at = n.addAfter(at, name)
		}
		return
	}
	c, i := 0, 0
	for name := range names.all() {
		for c < len(n.table.chunks) {
			items := n.table.chunks[c].items
			if i == len(items) {
				c, i = c+1, 0
				continue
			}
			if items[i].name >= name {
				break
			}
			i++
		}
		if c < len(n.table.chunks) && n.table.chunks[c].items[i].name == name && !n.table.chunks[c].items[i].value.off() {
			n.addAt(c, i)
		}
	}
}

// addAfter adds a node that is in the chunk at or in one behind it, and returns
// in which.
func (n *nodeSet) addAfter(at int, name string) int {
	chunks := n.table.chunks
	step := 1
	for at+step < len(chunks) && chunks[at+step].items[0].name <= name {
		at += step
		step *= 2
	}
	for ; step > 0; step /= 2 {
		if at+step < len(chunks) && chunks[at+step].items[0].name <= name {
			at += step
		}
	}
	if at < len(chunks) {
		if i, ok := chunks[at].find(name); ok && !chunks[at].items[i].value.off() {
			n.addAt(at, i)
		}
	}
	return at
}

func (n *nodeSet) union(o *nodeSet) {
	for i, b := range o.bits {
		n.bits[i] |= b
	}
	for name := range o.extra {
		n.addName(name)
	}
}

func (n *nodeSet) intersect(o *nodeSet) {
	for i, b := range o.bits {
		n.bits[i] &= b
	}
	maps.DeleteFunc(n.extra, func(name string, _ struct{}) bool {
		_, ok := o.extra[name]
		return !ok
	})
}

func (n *nodeSet) subtract(o *nodeSet) {
	for i, b := range o.bits {
		n.bits[i] &^= b
	}
	for name := range o.extra {
		delete(n.extra, name)
	}
}

// len is how many names the set has.
func (n *nodeSet) len() int {
	return len(n.extra) + count(n.bits)
}

// slots yields the nodes in order.
func (n *nodeSet) slots(yield func(*slot) bool) {
	for w, b := range n.bits {
		for ; b != 0; b &= b - 1 {
			items := n.table.chunks[w/wordsPerChunk].items
			if !yield(items[w%wordsPerChunk*64+bits.TrailingZeros64(b)].value) {
				return
			}
		}
	}
}

// names returns all names in order.
func (n *nodeSet) names() []string {
	list := make([]string, 0, n.len())
	for s := range n.slots {
		list = append(list, s.rec.Name)
	}
	if len(n.extra) > 0 {
		list = slices.AppendSeq(list, maps.Keys(n.extra))
		slices.Sort(list)
	}
	return list
}

func (s *Snapshot) nodesOf(set *nodeSet) []*Node {
	if set == nil {
		return nil
	}
	list := make([]*Node, 0, set.len())
	for rec := range set.slots {
		list = append(list, rec.asNode())
	}
	return list
}
