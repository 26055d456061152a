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

// gcBusyRoom is how much may while the server is busy: while more than one
// collection a second would be needed with less.
const gcBusyRoom = 96 << 20

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
	t := time.NewTicker(gcLook)
	defer t.Stop()
	set, room, quiet := 100, uint64(gcRoom), 0
	before := readHeap()
	for {
		h := readHeap()
		switch fill := (h.made - before.made) / uint64(gcLook/time.Second); {
		case fill > gcRoom:
			room, quiet = gcBusyRoom, 0
		case room > gcRoom:
			if quiet++; quiet == gcQuiet {
				room = gcRoom
				debug.FreeOSMemory() // what was needed for a while only
			}
		}
		before = h
		if p := gcPercent(h.live, room); p != set {
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

// How often tune looks, and after how many looks without much to do the server
// is not busy any more.
const (
	gcLook  = 2 * time.Second
	gcQuiet = 15
)

// gcPercent is how much garbage may gather, of what is in use.
func gcPercent(live, room uint64) int {
	return int(max(100, min(gcMost, room*100/max(live, 1))))
}

// A heap is how much the last collection left, and how much was ever made.
type heap struct{ live, made uint64 }

func readHeap() (h heap) {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	for i, to := range []*uint64{&h.live, &h.made} {
		if s[i].Value.Kind() == metrics.KindUint64 {
			*to = s[i].Value.Uint64()
		}
	}
	return h
}
