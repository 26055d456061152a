//go:build noipxe

package loader

func embedded() map[string][]byte { return nil }
