package nodedb

import (
	"runtime"
	"sync"
)

// partLeast is how much work is worth a goroutine.
const partLeast = 512

// inParts has each processor do a part of the work on n things, which are all
// apart from each other. fn is given the first thing and the one behind the
// last.
func inParts(n int, fn func(from, to int)) {
	parts := max(1, min(runtime.GOMAXPROCS(0), n/partLeast))
	var wg sync.WaitGroup
	for i := range parts - 1 {
		wg.Go(func() { fn(n*i/parts, n*(i+1)/parts) })
	}
	fn(n*(parts-1)/parts, n)
	wg.Wait()
}
