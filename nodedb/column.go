package nodedb

import (
	"hash/maphash"
	"math/bits"
	"sync"
)

// A chunkCache keeps what has been worked out of the nodes of one chunk. Chunks
// never change once a snapshot has them and are shared by all snapshots in
// which none of their nodes differ, so a change of one node costs its own
// chunk's cache, and the next who asks works out that one anew.
type chunkCache struct {
	mu      sync.Mutex
	live    *[wordsPerChunk]uint64   // nodes that noderanges may name; nil: not known yet
	columns map[string]*columnOfMany // by attribute
}

// A columnOfMany is what a chunk's nodes have for one attribute. The hashes tell
// most that differ apart without a look at the values, which lie all over.
type columnOfMany struct {
	values []string
	hashes []uint32
}

// cachedColumns is how many attributes a chunk keeps.
const cachedColumns = 16

// hashSeed is for hashes that are compared within this process.
var hashSeed = maphash.MakeSeed()

func hashOf(v string) uint32 { return uint32(maphash.String(hashSeed, v)) }

// liveOf returns which nodes of a chunk noderanges may name.
func liveOf(c *chunk[*slot]) *[wordsPerChunk]uint64 {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	if c.cache.live == nil {
		live := new([wordsPerChunk]uint64)
		for i := range c.items {
			if !c.items[i].value.off() {
				live[i/64] |= 1 << (i % 64)
			}
		}
		c.cache.live = live
	}
	return c.cache.live
}

// columnOf returns what the nodes of a chunk have for an attribute, which get
// reads.
func columnOf(c *chunk[*slot], attr string, get func(*slot) string) *columnOfMany {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	if col := c.cache.columns[attr]; col != nil {
		return col
	}
	col := &columnOfMany{make([]string, len(c.items)), make([]uint32, len(c.items))}
	for i := range c.items {
		v := get(c.items[i].value)
		col.values[i], col.hashes[i] = v, hashOf(v)
	}
	if len(c.cache.columns) >= cachedColumns {
		clear(c.cache.columns)
	}
	if c.cache.columns == nil {
		c.cache.columns = make(map[string]*columnOfMany)
	}
	c.cache.columns[attr] = col
	return col
}

// addWhere adds the nodes whose attribute meets a criterion.
func (n *nodeSet) addWhere(attr string, get func(*slot) string, c *criterion) {
	m := matcher{c: c}
	for at, chunk := range n.table.chunks {
		col, live := columnOf(chunk, attr, get), liveOf(chunk)
		var found [wordsPerChunk]uint64
		m.match(col, &found)
		for w := range found {
			n.bits[at*wordsPerChunk+w] |= found[w] & live[w]
		}
	}
}

// A matcher holds columns against a criterion. It remembers what came of some
// values, since many nodes have the same.
type matcher struct {
	c    *criterion
	memo [64]struct {
		value string
		known bool
		is    bool
	}
}

func (m *matcher) match(col *columnOfMany, found *[wordsPerChunk]uint64) {
	if !m.c.exact {
		for i, v := range col.values {
			if m.is(v, col.hashes[i]) {
				found[i/64] |= 1 << (i % 64)
			}
		}
		return
	}
	want := hashOf(m.c.value)
	for i, h := range col.hashes {
		if h == want && col.values[i] == m.c.value {
			found[i/64] |= 1 << (i % 64)
		}
	}
	if m.c.negate {
		for w := range found {
			found[w] = ^found[w]
		}
	}
}

func (m *matcher) is(v string, hash uint32) bool {
	e := &m.memo[hash%uint32(len(m.memo))]
	if !e.known || e.value != v {
		e.value, e.known, e.is = v, true, m.c.match(v)
	}
	return e.is
}

// addAll adds every node that noderanges may name.
func (n *nodeSet) addAll() {
	for at, chunk := range n.table.chunks {
		for w, b := range liveOf(chunk) {
			n.bits[at*wordsPerChunk+w] |= b
		}
	}
}

// count is how many bits are set in words.
func count(words []uint64) int {
	total := 0
	for _, b := range words {
		total += bits.OnesCount64(b)
	}
	return total
}
