//go:build race

package tftp

// raced says that the race detector watches, which keeps memory of its own.
const raced = true
