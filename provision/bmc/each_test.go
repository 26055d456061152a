package bmc_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"margay/provision/bmc"
)

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestEachBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		count := 0
		for r := range bmc.Each(t.Context(), bmc.Limits{Busy: 7}, numbers(100), func(context.Context, int) (int, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return 1, nil
		}) {
			count += r.Value
		}
		if count != 100 || most.Load() != 7 {
			t.Errorf("%d done, at most %d at a time; want 100 and 7", count, most.Load())
		}
	})
}

// TestEachSilent has 500 targets that are silent for eight seconds among 500
// that answer after 20 ms: the dead wait side by side, whatever the limit.
func TestEachSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var busy, most atomic.Int32
		dead, alive := 0, 0
		for r := range bmc.Each(t.Context(), bmc.Limits{Busy: 16}, numbers(1000), func(ctx context.Context, i int) (int, error) {
			resume := bmc.Pause(ctx)
			if i%2 == 0 {
				time.Sleep(8 * time.Second)
				return 0, bmc.ErrTimeout
			}
			time.Sleep(20 * time.Millisecond)
			if err := resume(ctx); err != nil {
				return 0, err
			}
			most.Store(max(most.Load(), busy.Add(1)))
			time.Sleep(50 * time.Millisecond)
			busy.Add(-1)
			return 1, nil
		}) {
			if r.Err != nil {
				dead++
			}
			alive += r.Value
			if r.Err == nil && time.Since(begin) > 3*time.Second {
				t.Errorf("%d answered and was held up until %v", r.Target, time.Since(begin))
			}
		}
		if alive != 500 || dead != 500 || most.Load() > 16 {
			t.Errorf("%d alive, %d dead, %d at a time", alive, dead, most.Load())
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("took %v, want the patience of one", took)
		}
	})
}

func TestEachBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for r := range bmc.Each(t.Context(), bmc.Limits{Busy: 1, Budget: time.Minute}, numbers(3), func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}) {
			if !errors.Is(r.Err, bmc.ErrTimeout) {
				t.Errorf("%d: %v, want timeout", r.Target, r.Err)
			}
		}
	})
}

func TestEachBudgetStandsStillInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := bmc.Limits{Busy: 1, Budget: 15 * time.Second}
		for r := range bmc.Each(t.Context(), l, numbers(10), func(ctx context.Context, _ int) (int, error) {
			resume := bmc.Pause(ctx)
			time.Sleep(time.Second)
			if err := resume(ctx); err != nil {
				return 0, err
			}
			select {
			case <-time.After(10 * time.Second):
				return 0, nil
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
		}) {
			if r.Err != nil {
				t.Errorf("%d: %v, though it only waited for its turn", r.Target, r.Err)
			}
		}
	})
}

func TestEachStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began atomic.Int32
		for r := range bmc.Each(t.Context(), bmc.Limits{Busy: 2}, numbers(50), func(ctx context.Context, i int) (int, error) {
			began.Add(1)
			if i > 0 {
				<-ctx.Done()
			}
			return i, ctx.Err()
		}) {
			_ = r
			break
		}
		if n := began.Load(); n > 4 {
			t.Errorf("%d were begun though the first result ended the loop", n)
		}
		synctest.Wait() // and nobody is left
	})
}

func TestEachCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	count := 0
	for r := range bmc.Each(ctx, bmc.Limits{}, numbers(5), func(context.Context, int) (int, error) { return 0, nil }) {
		if !errors.Is(r.Err, context.Canceled) {
			t.Errorf("%d: %v", r.Target, r.Err)
		}
		count++
	}
	if count != 5 {
		t.Errorf("%d results of 5", count)
	}
}

func TestSecret(t *testing.T) {
	target := bmc.Target{Node: "n1", Password: "hunter2"}
	for _, got := range []string{fmt.Sprint(target), fmt.Sprintf("%v %+v %#v %s %q %x", target.Password, struct{ P bmc.Secret }{target.Password}, target.Password, target.Password, target.Password, target)} {
		if containsAny(got, "hunter2", "68756e74657232") {
			t.Errorf("%s shows the password", got)
		}
	}
}
