package bmc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"margay/nodedb"
)

// An Action is what rpower is told.
type Action string

// The actions, in xCAT's words. Stat is asked, not done.
const (
	Stat    Action = "stat"
	On      Action = "on"
	Off     Action = "off"
	SoftOff Action = "softoff"
	Reset   Action = "reset"
	BootUp  Action = "boot"
	Cycle   Action = "cycle"
	NMI     Action = "nmi"
	Suspend Action = "suspend"
	Wake    Action = "wake"
)

// ParseAction reads an action as typed.
func ParseAction(word string) (Action, error) {
	switch a := Action(word); a {
	case "state", "status":
		return Stat, nil
	case Stat, On, Off, SoftOff, Reset, BootUp, Cycle, NMI, Suspend, Wake:
		return a, nil
	}
	return "", fmt.Errorf("unsupported command power %s", word)
}

// step is what an action comes to on a machine in some state: the orders to
// give, the word to print, and the state to see afterwards, if any.
type step struct {
	do    []Action
	word  string
	after nodedb.PowerState
}

// plan decides an action as xCAT does: what is already so is not done again,
// and a machine that is off is not reset.
func plan(a Action, now nodedb.PowerState) step {
	on, off := now == nodedb.PowerOn, now == nodedb.PowerOff
	switch a {
	case On:
		switch {
		case on:
			return step{word: "on"}
		case now == nodedb.PowerSuspended:
			return step{do: []Action{Wake}, word: "wake"}
		}
		return step{do: []Action{On}, word: "on", after: nodedb.PowerOn}
	case Off:
		if off {
			return step{word: "off"}
		}
		return step{do: []Action{Off}, word: "off", after: nodedb.PowerOff}
	case SoftOff:
		if off {
			return step{word: "off"}
		}
		return step{do: []Action{SoftOff}, word: "softoff"} // takes as long as the OS takes
	case Reset:
		if off {
			return step{word: "off"}
		}
		return step{do: []Action{Reset}, word: "reset"}
	case BootUp:
		if off {
			return step{do: []Action{On}, word: "on", after: nodedb.PowerOn}
		}
		return step{do: []Action{Reset}, word: "reset"}
	case Cycle:
		// IPMI 2.0, 28.3: power cycle is for a machine that is on.
		if off {
			return step{do: []Action{On}, word: "cycle", after: nodedb.PowerOn}
		}
		return step{do: []Action{Cycle}, word: "cycle", after: nodedb.PowerOn}
	}
	return step{do: []Action{a}, word: string(a)}
}

// Power does an action and returns the word to print. A machine that took the
// order and did not follow within settle is ErrIgnored.
func Power(ctx context.Context, m Machine, a Action, settle time.Duration) (string, error) {
	now, err := m.State(ctx)
	if err != nil {
		return "", err
	}
	if a == Stat {
		return string(now), nil
	}
	s := plan(a, now)
	if err := carryOut(ctx, m, s.do, settle); err != nil {
		return "", err
	}
	if len(s.do) == 0 || s.after == "" {
		return s.word, nil
	}
	if err := await(ctx, m, s.after, settle); err != nil {
		return "", err
	}
	return s.word, nil
}

// Foresee returns what Power would print, without giving an order.
func Foresee(ctx context.Context, m Machine, a Action) (string, error) {
	now, err := m.State(ctx)
	if err != nil || a == Stat {
		return string(now), err
	}
	return plan(a, now).word, nil
}

// carryOut gives the orders. A machine that has no power cycle is switched
// off and on.
func carryOut(ctx context.Context, m Machine, do []Action, settle time.Duration) error {
	for _, a := range do {
		err := m.Do(ctx, a)
		if a == Cycle && errors.Is(err, ErrUnsupported) {
			if err := m.Do(ctx, Off); err != nil {
				return err
			}
			if err := await(ctx, m, nodedb.PowerOff, settle); err != nil {
				return err
			}
			err = m.Do(ctx, On)
		}
		if err != nil {
			return fmt.Errorf("power %s: %w", a, err)
		}
	}
	return nil
}

// settleTime is how long machines are given to show what they were told:
// server boards report "on" up to ten seconds after the order.
const settleTime = 20 * time.Second

// await waits until the machine is in a state.
func await(ctx context.Context, m Machine, want nodedb.PowerState, settle time.Duration) error {
	if settle <= 0 {
		settle = settleTime
	}
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	pause := 100 * time.Millisecond
	for {
		now, err := m.State(ctx)
		if err == nil && now == want {
			return nil
		}
		if !Sleep(ctx, pause) {
			return notReached(ctx, now, want, settle, err)
		}
		pause = min(2*pause, 2*time.Second)
	}
}

func notReached(ctx context.Context, now, want nodedb.PowerState, settle time.Duration, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrTimeout) {
		return err
	}
	return fmt.Errorf("the machine took the order and is still %q after %v, not %q: %w", now, settle, want, ErrIgnored)
}

// Sleep waits, and says whether ctx still runs.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
