package nodedb

import (
	"maps"
	"math/bits"
	"slices"
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

// addIf adds the nodes that want says yes to.
func (n *nodeSet) addIf(want func(*slot) bool) {
	for c, chunk := range n.table.chunks {
		for i := range chunk.items {
			if s := chunk.items[i].value; !s.off() && want(s) {
				n.addAt(c, i)
			}
		}
	}
}

// addSorted adds those nodes that are in a sorted list of names.
func (n *nodeSet) addSorted(names *sorted[struct{}]) {
	if names.len()*16 < n.table.len() {
		for name := range names.all() {
			n.addNode(name)
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
	total := len(n.extra)
	for _, b := range n.bits {
		total += bits.OnesCount64(b)
	}
	return total
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
