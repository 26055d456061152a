package dns

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	// notifyTries and notifyWait are less patient than RFC 1996, 3.6, whose
	// minute between tries is for the whole Internet.
	notifyTries = 5
	notifyWait  = 3 * time.Second
	// notifyPause keeps a stream of changes from becoming one of messages.
	notifyPause = time.Second
	dnsPort     = 53
)

// Notify tells secondaries of zones that have changed (RFC 1996): of all of
// them at first, and then whenever changed says that some may have, by their
// serials. It returns nil when ctx is done or changed is closed.
func (s *Server) Notify(ctx context.Context, changed <-chan struct{}) error {
	told := make(map[string]uint32)
	var refused sync.Map // what a secondary would not have, once in the log
	for {
		s.notifyAll(ctx, told, &refused)
		if !pause(ctx, notifyPause) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changed:
			if !ok {
				return nil
			}
		}
	}
}

// notifyAll tells each secondary of each zone whose serial is not in told.
func (s *Server) notifyAll(ctx context.Context, told map[string]uint32, refused *sync.Map) {
	t, secondaries := s.now(), s.policy().Secondaries
	var all sync.WaitGroup
	for _, to := range secondaries {
		var fresh []*Zone
		for name, z := range t.zones {
			if serial, ok := told[name]; !ok || serial != z.Serial {
				fresh = append(fresh, z)
			}
		}
		all.Go(func() { s.notifySome(ctx, to, fresh, refused) })
	}
	all.Wait()
	clear(told)
	for name, z := range t.zones {
		told[name] = z.Serial
	}
}

// notifySome tells one secondary, and gives up at the first zone for which it
// does not answer: it asks for itself when its refresh time comes. A zone that
// it will not have it need not have.
func (s *Server) notifySome(ctx context.Context, to netip.AddrPort, zones []*Zone, refused *sync.Map) {
	if to.Port() == 0 {
		to = netip.AddrPortFrom(to.Addr(), dnsPort)
	}
	for _, z := range zones {
		err := notifyOne(ctx, to, z)
		if errors.Is(err, errNotAccepted) {
			if _, again := refused.LoadOrStore(to.String()+" "+z.Name, true); !again {
				s.log().Info("dns: secondary does not have a zone", "secondary", to, "zone", z.Name, "err", err)
			}
			continue
		}
		if err != nil {
			if ctx.Err() == nil {
				s.log().Warn("dns: secondary not told of a change", "secondary", to, "zone", z.Name, "err", err)
			}
			return
		}
	}
}

var errNotAccepted = errors.New("it does not take it")

func notifyOne(ctx context.Context, to netip.AddrPort, z *Zone) (err error) {
	m := new(miekg.Msg)
	m.SetNotify(z.Name + ".")
	m.Answer = []miekg.RR{&miekg.SOA{
		Hdr: miekg.RR_Header{Name: z.Name + ".", Rrtype: miekg.TypeSOA, Class: miekg.ClassINET, Ttl: z.ttl()},
		Ns:  z.primary() + ".", Mbox: z.mail() + ".",
		Serial: z.Serial, Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: z.missing(),
	}}
	c := &miekg.Client{Timeout: notifyWait}
	for range notifyTries {
		var got *miekg.Msg
		got, _, err = c.ExchangeContext(ctx, m, to.String())
		if err == nil && got.Rcode != miekg.RcodeSuccess {
			return errNotAccepted
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}
