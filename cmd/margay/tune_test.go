package main

import (
	"runtime"
	"testing"
)

func TestGCPercent(t *testing.T) {
	tests := []struct {
		live, room uint64
		want       int
	}{
		{0, gcRoom, 1000}, {4 << 20, gcRoom, 1000}, {12 << 20, gcRoom, 400}, {24 << 20, gcRoom, 200}, {48 << 20, gcRoom, 100}, {300 << 20, gcRoom, 100},
		{32 << 20, gcBusyRoom, 800}, {512 << 20, gcBusyRoom, 100},
	}
	for _, tt := range tests {
		if got := gcPercent(tt.live, tt.room); got != tt.want {
			t.Errorf("%d MB in use: %d, want %d", tt.live>>20, got, tt.want)
		}
	}
	runtime.GC()
	if h := readHeap(); h.live == 0 || h.made < h.live {
		t.Errorf("the runtime says %d bytes are in use, and %d were made", h.live, h.made)
	}
}
