package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sort"
	"sync"
	"time"

	"margay/netboot"
	"margay/nodedb"
)

// kindTimeline keeps each node's last boots: our own record, named by the node.
const kindTimeline nodedb.Kind = "margay.timeline"

// keepBoots is how many boots of a node are kept.
const keepBoots = 5

// A journal keeps what each node was seen to do. It is told of events and
// never waits for the table: what changed is written once a second, many
// nodes in one transaction.
type journal struct {
	db  *nodedb.DB
	now func() time.Time
	log *slog.Logger

	mu      sync.Mutex // guards all below
	tracks  map[string]*track
	pending []func(*nodedb.Tx) // further changes for the next write
	afters  []func()           // what is to be done after it
	watch   map[chan struct{}]bool
	alarms  uint64 // of all nodes and of none, since the start
}

// A track is a node's boots, the running one last.
type track struct {
	Boots []*Timeline `json:"boots"`
	Try   int         `json:"try"` // number of the attempt's newest try
	Bad   int         `json:"bad"` // tries since one was brought to its end
	// Asked is when the running try's files with secrets were first fetched.
	Asked  map[string]time.Time `json:"asked,omitempty"`
	Alarms int                  `json:"alarms,omitempty"` // since nodeset

	firmware netboot.Firmware
	httpBoot bool
	expect   *modules        // nil: not known
	loaded   map[string]bool // those of them that were
	script   time.Time       // when the try began
	dirty    bool
}

func newJournal(db *nodedb.DB, now func() time.Time, log *slog.Logger) *journal {
	j := &journal{db: db, now: now, log: log, tracks: map[string]*track{}, watch: map[chan struct{}]bool{}}
	if db == nil {
		return j
	}
	for _, r := range db.Snapshot().Records(kindTimeline) {
		t := &track{}
		if json.Unmarshal([]byte(r.Attrs["timeline.json"]), t) == nil {
			j.tracks[r.Name] = t
		}
	}
	return j
}

// run writes what changed and looks for stalls until ctx is done.
func (j *journal) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return j.flush(last)
		case <-tick.C:
			j.stalls()
			names, pending := j.changed()
			err := j.write(ctx, cut(&names), pending)
			j.runAfters()
			for err == nil && len(names) > 0 {
				err = j.writeSlowly(ctx, cut(&names))
			}
			if err != nil && ctx.Err() == nil {
				j.log.Error("timelines are not written", "err", err)
			}
		}
	}
}

// flushMost is how many nodes are written in one transaction. More would hold up
// who asks for an address meanwhile.
const flushMost = 64

// flush writes the nodes whose steps changed.
func (j *journal) flush(ctx context.Context) error {
	names, pending := j.changed()
	err := j.write(ctx, cut(&names), pending)
	for err == nil && len(names) > 0 {
		err = j.write(ctx, cut(&names), nil)
	}
	return err
}

// changed are the nodes whose steps changed, and what else is to be written.
func (j *journal) changed() (names []string, pending []func(*nodedb.Tx)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for name, t := range j.tracks {
		if t.dirty {
			names = append(names, name)
		}
	}
	pending, j.pending = j.pending, nil
	return names, pending
}

// cut takes the nodes of one transaction off.
func cut(names *[]string) []string {
	some := (*names)[:min(len(*names), flushMost)]
	*names = (*names)[len(some):]
	return some
}

// writeSlowly leaves the processor to others for most of the time: a thousand
// machines that boot at once want answers now, and their timelines can wait.
func (j *journal) writeSlowly(ctx context.Context, names []string) error {
	began := time.Now()
	if err := j.write(ctx, names, nil); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(3*time.Since(began), 10*time.Millisecond)):
		return nil
	}
}

// write writes nodes, and what else is to be changed.
func (j *journal) write(ctx context.Context, names []string, pending []func(*nodedb.Tx)) error {
	if len(names) == 0 && len(pending) == 0 {
		return nil
	}
	texts := make(map[string]string, len(names))
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	j.mu.Lock()
	for _, name := range names {
		t := j.tracks[name]
		if t == nil {
			continue
		}
		t.dirty = false
		text.Reset()
		enc.Encode(t)
		texts[name] = string(bytes.TrimSpace(text.Bytes()))
	}
	j.mu.Unlock()
	return j.db.Update(ctx, func(tx *nodedb.Tx) error {
		for name, text := range texts {
			if _, err := tx.Snapshot().Node(name); err == nil {
				tx.Put(nodedb.Key{Kind: kindTimeline, Name: name}, map[string]string{"timeline.json": text})
			}
		}
		for _, fn := range pending {
			fn(tx)
		}
		return nil
	})
}

// later has fn change the table with the next write.
func (j *journal) later(fn func(*nodedb.Tx)) {
	j.mu.Lock()
	j.pending = append(j.pending, fn)
	j.mu.Unlock()
}

// after has fn run once the next write is done.
func (j *journal) after(fn func()) {
	j.mu.Lock()
	j.afters = append(j.afters, fn)
	j.mu.Unlock()
}

// runAfters runs what waited for a write.
func (j *journal) runAfters() {
	j.mu.Lock()
	afters := j.afters
	j.afters = nil
	j.mu.Unlock()
	for _, fn := range afters {
		fn()
	}
}

// track is the node's, made if need be. The caller holds mu.
func (j *journal) track(node string) *track {
	t := j.tracks[node]
	if t == nil {
		t = &track{}
		j.tracks[node] = t
	}
	return t
}

// current is the running boot, or nil.
func (t *track) current() *Timeline {
	if len(t.Boots) == 0 {
		return nil
	}
	return t.Boots[len(t.Boots)-1]
}

// begin starts a new boot.
func (t *track) begin(now time.Time, mode nodedb.Mode) *Timeline {
	tl := &Timeline{Began: now, Mode: mode}
	t.Boots = append(t.Boots, tl)
	if len(t.Boots) > keepBoots {
		t.Boots = t.Boots[len(t.Boots)-keepBoots:]
	}
	t.expect = nil
	return tl
}

// step adds a step to the node's running boot and tells the watchers. A step
// that says the same as the one before is the same step.
func (j *journal) step(node string, mode nodedb.Mode, name StepName, text string) {
	j.stepBy(netboot.Machine{}, node, mode, name, text)
}

// stepBy adds a step of which the machine is known that took it.
func (j *journal) stepBy(m netboot.Machine, node string, mode nodedb.Mode, name StepName, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.addBy(m, node, mode, name, text)
}

// note adds what was done to a machine from outside. It belongs to the boot
// that follows, so it begins one unless that has only such steps yet.
func (j *journal) note(node string, mode nodedb.Mode, name StepName, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.track(node)
	if tl := t.current(); tl == nil || tl.Over || !tl.onlyNotes() {
		t.begin(j.now(), mode)
	}
	j.add(node, mode, name, text)
}

// Note tells a node's timeline of a power order or a boot device that was set.
func (s *Service) Note(node string, name StepName, text string) {
	if n, err := s.DB.Snapshot().Node(node); err == nil {
		s.journal.note(node, n.Mode, name, text)
	}
}

// after are the steps that still belong to a boot that is over.
var after = map[StepName]bool{StepBooted: true, StepRefused: true, StepHook: true, StepAnswers: true, StepSilent: true}

func (j *journal) add(node string, mode nodedb.Mode, name StepName, text string) {
	j.addBy(netboot.Machine{}, node, mode, name, text)
}

func (j *journal) addBy(m netboot.Machine, node string, mode nodedb.Mode, name StepName, text string) {
	now := j.now()
	t := j.track(node)
	tl := t.current()
	if tl == nil || tl.Over && !after[name] {
		tl = t.begin(now, mode)
	}
	if tl.Mode == nodedb.ModeNone {
		tl.Mode = mode
	}
	if last := tl.Last(); last != nil && last.Name == name && last.Text == text {
		last.At = now
		return
	}
	if name == StepRefused && tl.refusedFor(text) {
		return
	}
	tl.Steps = append(tl.Steps, Step{At: now, Name: name, Text: text})
	if n := len(tl.Steps); n > 200 { // a machine that asks for ever
		tl.Steps = append(tl.Steps[:100:100], tl.Steps[n-50:]...)
	}
	switch name {
	case StepLocalBoot, StepBooted, StepHeld, StepFailed:
		tl.Over = true
	}
	t.dirty = true
	j.nudge()
	j.tell(m, node, name, text)
}

// tell puts a step in the log, with the machine's MAC and address, or else those
// that the table has of the node.
func (j *journal) tell(m netboot.Machine, node string, name StepName, text string) {
	args := append(make([]any, 0, 10), "node", node, "step", string(name), "text", text)
	addr := m.Addr
	if j.db != nil {
		snap := j.db.Snapshot()
		if mac := macOf(snap, node, m); mac != "" {
			args = append(args, "mac", mac)
		}
		if n, err := snap.Node(node); err == nil && (!addr.IsValid() || addr.IsUnspecified()) {
			addr = n.Addr
		}
	}
	if addr.IsValid() {
		args = append(args, "addr", addr)
	}
	j.log.Info("step", args...)
}

// nudge wakes the watchers. The caller holds mu.
func (j *journal) nudge() {
	for c := range j.watch {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// try is the number of the newest try of the node's attempt.
func (j *journal) try(node string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.track(node).Try
}

// bad is how many tries in a row were not brought to their end.
func (j *journal) bad(node string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.track(node).Bad
}

// beginTry counts a try; after is the newest that the table knows of. Firmware
// that asks for the same file twice within seconds began once.
func (j *journal) beginTry(node string, mode nodedb.Mode, after int) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
	t := j.track(node)
	tl := t.current()
	again := tl != nil && tl.Try == t.Try && t.Try > 0 && now.Sub(t.script) < 5*time.Second && !tl.Has(StepBootConfig)
	if again {
		return t.Try
	}
	if tl == nil || tl.Over || tl.Has(StepScript) || tl.Has(StepBootLoader) {
		tl = t.begin(now, mode)
	}
	t.Try = max(t.Try, after) + 1
	t.Bad++
	t.Asked = nil
	t.script = now
	tl.Try, tl.Mode = t.Try, mode
	t.dirty = true
	return t.Try
}

// reached says whether the node's running boot has a step.
func (j *journal) reached(node string, name StepName) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	tl := j.track(node).current()
	return tl != nil && tl.Has(name)
}

// sawTry takes the count from a token that is good and newer than what we
// remember: the daemon was killed before it wrote the count.
func (j *journal) sawTry(node string, try int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if t := j.track(node); t.Try < try {
		t.Try = try
		t.dirty = true
	}
}

// reset forgets the tries: nodeset began a new attempt.
func (j *journal) reset(node string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.track(node)
	t.Try, t.Bad, t.Asked, t.Alarms = 0, 0, nil, 0
	if tl := t.current(); tl != nil && !tl.Over {
		tl.Over = true
	}
	t.dirty = true
	j.nudge()
}

// good says that a try was brought to its end.
func (j *journal) good(node string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.track(node).Bad = 0
	j.track(node).dirty = true
}

// expect says which modules the node's boot loader will fetch now; nil changes
// nothing.
func (j *journal) expect(node string, mods *modules) {
	if mods == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.track(node)
	tl := t.current()
	if tl == nil {
		return
	}
	t.expect, t.loaded = mods, nil
	tl.Load = &Load{Total: len(mods.size), Size: mods.total}
}

// firmware is what the node's machine last said it boots with.
func (j *journal) firmware(node string) netboot.Firmware {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.track(node).firmware
}

// firmwareOf is what the node's machine last said it boots with, and whether by
// HTTP.
func (j *journal) firmwareOf(node string) (netboot.Firmware, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.track(node)
	return t.firmware, t.httpBoot
}

// httpBoot says whether the node's firmware last asked for a URL.
func (j *journal) httpBoot(node string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.track(node).httpBoot
}

// stalls marks the boots that stand still.
func (j *journal) stalls() {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
	for node, t := range j.tracks {
		tl := t.current()
		if tl == nil || tl.Over || tl.Last() == nil || !tl.Mode.Loads() {
			continue
		}
		limit, ok := tl.patience()
		if ok && tl.Last().Name != StepStalled && now.Sub(tl.heard()) > limit {
			j.add(node, tl.Mode, StepStalled, tl.stall(now))
		}
	}
}

// A View is what `margay watch` and the pages show of a node.
type View struct {
	Node   string
	Bad    int // tries in a row that were not brought to their end
	Alarms int // since nodeset: others who asked for what is this node's
	Boots  []Timeline
}

// Views are those of the named nodes.
func (s *Service) Views(nodes []string) []View { return s.journal.views(nodes) }

func (j *journal) views(nodes []string) []View {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []View
	for _, n := range nodes {
		v := View{Node: n}
		if t := j.tracks[n]; t != nil {
			v.Bad, v.Alarms = t.Bad, t.Alarms
			for _, tl := range t.Boots {
				c := *tl
				c.Steps = append([]Step(nil), tl.Steps...)
				if tl.Load != nil {
					l := *tl.Load
					c.Load = &l
				}
				v.Boots = append(v.Boots, c)
			}
		}
		out = append(out, v)
	}
	sort.Slice(out, func(a, b int) bool { return out[a].Node < out[b].Node })
	return out
}

// Subscribe returns a channel that is nudged after any timeline changed. It
// must be given back by cancel.
func (s *Service) Subscribe() (changed <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	j := s.journal
	j.mu.Lock()
	j.watch[c] = true
	j.mu.Unlock()
	return c, func() {
		j.mu.Lock()
		delete(j.watch, c)
		j.mu.Unlock()
	}
}
