package bmc

import (
	"fmt"
	"strconv"
	"time"
)

// An Event is an entry of the event log.
type Event struct {
	Time time.Time // zero: the controller does not know
	Text string
}

// String is the event as reventlog prints it.
func (e Event) String() string {
	if e.Time.IsZero() {
		return Clean(e.Text)
	}
	return e.Time.Format("01/02/2006 15:04:05") + " " + Clean(e.Text)
}

// ParseEventArg reads reventlog's argument: a number, "all" (the default) or
// "clear". n is 0 for all.
func ParseEventArg(word string) (n int, clear bool, err error) {
	switch word {
	case "", "all":
		return 0, false, nil
	case "clear":
		return 0, true, nil
	}
	n, err = strconv.Atoi(word)
	if err != nil || n <= 0 {
		return 0, false, fmt.Errorf("unsupported command eventlog %s", word)
	}
	return n, false, nil
}
