package provision

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"crypto/hmac"

	"margay/nodedb"
)

// kindAttempt keeps each node's attempt: our own record, named by the node.
const kindAttempt nodedb.Kind = "margay.attempt"

// A Phase is how far an attempt is by the node's own word.
type Phase string

// The phases, in order. PhaseFailed: the installer said that it gave up.
const (
	PhaseArmed      Phase = "armed"
	PhaseInstalling Phase = "installing"
	PhaseInstalled  Phase = "installed"
	PhaseBooted     Phase = "booted"
	PhaseFailed     Phase = "failed"
)

// maxTries is how often a node may begin an install without bringing it to
// an end before it is held.
const maxTries = 3

// An Attempt is what nodeset began: from its word to "booted". A node may
// boot several times in one attempt; each boot is a try with a token of its own.
type Attempt struct {
	Node   string
	Secret string // tokens are made from it
	Mode   nodedb.Mode
	Phase  Phase
	Try    int       // the try that reached Phase
	Step   int       // how often the node's chain moved on
	Reason string    // why it failed or is held
	At     time.Time // when it reached Phase
	Up     bool      // the system was seen to answer
}

func attemptKey(node string) nodedb.Key { return nodedb.Key{Kind: kindAttempt, Name: node} }

// attempt is the node's attempt in a snapshot, or nil.
func attempt(snap *nodedb.Snapshot, node string) *Attempt {
	r, ok := snap.Record(attemptKey(node))
	if !ok {
		return nil
	}
	var at time.Time
	if text := r.Attrs["attempt.at"]; text != "" {
		at, _ = time.Parse(time.RFC3339, text)
	}
	return &Attempt{
		Node:   node,
		Secret: r.Attrs["attempt.secret"],
		Mode:   nodedb.Mode(r.Attrs["attempt.mode"]),
		Phase:  Phase(r.Attrs["attempt.phase"]),
		Try:    atoi(r.Attrs["attempt.try"]),
		Step:   atoi(r.Attrs["attempt.step"]),
		Reason: r.Attrs["attempt.reason"],
		At:     at,
		Up:     r.Attrs["attempt.up"] != "",
	}
}

func atoi(s string) int {
	if s == "" {
		return 0
	}
	n, _ := strconv.Atoi(s)
	return n
}

func (a *Attempt) attrs() map[string]string {
	m := map[string]string{
		"attempt.secret": a.Secret,
		"attempt.mode":   string(a.Mode),
		"attempt.phase":  string(a.Phase),
	}
	if a.Try > 0 {
		m["attempt.try"] = strconv.Itoa(a.Try)
	}
	if a.Step > 0 {
		m["attempt.step"] = strconv.Itoa(a.Step)
	}
	if a.Reason != "" {
		m["attempt.reason"] = a.Reason
	}
	if !a.At.IsZero() {
		m["attempt.at"] = a.At.Format(time.RFC3339)
	}
	if a.Up {
		m["attempt.up"] = "1"
	}
	return m
}

// token is what one try's files and callbacks are asked for with, by the
// machine whose interface has that MAC. It names node and try, so that it can be checked without a table of tokens; a try
// that was forgotten in a crash is known again by its token.
func (a *Attempt) token(try int, mac net.HardwareAddr) string {
	return fmt.Sprintf("%s.%d.%s", a.Node, try, hexSum(a.Secret, a.Node+"."+strconv.Itoa(try)+"."+mac.String()))
}

// stepID names the step that an attempt is at: a machine that says it is done
// with one says with which.
func (a *Attempt) stepID() string { return hexSum(a.Secret, "step."+strconv.Itoa(a.Step))[:12] }

// splitToken is the node and try that a token claims to be for.
func splitToken(token string) (node string, try int, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", 0, false
	}
	try, err := strconv.Atoi(parts[1])
	return parts[0], try, err == nil && try > 0
}

// checks says whether token is a's own for the try it names.
func (a *Attempt) checks(token string, mac net.HardwareAddr) bool {
	node, try, ok := splitToken(token)
	return ok && node == a.Node && hmac.Equal([]byte(token), []byte(a.token(try, mac)))
}
