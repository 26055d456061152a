package etcd_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"margay/nodedb"
)

// A full etcd refuses what is written, small or big, with the way out: what was
// acknowledged stays, nothing is half written, reading goes on; and once there
// is room again so does writing.
func TestEtcdFull(t *testing.T) {
	c := start(t, 1, "--quota-backend-bytes", "4194304")
	cfg := c.config()
	d := db(t, c.open(cfg))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	big := func(round string) error {
		return d.Update(ctx, func(tx *nodedb.Tx) error {
			for j := range 200 { // more than one transaction of etcd's takes
				tx.Set(nodedb.Key{Kind: "margay.test", Name: fmt.Sprintf("b%03d", j)}, "t.v", round)
				tx.Set(nodedb.Key{Kind: "margay.test", Name: fmt.Sprintf("b%03d", j)}, "t.x", strings.Repeat("x", 500)+round)
			}
			return nil
		})
	}
	var full error
	acked := 0
	for i := 1; i < 400 && full == nil; i++ {
		if full = big(fmt.Sprint(i)); full == nil {
			acked = i
		}
	}
	if full == nil || !strings.Contains(full.Error(), "alarm disarm") || acked == 0 {
		t.Fatalf("after %d commits: %v", acked, full)
	}
	if err := set(ctx, d, "small", "x"); err == nil || !strings.Contains(err.Error(), "alarm disarm") {
		t.Errorf("a small one: %v", err)
	}
	check := func(when string) {
		t.Helper()
		seen := map[string]int{}
		for j := range 200 {
			seen[value(d, fmt.Sprintf("b%03d", j))]++
		}
		round := 0
		for v := range seen {
			fmt.Sscan(v, &round)
		}
		if len(seen) != 1 || round < acked {
			t.Errorf("%s: records are of rounds %v, acknowledged was %d", when, seen, acked)
		}
	}
	check("while it is full")

	cl := c.client()
	r, err := cl.Get(ctx, "ready")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Compact(ctx, r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Defragment(ctx, c.endpoints()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	check("when there is room again")
	if err := set(ctx, d, "small", "y"); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := big("1000"); err != nil {
		t.Errorf("with room again: %v", err)
	}
	acked = 1000
	check("at the end")
}
