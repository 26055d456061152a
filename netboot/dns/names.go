package dns

import (
	"iter"
	"net/netip"
	"strings"
	"time"
)

// Names are a cluster's names at one moment. Nothing in it ever changes: when
// a name does, Server.Names gives another one. It is a pointer, or something
// else that may be compared. Its methods are called at once by many.
//
// Names are given and asked for in lower case, whole, and without the final
// dot: "esx1.cluster.test".
type Names interface {
	// Zones are the zones that we answer for with authority, forward and
	// reverse. A longer name wins over a shorter one.
	Zones() []Zone
	// Host is what a name has; false: there is no such name. A name that only
	// has others below it is there and has nothing.
	Host(name string) (Host, bool)
	// Addr are the names of an address, the first its own.
	Addr(a netip.Addr) []string
	// Hosts are all names that Host knows, in any order.
	Hosts() iter.Seq2[string, Host]
}

// A Host is what one name has. Its slices are not changed by whoever gets it.
type Host struct {
	Addrs []netip.Addr
	Alias string // the name that this one stands for; nothing else counts then
	MX    []MX
	TTL   time.Duration // of each record; zero, or longer than the zone's: that
}

// An MX is a mail server.
type MX struct {
	Preference uint16
	Host       string
}

// A Zone is a part of the tree of names that is ours.
type Zone struct {
	Name    string        // "cluster.test", "1.10.in-addr.arpa"
	Serial  uint32        // moves when any of its names does (RFC 1982)
	NS      []string      // its servers, the first the primary
	Mail    string        // who is responsible, with a dot for the @; empty: hostmaster of the primary's domain
	MX      []MX          // of the zone's own name
	TTL     time.Duration // of each record; zero: xCAT's day
	Missing time.Duration // how long others may remember that there is no such name; zero: a minute
}

// The times of a zone, as xCAT writes them; but a missing name is forgotten
// soon, since here it may come to be at any moment.
const (
	defaultTTL     = 86400 * time.Second
	defaultMissing = 60 * time.Second
	soaRefresh     = 10800
	soaRetry       = 3600
	soaExpire      = 604800
)

func (z *Zone) ttl() uint32     { return ttlSeconds(z.TTL, defaultTTL) }
func (z *Zone) missing() uint32 { return ttlSeconds(z.Missing, defaultMissing) }

// ttlOf is how long a host's records may be remembered.
func (z *Zone) ttlOf(h Host) uint32 {
	if h.TTL <= 0 {
		return z.ttl()
	}
	return min(z.ttl(), ttlSeconds(h.TTL, 0))
}

// ttlSeconds is d as DNS counts it; RFC 2181, 8 has 31 bits.
func ttlSeconds(d, unset time.Duration) uint32 {
	if d <= 0 {
		d = unset
	}
	return uint32(min(d/time.Second, 1<<31-1))
}

// primary is the name of the zone's first server.
func (z *Zone) primary() string {
	if len(z.NS) > 0 {
		return z.NS[0]
	}
	return z.Name
}

// mail is the responsible mailbox.
func (z *Zone) mail() string {
	if z.Mail != "" {
		return z.Mail
	}
	_, domain, ok := strings.Cut(z.primary(), ".")
	if !ok {
		domain = z.Name
	}
	return "hostmaster." + domain
}

// A table is one Names and what is worked out from it once.
type table struct {
	names  Names
	zones  map[string]*Zone
	number uint64 // no other table of the server has it
}

func newTable(names Names) *table {
	t := &table{names: names, zones: make(map[string]*Zone)}
	for _, z := range names.Zones() {
		z.Name = strings.ToLower(strings.TrimSuffix(z.Name, "."))
		t.zones[z.Name] = &z
	}
	return t
}

// zone is the one that a name is in, and where in the name the zone's own
// begins; nil if it is not ours.
func (t *table) zone(name string) (*Zone, int) {
	for at := 0; ; {
		if z := t.zones[name[at:]]; z != nil {
			return z, at
		}
		dot := strings.IndexByte(name[at:], '.')
		if dot < 0 {
			return nil, 0
		}
		at += dot + 1
	}
}
