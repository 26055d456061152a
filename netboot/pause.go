package netboot

import (
	"context"
	"time"
)

// Pause waits, or says that ctx is done. It keeps an interface that is gone from
// being asked without end.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
