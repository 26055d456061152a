package provision

import (
	"fmt"
	"testing"
	"time"
)

func TestSaid(t *testing.T) {
	var s said
	now := time.Unix(1e9, 0)
	if !s.first("a", now) || s.first("a", now) {
		t.Fatal("a refusal is news once")
	}
	for i := range saidMost {
		s.first(fmt.Sprint(i), now)
	}
	if s.first("b", now) || len(s.last) != saidMost {
		t.Fatalf("%d are remembered, want %d and no more", len(s.last), saidMost)
	}
	now = now.Add(saidAgain)
	if !s.first("b", now) || len(s.last) != 1 {
		t.Errorf("an hour later: %d are remembered, want b alone", len(s.last))
	}
	if !s.first("a", now) {
		t.Error("a refusal that had stopped for an hour is news again")
	}
}

// BenchmarkSaidFull is a refusal that is not news where no more can be
// remembered: each of a large cluster's nodes has one.
func BenchmarkSaidFull(b *testing.B) {
	var s said
	now := time.Unix(1e9, 0)
	for i := range saidMost {
		s.first(fmt.Sprint(i), now)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.first("another", now)
	}
}
