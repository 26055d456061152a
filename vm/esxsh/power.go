package esxsh

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"margay/nodedb"
	"margay/vm"
)

// Power carries out orders, a few at a time.
func (c *Conn) Power(ctx context.Context, orders []vm.Order, done func(int, error)) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	busy := make(chan struct{}, sessions/2) // the other half watches for questions
	for i, o := range orders {
		busy <- struct{}{}
		wg.Go(func() {
			defer func() { <-busy }()
			err := c.order(ctx, o)
			mu.Lock()
			defer mu.Unlock()
			done(i, err)
		})
	}
	wg.Wait()
}

func (c *Conn) order(ctx context.Context, o vm.Order) error {
	id, err := c.id(ctx, o.VM)
	if err != nil {
		return err
	}
	if o.Op == vm.OpShutdown {
		_, err := c.run(ctx, "vim-cmd vmsvc/power.shutdown "+id)
		return err
	}
	word, want, err := wordOf(o.Op)
	if err != nil {
		return err
	}
	wait := o.Answer.Deadline
	if wait == 0 {
		wait = vm.DefaultDeadline
	}
	run, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answered, stop := c.watch(run, cancel, id, o.Answer)
	out, err := c.run(run, "vim-cmd vmsvc/power."+word+" "+id)
	stop()
	if a := answered(); a != nil {
		return a // what the operator needs to know is the question
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return vm.Errorf(context.DeadlineExceeded, "the task did not end within %s", wait)
	}
	if o.Op == vm.OpReset && errors.As(err, new(lost)) {
		return err // it is on before and after: what became of it does not show
	}
	return c.verify(ctx, id, want, out, err)
}

func wordOf(op vm.PowerOp) (string, nodedb.PowerState, error) {
	switch op {
	case vm.OpOn:
		return "on", nodedb.PowerOn, nil
	case vm.OpOff:
		return "off", nodedb.PowerOff, nil
	case vm.OpReset:
		return "reset", nodedb.PowerOn, nil
	case vm.OpSuspend:
		return "suspend", nodedb.PowerSuspended, nil
	}
	return "", "", vm.Errorf(vm.ErrInvalid, "power operation %q is unknown", op)
}

// verify looks what came of an order: hosts say "Power on failed" now and then
// when it did not.
func (c *Conn) verify(ctx context.Context, id string, want nodedb.PowerState, out string, err error) error {
	failed := err != nil || strings.Contains(out, " failed")
	if !failed {
		return nil
	}
	now, serr := c.state(ctx, id)
	if serr == nil && now == want {
		return nil
	}
	if err != nil && !strings.HasSuffix(err.Error(), " failed") {
		return err
	}
	return vm.Errorf(vm.ErrPowerState, "%s (it is %s)", lastLine(out), now)
}

// watch looks for questions while an order runs, and answers them. stop ends
// it; answered is the error that the order ends with because of an answer.
func (c *Conn) watch(ctx context.Context, giveUp func(), id string, p vm.Policy) (answered func() error, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		asked := ""
		tick := time.NewTicker(questionPoll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			out, merr := c.once(ctx, "vim-cmd vmsvc/message "+id, nil, nil)
			q := parseMessage(out)
			if merr != nil || q == nil || q.ID == asked {
				continue
			}
			asked = q.ID
			var key string
			if key, err = p.Answer(*q); key == "" {
				giveUp()
				return
			}
			if _, aerr := c.once(ctx, line("vim-cmd", "vmsvc/message", id, q.ID, key), nil, nil); aerr != nil {
				asked = "" // it is answered again, if it is still there
			}
		}
	}()
	return func() error { return err }, func() { cancel(); <-done }
}

// questionPoll is how often a guest that is being turned on is looked at.
const questionPoll = 500 * time.Millisecond
