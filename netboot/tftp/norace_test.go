//go:build !race

package tftp

const raced = false
