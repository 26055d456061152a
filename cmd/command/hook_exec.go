package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"margay/nodedb"
)

// hookInput is what a hook reads on its standard input.
type hookInput struct {
	Action     string            `json:"action"`  // rpower-on
	When       string            `json:"when"`    // before, instead, after
	Command    string            `json:"command"` // rpower
	Node       string            `json:"node"`
	Groups     []string          `json:"groups"`
	Words      []string          `json:"words"`     // behind the noderange, without flags
	Arguments  []string          `json:"arguments"` // all as typed; secrets are masked
	User       string            `json:"user"`
	Attributes map[string]string `json:"attributes"` // as lsdef has them, without secrets
}

func (p *hookPlan) input(when string) ([]byte, error) {
	s := p.h.s
	in := hookInput{Action: p.h.actions[0], When: when, Command: p.h.command, Node: p.node.Name, Groups: p.node.Groups, Words: p.h.words,
		Arguments: maskArgs(s.Req.Args), User: s.Req.User, Attributes: map[string]string{}}
	snap := p.h.snap
	if when == hookAfter {
		snap = s.DB.Snapshot() // with what the action learned
	}
	t := nodedb.TypeByName("node")
	if o, ok := nodedb.NewView(snap).Object(t, p.node.Name); ok {
		for _, v := range o.Values {
			if a := t.Attribute(v.Name); a == nil || !a.Secret() {
				in.Attributes[v.Name] = v.Text
			}
		}
	}
	return json.Marshal(in)
}

// How long a hook may take unless site.hooktimeout says otherwise, and how
// much it may print.
const (
	hookTimeout = 5 * time.Minute
	hookOutput  = 64 << 10
)

func hookDeadline(site string) time.Duration {
	if n, err := strconv.Atoi(site); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	return hookTimeout
}

// exec runs a program with nothing of ours but what it is told, and returns
// the lines that it printed. No shell sees any of it. One that takes too long
// is ended with all that it has started.
func (p *hookPlan) exec(ctx context.Context, k hook, when string) ([]string, error) {
	in, err := p.input(when)
	if err != nil {
		return nil, err
	}
	limit := hookDeadline(p.h.snap.Site("hooktimeout"))
	run, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, errs := &limited{left: hookOutput}, &limited{left: hookOutput}
	cmd := exec.CommandContext(run, k.path)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/",
		"MARGAY_ACTION=" + p.h.actions[0], "MARGAY_WHEN=" + when, "MARGAY_COMMAND=" + p.h.command, "MARGAY_NODE=" + p.node.Name, "MARGAY_USER=" + p.h.s.Req.User}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	lines := out.lines()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return lines, ctx.Err()
	case run.Err() != nil:
		return lines, fmt.Errorf("did not end within %s, which site.hooktimeout sets", limit)
	case errors.As(err, &exit):
		text := exit.String()
		if said := errs.lines(); len(said) > 0 {
			text += ": " + said[len(said)-1]
		}
		return lines, errors.New(text)
	}
	return lines, err
}

// A limited keeps so much of what is written to it, and takes the rest.
type limited struct {
	mu   sync.Mutex
	b    bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(p), l.left)
	l.b.Write(p[:n])
	l.left -= n
	return len(p), nil
}

// lines are those that are not empty, with nothing in them that a terminal
// would obey.
func (l *limited) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, line := range strings.Split(strings.ToValidUTF8(l.b.String(), "?"), "\n") {
		line = strings.Map(func(r rune) rune {
			if r == '\t' {
				return ' '
			}
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, line)
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}
