package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"margay/nodedb"
	"margay/provision"
)

// A hook is a program of the operator's that runs before an action on a node,
// after it, or instead of it.
type hook struct {
	name string // rpower-on.before
	path string
}

// When a hook runs.
const (
	hookBefore  = "before"
	hookInstead = "instead"
	hookAfter   = "after"
)

// hookActions are what the hooks of a command are called, the most special
// first: rpower-on, then rpower. None: the command has no hooks. What only
// looks has hooks of its own name alone.
func hookActions(command string, words []string) []string {
	switch command {
	case "mkvm", "chvm", "rmvm", "clonevm", "rmigrate", "mkhypervisor", "chhypervisor", "rmhypervisor", "rshutdown", "rescansan", "formatdisk":
		return []string{command}
	case "rpower", "rsetboot", "nodeset", "snapshot", "autostart":
	default:
		return nil
	}
	word := "stat"
	if len(words) > 0 {
		word = strings.ToLower(words[0])
	}
	word, _, _ = strings.Cut(word, "=") // nodeset osimage=x
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return []string{command}
	}
	special := command + "-" + word
	if slices.Contains([]string{"stat", "state", "status", "ls"}, word) {
		return []string{special}
	}
	return []string{special, command}
}

// withHooks runs a command and the hooks of its nodes: those before it, which
// refuse a node by failing; those instead of it; and those after it, where it
// went well.
func withHooks(ctx context.Context, s *Session, name string, args []string, run func(context.Context, *Session, []string) error) error {
	if s.Hooks == "" || len(args) == 0 {
		return run(ctx, s, args)
	}
	if _, err := os.Lstat(s.Hooks); errors.Is(err, fs.ErrNotExist) {
		return run(ctx, s, args)
	}
	actions := hookActions(name, args[1:])
	snap := s.DB.Snapshot()
	nodes, _, err := s.Nodes(snap, args)
	if len(actions) == 0 || err != nil {
		return run(ctx, s, args) // which says what is wrong
	}
	h := &hooks{s: s, snap: snap, command: name, actions: actions, words: args[1:]}
	plans := h.plan(nodes)
	if plans == nil {
		return run(ctx, s, args)
	}
	rest := h.each(ctx, plans, (*hookPlan).first)
	s.watchFailures()
	if len(rest) > 0 {
		names := make([]string, len(rest))
		for i, p := range rest {
			names[i] = p.node.Name
		}
		if err := run(ctx, s, append([]string{strings.Join(names, ",")}, args[1:]...)); err != nil {
			return err
		}
	}
	var done []*hookPlan
	for _, p := range plans {
		if !p.refused && !s.nodeFailed(p.node.Name) {
			done = append(done, p)
		}
	}
	h.each(ctx, done, (*hookPlan).last)
	return nil
}

// hooks are those of one call of a command.
type hooks struct {
	s       *Session
	snap    *nodedb.Snapshot
	command string
	actions []string
	words   []string
}

// A hookPlan is what runs for one node.
type hookPlan struct {
	h               *hooks
	node            *nodedb.Node
	before, instead []hook // of instead, the first
	after           []hook
	err             error // a hook that is not to be trusted
	refused         bool
}

// plan finds the hooks of nodes; nil: there is none for any.
func (h *hooks) plan(nodes []*nodedb.Node) []*hookPlan {
	var plans []*hookPlan
	any := false
	for _, n := range nodes {
		p := &hookPlan{h: h, node: n}
		p.before = p.find(hookBefore)
		p.instead = p.find(hookInstead)
		p.after = p.find(hookAfter)
		slices.Reverse(p.before) // the site's first, the node's own last
		slices.Reverse(p.after)
		any = any || len(p.before)+len(p.instead)+len(p.after) > 0 || p.err != nil
		plans = append(plans, p)
	}
	if !any {
		return nil
	}
	return plans
}

// find finds a node's hooks of one kind, the most special first: the node's
// own, its groups', the site's.
func (p *hookPlan) find(when string) []hook {
	var out []hook
	for _, dir := range p.dirs() {
		for _, a := range p.h.actions {
			k := hook{a + "." + when, filepath.Join(p.h.s.Hooks, dir, a+"."+when)}
			if _, err := os.Lstat(k.path); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				continue
			}
			if err := trustedProgram(k.path); err != nil && p.err == nil {
				p.err = err
			}
			out = append(out, k)
			break // rpower-on is in the place of rpower
		}
	}
	return out
}

func (p *hookPlan) dirs() []string {
	var out []string
	plain := func(kind, name string) {
		if name != "" && name[0] != '.' && !strings.ContainsRune(name, '/') {
			out = append(out, filepath.Join(kind, name))
		}
	}
	plain("nodes", p.node.Name)
	for _, g := range p.node.Groups {
		plain("groups", g)
	}
	return append(out, ".")
}

// maxHooks is how many nodes' hooks run at a time.
const maxHooks = 8

// each does something for many plans and returns those for which it says that
// the command itself is to go on, in order.
func (h *hooks) each(ctx context.Context, plans []*hookPlan, do func(*hookPlan, context.Context) bool) []*hookPlan {
	on := make([]bool, len(plans))
	slots := make(chan struct{}, maxHooks)
	var wg sync.WaitGroup
	for i, p := range plans {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			on[i] = do(p, ctx)
		})
	}
	wg.Wait()
	var out []*hookPlan
	for i, p := range plans {
		if on[i] {
			out = append(out, p)
		}
	}
	return out
}

// first runs what is before the action and instead of it, and says whether the
// action itself is to be done.
func (p *hookPlan) first(ctx context.Context) bool {
	if p.err != nil {
		p.refuse(p.err)
		return false
	}
	for _, k := range p.before {
		if err := p.run(ctx, k, hookBefore); err != nil {
			p.refuse(err)
			return false
		}
	}
	if len(p.instead) == 0 {
		return true
	}
	if err := p.run(ctx, p.instead[0], hookInstead); err != nil {
		p.refuse(err)
	}
	return false
}

// last runs what is after the action.
func (p *hookPlan) last(ctx context.Context) bool {
	for _, k := range p.after {
		if err := p.run(ctx, k, hookAfter); err != nil {
			p.h.s.NodeError(p.node.Name, err)
			return false
		}
	}
	return true
}

func (p *hookPlan) refuse(err error) {
	p.refused = true
	p.h.s.NodeError(p.node.Name, err)
}

// run runs one hook, or with --dry-run says that it would. What it prints is
// the node's, and stands in the node's timeline.
func (p *hookPlan) run(ctx context.Context, k hook, when string) error {
	s := p.h.s
	if s.Bool("dry-run") {
		s.Node(p.node.Name, "would run %s", k.path)
		return nil
	}
	lines, err := p.exec(ctx, k, when)
	for _, l := range lines {
		s.Node(p.node.Name, "%s", l)
	}
	said := "ok"
	if err != nil {
		said = err.Error()
	} else if len(lines) > 0 {
		said = lines[len(lines)-1]
	}
	if s.Service != nil {
		s.Service.Note(p.node.Name, provision.StepHook, k.name+": "+said)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", k.path, err)
	}
	return nil
}

// trustedProgram says why a program is not one to run: only those that root or
// the daemon's own user wrote, and that nobody else can write, are, in folders
// of which the same is true.
func trustedProgram(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	switch {
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s is no file (a link will not do either): it is not run", path)
	case st.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s cannot be executed: chmod 755 it, or remove it", path)
	}
	for at := path; ; at = filepath.Dir(at) {
		if st, err = os.Lstat(at); err != nil {
			return err
		}
		if err := trustedOwner(at, st); err != nil {
			return err
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

func trustedOwner(path string, st fs.FileInfo) error {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || sys.Uid != 0 && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another than root: what is in it is not run", path)
	}
	shared := st.IsDir() && st.Mode()&fs.ModeSticky != 0 // as /tmp: nobody can rename another's
	if st.Mode().Perm()&0o022 != 0 && !shared {
		return fmt.Errorf("%s can be written by others than its owner: chmod go-w it; it is not run", path)
	}
	return nil
}
