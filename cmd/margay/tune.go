package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// gcRoom is how much garbage may gather before it is collected, at least. The
// runtime's own measure, as much as is in use, has a small table collected many
// times a second under load, and every collection takes from commands.
const gcRoom = 48 << 20

// gcMost bounds the percentage: a table of nothing needs no more either.
const gcMost = 1000

// tune sets the Go runtime up for a server of commands, until ctx is done.
// Whoever sets GOMAXPROCS or GOGC has his way.
//
// A goroutine that waits for the disk keeps its place among GOMAXPROCS until
// the runtime takes notice, which with two of them is half of the server: there
// are more places than processors. With one processor there is one place, since
// collections would fill the others with workers that take turns with everybody
// else on it: DHCP answers half as many again without them.
func tune(ctx context.Context) error {
	if os.Getenv("GOMAXPROCS") == "" && runtime.NumCPU() > 1 {
		runtime.GOMAXPROCS(runtime.NumCPU() + 2)
	}
	if os.Getenv("GOGC") != "" {
		return nil
	}
	t := time.NewTicker(10 * time.Second)
	defer t.Stop()
	set := 100
	for {
		if p := gcPercent(liveHeap()); p != set {
			debug.SetGCPercent(p)
			set = p
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// gcPercent is how much garbage may gather, of what is in use.
func gcPercent(live uint64) int {
	return int(max(100, min(gcMost, gcRoom*100/max(live, 1))))
}

// liveHeap is how much the last collection left.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}
