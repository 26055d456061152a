package provision

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"margay/nodedb"
)

// A leaseIndex finds leases by MAC and by client identifier, for relays that ask
// who has what. There is none while nobody asks.
type leaseIndex struct {
	mu    sync.Mutex              // guards all below
	by    map[string][]netip.Addr // by what macIndex or idIndex makes
	rev   int64                   // when leases had last changed as it was made
	made  time.Time
	asked time.Time
}

const (
	// indexEvery is how often it is made anew at most: other servers write
	// leases too. What we write is noted at once.
	indexEvery = time.Second
	// indexKept is how long it is kept up for the next who asks.
	indexKept = time.Minute
)

func macIndex(mac string) string { return "mac " + mac }
func idIndex(id string) string   { return "id " + id }

// find gives the addresses under a key. They may have gone to others since.
func (x *leaseIndex) find(snap *nodedb.Snapshot, key string) []netip.Addr {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked = time.Now()
	rev := snap.Changed(func(k nodedb.Kind) bool { return k == kindLease || k == kindReserved })
	if x.by == nil || rev != x.rev && x.asked.Sub(x.made) >= indexEvery {
		x.by, x.rev, x.made = map[string][]netip.Addr{}, rev, x.asked
		for _, kind := range []nodedb.Kind{kindLease, kindReserved} {
			for _, r := range snap.Records(kind) {
				l := leaseOf(r)
				x.add(l.Addr, l)
			}
		}
	}
	return slices.Clone(x.by[key])
}

// note adds a lease that was written.
func (x *leaseIndex) note(a netip.Addr, l Lease) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.by == nil {
		return
	}
	if time.Since(x.asked) > indexKept {
		x.by = nil
		return
	}
	x.add(a, l)
}

func (x *leaseIndex) add(a netip.Addr, l Lease) {
	x.under(l.MAC != "", macIndex(l.MAC), a)
	x.under(l.ClientID != "", idIndex(l.ClientID), a)
}

func (x *leaseIndex) under(known bool, key string, a netip.Addr) {
	if known && !slices.Contains(x.by[key], a) {
		x.by[key] = append(x.by[key], a)
	}
}
