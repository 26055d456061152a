package dns

import (
	"container/list"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	cacheSize    = 10000
	longestTTL   = 6 * 3600 // seconds, of what is there
	longestNone  = 900      // of what is not (RFC 2308, 5 allows hours)
	failureTTL   = 2        // of an upstream's failure (RFC 2308, 7.1 allows minutes)
	largestEntry = 16 << 10 // octets of a message that is kept
)

// A cache remembers upstreams' answers, the least used forgotten first.
type cache struct {
	mu    sync.Mutex
	items map[question]*list.Element // guarded by mu, as is order
	order *list.List                 // of *entry, the latest used first
}

type entry struct {
	key       question
	msg       *miekg.Msg // not to be changed
	born, die time.Time
}

func newCache() *cache {
	return &cache{items: make(map[question]*list.Element), order: list.New()}
}

// get gives what is remembered and its age in seconds.
func (c *cache) get(key question, now time.Time) (*miekg.Msg, uint32, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.items[key]
	if !ok {
		return nil, 0, false
	}
	e := el.Value.(*entry)
	if !now.Before(e.die) || now.Before(e.born) { // the clock may have stepped back
		c.drop(el)
		return nil, 0, false
	}
	c.order.MoveToFront(el)
	return e.msg, uint32(now.Sub(e.born) / time.Second), true
}

// put remembers an answer for as long as it says, within bounds.
func (c *cache) put(key question, m *miekg.Msg, now time.Time) {
	ttl := lifetime(m)
	if ttl == 0 || m.Len() > largestEntry {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.items[key]; ok {
		c.drop(el)
	}
	for c.order.Len() >= cacheSize {
		c.drop(c.order.Back())
	}
	c.items[key] = c.order.PushFront(&entry{key: key, msg: m, born: now, die: now.Add(time.Duration(ttl) * time.Second)})
}

func (c *cache) drop(el *list.Element) {
	c.order.Remove(el)
	delete(c.items, el.Value.(*entry).key)
}

// lifetime is how many seconds an answer may be remembered; 0: not at all.
func lifetime(m *miekg.Msg) uint32 {
	switch m.Rcode {
	case miekg.RcodeSuccess, miekg.RcodeNameError:
	case miekg.RcodeServerFailure:
		return failureTTL
	default:
		return 0
	}
	if m.Rcode == miekg.RcodeNameError || len(m.Answer) == 0 {
		return noneFor(m)
	}
	ttl := uint32(longestTTL)
	for _, rr := range m.Answer {
		ttl = min(ttl, rr.Header().Ttl)
	}
	return ttl
}

// noneFor is a negative answer's lifetime; without an SOA it has none
// (RFC 2308, 5).
func noneFor(m *miekg.Msg) uint32 {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*miekg.SOA); ok {
			return min(soa.Hdr.Ttl, soa.Minttl, longestNone)
		}
	}
	return 0
}
