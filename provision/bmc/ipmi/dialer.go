package ipmi

import (
	"context"
	"slices"
	"sync"

	"margay/provision/bmc"
)

// A Dialer opens sessions and remembers which cipher suite each BMC took, so
// that one that keeps silent about others is waited for once. The zero value
// is ready.
type Dialer struct {
	mu    sync.Mutex // guards suite
	suite map[string]int
}

// Dial opens a session with a target's BMC. The caller closes it.
func (d *Dialer) Dial(ctx context.Context, t bmc.Target) (bmc.Controller, error) {
	t.Ciphers = d.order(t)
	s, err := open(ctx, t)
	if err != nil {
		return nil, err
	}
	d.remember(t, s.suite)
	return &Controller{target: t, s: s}, nil
}

// order is the target's suites with the one that worked first.
func (d *Dialer) order(t bmc.Target) []int {
	suites := t.Ciphers
	if len(suites) == 0 {
		suites = defaultCiphers()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known, ok := d.suite[t.HostPort(623)]
	i := slices.Index(suites, known)
	if !ok || i < 1 {
		return suites
	}
	return append([]int{known}, slices.Delete(slices.Clone(suites), i, i+1)...)
}

// remembered bounds the memory: more BMCs than that are no site.
const remembered = 1 << 18

func (d *Dialer) remember(t bmc.Target, suite int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.suite == nil || len(d.suite) >= remembered {
		d.suite = map[string]int{}
	}
	d.suite[t.HostPort(623)] = suite
}
