package tftp

import "time"

// Bounds of the retransmission timer. RFC 6298 asks for a second at least, for
// the sake of a whole internet; a booting machine is near, and asks for one
// file. Below the least, a busy client's own pauses would look like loss.
const (
	leastRTO   = 20 * time.Millisecond
	firstRTO   = 250 * time.Millisecond // before any answer
	longestRTO = 4 * time.Second
)

// An rtt estimates the round trip as RFC 6298 2 does.
type rtt struct {
	mean, dev time.Duration
	known     bool
}

func (r *rtt) sample(d time.Duration) {
	if !r.known {
		r.mean, r.dev, r.known = d, d/2, true
		return
	}
	r.dev += (max(r.mean-d, d-r.mean) - r.dev) / 4
	r.mean += (d - r.mean) / 8
}

// rto is how long to wait for an answer, after tries that had none.
func (r *rtt) rto(tries int, longest time.Duration) time.Duration {
	d := firstRTO
	if r.known {
		d = max(r.mean+4*r.dev, leastRTO)
	}
	return min(d<<min(tries, 10), longest)
}
