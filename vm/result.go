package vm

import (
	"sync"

	"margay/nodedb"
)

// A Result is one thing that a command has to say of one node, and what it
// learned of it. Whoever gets it prints it and writes the facts.
type Result struct {
	Node    string
	Text    string            // printed as "node: text"; empty: nothing is
	Warn    string            // printed as a warning
	Err     error             // printed as an error; the exit status becomes 1
	Percent int               // of a long task: not the last word, only progress
	Did     PowerOp           // rpower: what was done to the guest; empty: nothing
	Facts   map[string]string // table.column values that the node now has
	Records []nodedb.Record   // further rows; without attributes: to be deleted
}

// Emit takes results as they come, which is the order of completion. It is
// called from one goroutine at a time.
type Emit func(Result)

// serial makes an Emit that many goroutines may call.
func serial(emit Emit) Emit {
	var mu sync.Mutex
	return func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		emit(r)
	}
}

// progress passes a long task's progress on.
func progress(emit Emit, node string) Progress {
	last := -1
	return func(percent int) {
		if percent == last {
			return
		}
		last = percent
		emit(Result{Node: node, Percent: percent})
	}
}
