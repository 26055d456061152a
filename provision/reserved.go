package provision

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// kindReserved keeps what nodes said when they last took their addresses, where
// a relay may ask for it (RFC 4388): our own record, named by the address, with
// a lease's columns. A node's address is the table's word, and needs none.
const kindReserved nodedb.Kind = "margay.reserved"

const (
	// reservedLate is how long it may be until what a node said is in the table:
	// unlike a lease it is nothing that the node is promised.
	reservedLate = time.Second
	// reservedOld is how old the time of it may be there.
	reservedOld = time.Hour
)

// reservations are what nodes said of late.
type reservations struct {
	mu      sync.Mutex           // guards all below
	said    map[netip.Addr]Lease // newer than the table has it
	unsaved map[netip.Addr]bool  // of said
	news    chan struct{}        // holds one
}

func reservedKey(a netip.Addr) nodedb.Key {
	return nodedb.Key{Kind: kindReserved, Name: a.String()}
}

// noteReserved takes note of a node that takes its address, if a relay passes
// it on that says so, or did before.
func (s *Service) noteReserved(snap *nodedb.Snapshot, p *netboot.Plan, m netboot.Machine) {
	taken := m.Ask == netboot.AskRequest && !p.Nak && !m.Proxy && m.Requested == p.Addr.Addr() &&
		(!m.Server.IsValid() || m.Server == p.Server || m.Server == m.Local)
	if !taken || s.dry(m) {
		return
	}
	r := &s.reserved
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(m.RelayInfo) == 0 && len(r.said) == 0 && snap.Count(kindReserved) == 0 {
		return // as everywhere without relays
	}
	a, now := p.Addr.Addr(), s.Now()
	saved, there := s.reservedAt(snap, a)
	if len(m.RelayInfo) == 0 && !there {
		return
	}
	l := Lease{Addr: a, MAC: m.MAC.String(), At: now, Expires: now.Add(p.Lease), ClientID: string(m.ClientID), RelayInfo: string(m.RelayInfo)}
	if l.RelayInfo == "" && saved.MAC == l.MAC {
		l.RelayInfo = saved.RelayInfo
	}
	r.said[a] = l
	s.leases.index.note(a, l)
	if rec, ok := snap.Record(reservedKey(a)); ok && !worthSaving(leaseOf(rec), l) {
		return
	}
	r.unsaved[a] = true
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func worthSaving(old, l Lease) bool {
	return old.MAC != l.MAC || old.ClientID != l.ClientID || old.RelayInfo != l.RelayInfo || l.At.Sub(old.At) > reservedOld
}

// reservedAt is what was last said at an address. The caller holds mu.
func (s *Service) reservedAt(snap *nodedb.Snapshot, a netip.Addr) (Lease, bool) {
	l, there := s.reserved.said[a]
	if rec, ok := snap.Record(reservedKey(a)); ok {
		if saved := leaseOf(rec); !there || saved.At.Sub(l.At) >= time.Second { // another server's; ours lost the fraction
			l, there = saved, true
		}
	}
	return l, there
}

// keepReserved writes what nodes say until ctx is done, many in one transaction.
func (s *Service) keepReserved(ctx context.Context) {
	if err := s.sweepReserved(ctx); err != nil {
		s.Log.Warn("what was known of addresses that no node has any more stays in the table", "err", err)
	}
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), takingsTime)
			defer cancel()
			s.saveReserved(last)
			return
		case <-s.reserved.news:
		}
		if netboot.Pause(ctx, reservedLate) {
			s.saveReserved(ctx)
		}
	}
}

// saveReserved writes what is unsaved.
func (s *Service) saveReserved(ctx context.Context) {
	for {
		some := s.reserved.next()
		if len(some) == 0 {
			return
		}
		err := s.DB.Update(ctx, func(tx *nodedb.Tx) error {
			for _, l := range some {
				tx.Put(reservedKey(l.Addr), l.attrs())
			}
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				s.Log.Warn("what nodes said to relays is not in the table", "err", err)
			}
			s.reserved.again(some)
			return
		}
	}
}

// next takes what is to be written together.
func (r *reservations) next() (some []Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.unsaved {
		if len(some) == takingsMax {
			break
		}
		delete(r.unsaved, a)
		some = append(some, r.said[a])
	}
	return some
}

// again keeps what could not be written for the next time.
func (r *reservations) again(some []Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range some {
		r.unsaved[l.Addr] = true
	}
}

// sweepReserved forgets addresses that no node has any more.
func (s *Service) sweepReserved(ctx context.Context) error {
	gone := func(snap *nodedb.Snapshot) []nodedb.Record {
		return slices.DeleteFunc(snap.Records(kindReserved), func(r nodedb.Record) bool {
			l := leaseOf(r)
			return reservedFor(snap, l) != nil
		})
	}
	if len(gone(s.DB.Snapshot())) == 0 {
		return nil
	}
	return s.DB.Update(ctx, func(tx *nodedb.Tx) error {
		for _, r := range gone(tx.Snapshot()) {
			tx.Delete(r.Key)
		}
		return nil
	})
}
