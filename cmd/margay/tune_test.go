package main

import (
	"runtime"
	"testing"
)

func TestGCPercent(t *testing.T) {
	tests := []struct {
		live uint64
		want int
	}{
		{0, 1000}, {4 << 20, 1000}, {12 << 20, 400}, {24 << 20, 200}, {48 << 20, 100}, {300 << 20, 100},
	}
	for _, tt := range tests {
		if got := gcPercent(tt.live); got != tt.want {
			t.Errorf("%d MB in use: %d, want %d", tt.live>>20, got, tt.want)
		}
	}
	runtime.GC()
	if liveHeap() == 0 {
		t.Error("the runtime does not say how much is in use")
	}
}
