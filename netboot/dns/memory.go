package dns

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"

	miekg "github.com/miekg/dns"
)

const (
	memorySets   = 1 << 14
	memoryWays   = 4
	memoryLength = 320 // octets of a question and its answer; longer ones are not kept
)

// A memory keeps answers as they were written, so that a question which comes
// again costs one look-up. It is a hash table of a fixed size whose entries
// push each other out: strangers who ask for names that are not there can
// slow it and cannot make it grow. An entry holds for one table alone, and
// dies unnoticed when there is another.
type memory struct {
	seed maphash.Seed
	sets [memorySets]memorySet
}

// A memorySet is one line of the processor's cache. Tags say which entries are
// worth looking at; they may be behind, an entry's own hash is never.
type memorySet struct {
	tags    [memoryWays]atomic.Uint32
	entries [memoryWays]atomic.Pointer[remembered]
	_       [16]byte
}

// A remembered is what one question is answered by. It never changes.
type remembered struct {
	hash  uint64
	table uint64 // table.number
	qtype uint16

	rcode        uint16
	an, nsct, ar uint16
	text         int    // octets of data that are the name; the rest are the records
	data         []byte // within room, where it fits; records point into the question alone, whose length is the name's
	room         [72]byte
}

func newMemory() *memory { return &memory{seed: maphash.MakeSeed()} }

// keeps says whether a question is one whose answers are kept. The text of an
// odd name may be another name's too.
func (q *query) keeps() bool { return q.fault == nil && q.qclass == miekg.ClassINET && !q.odd }

// find finds what is remembered of questions. To look into memory that is far
// from the processor is most of the work, and many such looks take little
// longer than one if none needs what another one finds: so it is a step for all
// after the other.
func (m *memory) find(table uint64, all []*query) {
	for _, q := range all {
		q.hash = maphash.Bytes(m.seed, q.text) ^ uint64(q.qtype)<<32
	}
	for _, q := range all {
		q.found = m.sets[q.hash%memorySets].tagged(q.hash)
	}
	for _, q := range all {
		if e := q.found; e != nil && (e.hash != q.hash || e.table != table || e.qtype != q.qtype) {
			q.found = nil
		}
	}
}

func (s *memorySet) tagged(hash uint64) *remembered {
	for i := range s.tags {
		if s.tags[i].Load() == uint32(hash>>32) {
			return s.entries[i].Load()
		}
	}
	return nil
}

// remember writes what was found into r. False: nothing was.
func (q *query) remember(r *reply) bool {
	e := q.found
	if e == nil || !q.keeps() || !bytes.Equal(e.data[:e.text], q.text) {
		return false
	}
	r.buf = append(r.buf, e.data[e.text:]...)
	r.rcode, r.an, r.nsct, r.ar = int(e.rcode), e.an, e.nsct, e.ar
	return true
}

// keep remembers r, of which no more than the records is written yet.
func (m *memory) keep(r *reply, q *query, table uint64) {
	records := r.buf[headerSize+len(q.qname)+4:]
	if !q.keeps() || r.outward != "" || len(q.text)+len(records) > memoryLength {
		return
	}
	h := q.hash
	set := &m.sets[h%memorySets]
	at := int(h >> 32 % memoryWays)
	for i := range set.entries {
		if e := set.entries[i].Load(); e == nil || e.table != table {
			at = i
			break
		}
	}
	e := &remembered{
		hash: h, table: table, qtype: q.qtype,
		rcode: uint16(r.rcode), an: r.an, nsct: r.nsct, ar: r.ar,
		text: len(q.text),
	}
	e.data = append(append(e.room[:0], q.text...), records...)
	set.entries[at].Store(e)
	set.tags[at].Store(uint32(h >> 32))
}
