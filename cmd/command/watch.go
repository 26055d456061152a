package command

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"margay/nodedb"
	"margay/provision"
	"margay/vm"
)

var watchCmd = &Command{
	Name:  "watch",
	Usage: "noderange [--once] [--until step]",
	Short: "show each node's boot as it goes: DHCP, loader, modules, install, booted",
	Long: `Show each node's boot as it goes, step by step, until Ctrl-C. Of guests, show
also their power, host, VMware Tools, address and questions as they change.

  --once         print what is known and end
  --until step   end when every node has reached a step, such as booted; exit
                 status 1 if one is held or fails before that`,
	Group: GroupMargay,
	Flags: func(f *pflag.FlagSet) {
		f.Bool("once", false, "print what is known and end")
		f.String("until", "", "end when every node has reached this step")
		f.Duration("timeout", 0, "give up after this time, with exit status 1")
	},
	Run: watch,
}

func watch(ctx context.Context, s *Session, args []string) error {
	nodes, rest, err := s.Nodes(s.DB.Snapshot(), args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return Usagef("%q is not wanted after the noderange", rest[0])
	}
	if d, _ := s.Flags.GetDuration("timeout"); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	snap := s.DB.Snapshot()
	if guests := slices.DeleteFunc(slices.Clone(nodes), func(n *nodedb.Node) bool { return n.Mgt != "esx" }); len(guests) > 0 && s.Guests != nil && !s.Bool("once") {
		seeing, stop := context.WithCancel(ctx)
		var over sync.WaitGroup
		over.Go(func() { s.Guests.Watch(seeing, snap, guests, s.sighted) })
		defer over.Wait()
		defer stop()
	}
	w := &watcher{s: s, names: names(nodes), shown: map[string]mark{}, until: provision.StepName(s.String("until"))}
	changed, cancel := s.Service.Subscribe()
	defer cancel()
	for first := true; ; first = false {
		over := w.print(first)
		s.Flush()
		if over || s.Bool("once") {
			return nil
		}
		select {
		case <-ctx.Done():
			if w.until != "" {
				return fmt.Errorf("timed out before every node reached %s", w.until)
			}
			return nil
		case <-changed:
		}
	}
}

// sighted prints what is new of a guest. That nothing can be seen of it is no
// failure of what is watched.
func (s *Session) sighted(r vm.Result) {
	now := time.Now().Format("15:04:05")
	if r.Err != nil {
		s.NodeWarn(r.Node, "%s: %v", now, r.Err)
	} else if what, value, ok := strings.Cut(r.Text, ": "); ok {
		s.Label(r.Node, now+" "+what, "%s", value)
	}
	s.Flush()
}

// A mark is how far a node's timeline was shown.
type mark struct {
	began time.Time
	steps int
	load  string
}

type watcher struct {
	s     *Session
	names []string
	shown map[string]mark
	until provision.StepName
}

// print shows what is new and says whether all nodes are where they should be.
func (w *watcher) print(first bool) bool {
	reached := 0
	for _, v := range w.s.Service.Views(w.names) {
		if len(v.Boots) == 0 {
			if first {
				w.s.Node(v.Node, "no boot seen yet")
			}
			continue
		}
		boots := v.Boots
		if first {
			boots = boots[len(boots)-1:]
		}
		for i := range boots {
			w.boot(v.Node, &boots[i])
		}
		if w.until != "" && w.ended(&v) {
			reached++
		}
	}
	return w.until != "" && reached == len(w.names)
}

// ended says whether a node has come to the step that is waited for, or can
// no longer.
func (w *watcher) ended(v *provision.View) bool {
	last := &v.Boots[len(v.Boots)-1]
	if last.Has(w.until) {
		return true
	}
	if last.Has(provision.StepHeld) || last.Has(provision.StepFailed) {
		w.s.Fail()
		return true
	}
	return false
}

func (w *watcher) boot(node string, tl *provision.Timeline) {
	m := w.shown[node]
	if tl.Began.Before(m.began) {
		return
	}
	if !tl.Began.Equal(m.began) {
		m = mark{began: tl.Began}
		head := "boot"
		if tl.Try > 0 {
			head = fmt.Sprintf("boot, try %d", tl.Try)
		}
		w.s.Node(node, "%s %s", tl.Began.Format("15:04:05"), head)
	}
	for _, st := range tl.Steps[min(m.steps, len(tl.Steps)):] {
		w.s.Label(node, fmt.Sprintf("%s +%.1fs %s", st.At.Format("15:04:05"), st.At.Sub(tl.Began).Seconds(), st.Name), "%s", st.Text)
	}
	m.steps = len(tl.Steps)
	if tl.Load != nil && tl.Load.Count < tl.Load.Total && tl.Load.Bytes > 0 {
		if text := tl.Load.String(); text != m.load {
			w.s.Progress("%s: %s %s", node, text, tl.Load.Current)
			m.load = text
		}
	}
	w.shown[node] = m
}
