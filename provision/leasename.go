package provision

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"margay/nodedb"
)

// kindLeaseName keeps the names of dynamic clients while their leases last: our
// own record, named by the address. It is apart from the lease, which changes
// with each renewal: a zone's serial moves when a name does.
const kindLeaseName nodedb.Kind = "margay.leasename"

// longestLeaseTTL bounds how long others remember a dynamic client's name: it may
// be another's soon.
const longestLeaseTTL = 300 * time.Second

// namesEvery is how often it is looked for leases that have ended.
const namesEvery = 10 * time.Second

func leaseNameKey(a netip.Addr) nodedb.Key { return nodedb.Key{Kind: kindLeaseName, Name: a.String()} }

// putLease writes a lease, and its name where that is another than before.
func putLease(tx *nodedb.Tx, a netip.Addr, l Lease, now time.Time) {
	tx.Put(leaseKey(a), l.attrs())
	k := leaseNameKey(a)
	was, there := tx.Get(k)
	name := ""
	if !l.Bad && l.Expires.After(now) {
		name = strings.ToLower(l.Name)
	}
	switch {
	case name == "" && there:
		tx.Delete(k)
	case name != was.Attrs["leasename.name"]:
		tx.Put(k, map[string]string{"leasename.name": name})
	}
}

// dropLease forgets a lease.
func dropLease(tx *nodedb.Tx, a netip.Addr) {
	tx.Delete(leaseKey(a))
	if _, there := tx.Get(leaseNameKey(a)); there {
		tx.Delete(leaseNameKey(a))
	}
}

// watchNames ends the names of leases that have ended, until ctx is done.
func (s *Service) watchNames(ctx context.Context) {
	tick := time.NewTicker(namesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.endNames(ctx); err != nil && ctx.Err() == nil {
				s.Log.Warn("names of leases that have ended stay in the table", "err", err)
			}
		}
	}
}

// endNames removes the names of leases that have ended, so that the serial moves
// and secondaries hear of it.
func (s *Service) endNames(ctx context.Context) error {
	if len(endedNames(s.DB.Snapshot(), s.Now())) == 0 {
		return nil
	}
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		for _, a := range endedNames(tx.Snapshot(), s.Now()) {
			tx.Delete(leaseNameKey(a))
			tx.Get(leaseKey(a)) // which may be renewed at the same moment
		}
		return nil
	})
}

func endedNames(snap *nodedb.Snapshot, now time.Time) (out []netip.Addr) {
	for _, r := range snap.Records(kindLeaseName) {
		a, err := netip.ParseAddr(r.Name)
		lease, there := snap.Record(leaseKey(a))
		if err == nil && (!there || !leaseOf(lease).Expires.After(now)) {
			out = append(out, a)
		}
	}
	return out
}
