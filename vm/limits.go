package vm

import (
	"context"
	"errors"
	"io"
	"strconv"
	"syscall"
	"time"

	"margay/nodedb"
)

// The defaults of site.vmwaremaxp and site.vmwareretries. What
// site.vmwareworkers is by default, each kind of connection knows for itself.
const (
	DefaultEndpoints = 64
	DefaultRetries   = 2
)

// Bounds of what may be asked for: more workers only queue in the host's own
// agent, and more retries wait for minutes.
const (
	maxWorkers = 256
	maxRetries = 10
)

// withLimits fills in how many tasks an endpoint is given at a time and how
// often it is asked again, where its address does not say.
func withLimits(snap *nodedb.Snapshot, e Endpoint) (Endpoint, error) {
	if e.Workers == 0 && snap.Site("vmwareworkers") != "" {
		n, err := parseWorkers("site.vmwareworkers", snap.Site("vmwareworkers"))
		if err != nil {
			return e, err
		}
		e.Workers = n
	}
	if e.Tries == 0 && snap.Site("vmwareretries") != "" {
		n, err := parseRetries("site.vmwareretries", snap.Site("vmwareretries"))
		if err != nil {
			return e, err
		}
		e.Tries = n + 1
	}
	return e, nil
}

func parseWorkers(name, s string) (int, error) { return number(name, s, 1, maxWorkers) }
func parseRetries(name, s string) (int, error) { return number(name, s, 0, maxRetries) }

func number(name, s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, Errorf(ErrInvalid, "%s=%s: not a number from %d to %d", name, s, least, most)
	}
	return n, nil
}

// endpoints is how many endpoints one command works on at a time.
func endpoints(snap *nodedb.Snapshot) (int, error) {
	if s := snap.Site("vmwaremaxp"); s != "" {
		return number("site.vmwaremaxp", s, 1, 10000)
	}
	return DefaultEndpoints, nil
}

// WorkersOr is how many tasks the endpoint is given at a time, where otherwise
// it would be so many.
func (e Endpoint) WorkersOr(otherwise int) int {
	if e.Workers > 0 {
		return e.Workers
	}
	return otherwise
}

// workers is WorkersOr of the endpoint that guests share.
func workers(guests []*Guest, otherwise int) int {
	if len(guests) == 0 {
		return otherwise
	}
	return guests[0].Endpoint.WorkersOr(otherwise)
}

// Asks is how often it is asked what can be asked twice without harm.
func (e Endpoint) Asks() int {
	if e.Tries > 0 {
		return e.Tries
	}
	return DefaultRetries + 1
}

// A Tuner is a connection whose limits can change while it stands.
type Tuner interface{ Tune(e Endpoint) }

// again makes a connection, once more after a pause where nobody answered yet:
// a host that boots, or whose agent restarts, refuses for a while. A time-out
// is not tried again: it was long enough.
func again(ctx context.Context, e Endpoint, dial Dialer) (Hypervisor, error) {
	for try := 1; ; try++ {
		hv, err := dial(ctx, e)
		if err == nil || try >= e.Asks() || !refused(err) || Pause(ctx, try) != nil {
			return hv, err
		}
	}
}

// refused says whether a connection did not come about or was cut off.
func refused(err error) bool {
	for _, passing := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, passing) {
			return !errors.Is(err, ErrUntrusted)
		}
	}
	return false
}

// Pause waits before something is tried again: not at all after no try, then
// 200 ms, and twice as long each time, up to five seconds.
func Pause(ctx context.Context, tries int) error {
	if tries <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(100*time.Millisecond<<min(tries, 6), 5*time.Second)):
		return nil
	}
}
