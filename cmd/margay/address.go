package main

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"margay/provision"
)

// addresses are our interfaces' as they were a moment ago: they may change while
// we serve, and every machine's answer wants them.
type addresses struct {
	mu sync.Mutex
	at time.Time             // guarded by mu
	on []provision.Interface // likewise
}

// addressesFor is how long they are taken to stay as they are.
const addressesFor = time.Second

// serving are the interfaces that are served and there now, with their
// addresses.
func (d *daemon) serving() []provision.Interface {
	a := &d.addrs
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at.IsZero() || time.Since(a.at) > addressesFor {
		a.at, a.on = time.Now(), nil
		all, err := provision.Interfaces(d.names...)
		if err != nil { // one of those named is not there now
			for _, name := range d.names {
				if one, err := provision.Interfaces(name); err == nil {
					all = append(all, one...)
				}
			}
		}
		a.on = all
	}
	return a.on
}

// servedNow are the interfaces that are served since the start, as they are now:
// those that are away have no address.
func (d *daemon) servedNow() []provision.Interface {
	now := d.serving()
	out := make([]provision.Interface, 0, len(d.served))
	for _, was := range d.served {
		i := slices.IndexFunc(now, func(i provision.Interface) bool { return i.Name == was.Name })
		if i < 0 {
			out = append(out, provision.Interface{Name: was.Name})
			continue
		}
		out = append(out, now[i])
	}
	return out
}

// local are our addresses as they are now.
func (d *daemon) local() []netip.Prefix {
	var out []netip.Prefix
	for _, i := range d.serving() {
		out = append(out, i.Prefixes...)
	}
	return out
}

// localOn are those of one interface.
func (d *daemon) localOn(ifname string) []netip.Prefix {
	for _, i := range d.serving() {
		if i.Name == ifname {
			return i.Prefixes
		}
	}
	return nil
}
