package provision

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"margay/nodedb"
)

// spares are the addresses of a network's ranges whose leases were past when they
// were last looked for, those longest out of use first. To look at every lease
// for each machine that asks would leave no time for those that renew, just when
// a range is used up and hundreds ask.
type spares struct {
	looked searched
	addrs  []netip.Addr
}

const (
	// lookAgain is how long it is not looked again for addresses to give where
	// there were none.
	lookAgain = time.Second
	// sparesMore is how many that machines give back are noted until then.
	sparesMore = 64
)

// A searched is when it was looked for addresses to give: by the clock, which may be
// set, and by what never is.
type searched struct {
	at     time.Time
	steady time.Duration
}

// lately says whether it is not yet time to look again.
func (l *leaser) lately(last searched, now time.Time) bool {
	d := now.Sub(last.at)
	return d >= 0 && d < lookAgain && l.steady()-last.steady < lookAgain
}

// pastUse is the address of a network's ranges that is longest out of use. The
// caller holds mu.
func (l *leaser) pastUse(snap *nodedb.Snapshot, nw *nodedb.Network, mac string, now time.Time) netip.Addr {
	s := l.spare[nw.Name]
	if s == nil || len(s.addrs) == 0 && !l.lately(s.looked, now) {
		s = &spares{searched{now, l.steady()}, pastLeases(snap, nw, now)}
		l.spare[nw.Name] = s
	}
	for len(s.addrs) > 0 {
		a := s.addrs[0]
		s.addrs = s.addrs[1:]
		if dynamicIn(nw, a) && l.free(snap, a, mac, now) {
			return a
		}
	}
	return netip.Addr{}
}

// pastLeases are the addresses of a network's ranges that leases of the past were
// of, in the order in which these ended.
func pastLeases(snap *nodedb.Snapshot, nw *nodedb.Network, now time.Time) []netip.Addr {
	type past struct {
		addr netip.Addr
		end  int64
	}
	var all []past
	for _, r := range snap.Records(kindLease) {
		end, _ := strconv.ParseInt(r.Attrs["lease.expires"], 10, 64)
		if !now.After(time.Unix(end, 0)) {
			continue
		}
		if a, err := netip.ParseAddr(r.Name); err == nil && dynamicIn(nw, a) {
			all = append(all, past{a, end})
		}
	}
	slices.SortStableFunc(all, func(a, b past) int { return int(a.end - b.end) })
	out := make([]netip.Addr, len(all))
	for i, p := range all {
		out[i] = p.addr
	}
	return out
}

// spared notes that a machine has given an address back.
func (l *leaser) spared(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.spare {
		if len(s.addrs) < sparesMore {
			s.addrs = append(s.addrs, a)
		}
	}
}

// lookAnew has addresses looked for at the next request.
func (l *leaser) lookAnew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.none)
	clear(l.spare)
}
