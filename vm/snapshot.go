package vm

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"margay/nodedb"
)

// A Snapshot is a guest as it was once.
type Snapshot struct {
	ID          int    // unique among those of one guest
	Ref         string // the API's name for it; empty over SSH
	Name        string
	Description string
	Created     time.Time
	State       nodedb.PowerState // what reverting makes of the guest
	Quiesced    bool
	Current     bool // what the guest is grows from it
	Depth       int  // how many it grew from itself
}

// A SnapshotSpec is a snapshot to take.
type SnapshotSpec struct {
	Name        string
	Description string
	Memory      bool // with the memory of a guest that runs
	Quiesce     bool // VMware Tools stills the file systems first
}

// A Snapshotter takes guests' snapshots and goes back to them.
type Snapshotter interface {
	// Snapshots are those of guests, by the guest's ID: each parent before
	// what grew from it.
	Snapshots(ctx context.Context, vms []VM) (map[string][]Snapshot, error)
	TakeSnapshot(ctx context.Context, v VM, s SnapshotSpec, progress Progress) error
	RevertSnapshot(ctx context.Context, v VM, s Snapshot, progress Progress) error
	// DropSnapshot forgets a snapshot and keeps what the guest is; with
	// children, all that grew from it is forgotten too.
	DropSnapshot(ctx context.Context, v VM, s Snapshot, children bool, progress Progress) error
}

// A SnapshotWord is what is done with snapshots.
type SnapshotWord string

// The words.
const (
	SnapshotTake   SnapshotWord = "take"
	SnapshotList   SnapshotWord = "ls"
	SnapshotRevert SnapshotWord = "revert"
	SnapshotRemove SnapshotWord = "rm"
)

// A SnapshotRequest is one "snapshot", as it was typed.
type SnapshotRequest struct {
	Word SnapshotWord
	SnapshotSpec
	Children bool // rm: all that grew from it too
	All      bool // rm: every one
	DryRun   bool
}

// maxSnapshotName is what vCenter's own client takes.
const maxSnapshotName = 80

func (r SnapshotRequest) check() error {
	switch {
	case r.Word == SnapshotTake && r.Name == "", r.Word == SnapshotRemove && r.Name == "" && !r.All:
		return Errorf(ErrInvalid, "the snapshot's name is wanted")
	case r.All && r.Name != "":
		return Errorf(ErrInvalid, "either a snapshot's name or --all")
	case len(r.Name) > maxSnapshotName:
		return Errorf(ErrInvalid, "a snapshot's name has no more than %d characters", maxSnapshotName)
	case r.Word == SnapshotTake && strings.HasPrefix(r.Name, "#"):
		return Errorf(ErrInvalid, "snapshot %q: #NUMBER is how one is named by its number; choose another name", r.Name)
	case strings.ContainsFunc(r.Name+r.Description, unicode.IsControl):
		return Errorf(ErrInvalid, "a snapshot's name and description are one line each")
	}
	return nil
}

// Snapshots does "snapshot": it takes, lists, goes back to or forgets
// snapshots of guests.
func (m *Manager) Snapshots(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, req SnapshotRequest, emit Emit) {
	if err := req.check(); err != nil {
		for _, n := range nodes {
			emit(Result{Node: n.Name, Err: err})
		}
		return
	}
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		s := &snapshots{hv: hv, req: req, emit: emit}
		var ok bool
		if s.by, ok = as[Snapshotter](hv); !ok {
			fail(guests, emit, ErrUnsupported)
			return
		}
		s.run(ctx, guests)
	})
}

// A snapshots is one request on one endpoint.
type snapshots struct {
	hv   Hypervisor
	by   Snapshotter
	req  SnapshotRequest
	emit Emit
	all  []VM // for rm: every guest, to find those that are linked
}

// maxSnapshots is how many guests of an endpoint are worked on at a time:
// each is a heavy load on its datastore.
const maxSnapshots = 4

func (s *snapshots) run(ctx context.Context, guests []*Guest) {
	guests, found := look(ctx, s.hv, guests, Query{Detail: s.req.Word == SnapshotRemove}, s.emit)
	var vms []VM
	for _, g := range guests {
		if v, ok := found[g.Name]; ok {
			vms = append(vms, v)
		} else {
			s.emit(Result{Node: g.Name, Err: Errorf(ErrNotFound, "VM does not appear to exist")})
		}
	}
	if len(vms) == 0 {
		return
	}
	have, err := s.by.Snapshots(ctx, vms)
	if err == nil && s.req.Word == SnapshotRemove {
		s.all, err = s.hv.VMs(ctx, Query{Detail: true})
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, workers(guests, maxSnapshots))
	for _, g := range guests {
		v, ok := found[g.Name]
		if !ok {
			continue
		}
		if err != nil {
			s.emit(Result{Node: g.Name, Err: err})
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := s.one(ctx, g, v, have[v.ID]); err != nil {
				s.emit(Result{Node: g.Name, Err: err})
			}
		})
	}
	wg.Wait()
}

func (s *snapshots) one(ctx context.Context, g *Guest, v VM, have []Snapshot) error {
	switch s.req.Word {
	case SnapshotTake:
		return s.take(ctx, g, v, have)
	case SnapshotRevert:
		return s.revert(ctx, g, v, have)
	case SnapshotRemove:
		return s.remove(ctx, g, v, have)
	}
	for _, h := range have {
		s.emit(Result{Node: g.Name, Text: h.String()})
	}
	return nil
}

// String is a snapshot as "snapshot ls" prints it.
func (h Snapshot) String() string {
	out := strings.Repeat("  ", h.Depth) + h.Name + ": #" + strconv.Itoa(h.ID)
	if !h.Created.IsZero() {
		out += ", " + h.Created.Local().Format(time.DateTime)
	}
	out += ", " + string(h.State)
	if h.Quiesced {
		out += ", quiesced"
	}
	if h.Current {
		out += ", current"
	}
	if h.Description != "" {
		out += ", " + strconv.Quote(h.Description)
	}
	return out
}

func (s *snapshots) take(ctx context.Context, g *Guest, v VM, have []Snapshot) error {
	switch {
	case v.Template:
		return Errorf(ErrUnsupported, "it is a template")
	case slices.ContainsFunc(have, func(h Snapshot) bool { return h.Name == s.req.Name }):
		return Errorf(ErrExists, "it has a snapshot %s already", s.req.Name)
	case s.req.Memory && v.State != nodedb.PowerOn:
		return Errorf(ErrPowerState, "memory is kept of guests that run, and it is %s", v.State)
	case s.req.Quiesce && v.State == nodedb.PowerOn && !v.Tools:
		return Errorf(ErrTools, "%v, which --quiesce needs", ErrTools)
	}
	if s.req.DryRun {
		s.emit(Result{Node: g.Name, Text: "would take snapshot " + s.req.Name})
		return nil
	}
	if err := s.by.TakeSnapshot(ctx, v, s.req.SnapshotSpec, progress(s.emit, g.Name)); err != nil {
		return err
	}
	s.emit(Result{Node: g.Name, Text: "snapshot " + s.req.Name + " taken"})
	return nil
}

// find finds a snapshot by its name, or by "#" and its number.
func (s *snapshots) find(have []Snapshot, name string) (Snapshot, error) {
	var hits []Snapshot
	for _, h := range have {
		if h.Name == name || "#"+strconv.Itoa(h.ID) == name || name == "" && h.Current {
			hits = append(hits, h)
		}
	}
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) > 1:
		return Snapshot{}, Errorf(ErrInvalid, "%d snapshots are called %s; name one as #NUMBER, see margay snapshot ls", len(hits), name)
	case len(have) == 0:
		return Snapshot{}, Errorf(ErrNotFound, "it has no snapshot")
	case name == "":
		return Snapshot{}, Errorf(ErrNotFound, "it grows from no snapshot; name one")
	}
	return Snapshot{}, Errorf(ErrNotFound, "it has no snapshot %s", name)
}

func (s *snapshots) revert(ctx context.Context, g *Guest, v VM, have []Snapshot) error {
	h, err := s.find(have, s.req.Name)
	if err != nil {
		return err
	}
	if s.req.DryRun {
		s.emit(Result{Node: g.Name, Text: "would revert to " + h.Name + " and be " + string(h.State)})
		return nil
	}
	if err := s.by.RevertSnapshot(ctx, v, h, progress(s.emit, g.Name)); err != nil {
		return err
	}
	s.emit(Result{Node: g.Name, Text: "reverted to " + h.Name + ", " + string(h.State)})
	return nil
}

func (s *snapshots) remove(ctx context.Context, g *Guest, v VM, have []Snapshot) error {
	var gone []Snapshot
	children := s.req.Children
	if s.req.All {
		children = true
		for _, h := range have {
			if h.Depth == 0 {
				gone = append(gone, h)
			}
		}
	} else {
		h, err := s.find(have, s.req.Name)
		if err != nil {
			return err
		}
		gone = append(gone, h)
	}
	if others := linked(v, s.all); len(others) > 0 && len(gone) > 0 {
		return Errorf(ErrExists, "%s grow from its disks as a snapshot keeps them; remove those first, or make them whole with clonevm -d", strings.Join(others, ", "))
	}
	for _, h := range gone {
		if s.req.DryRun {
			s.emit(Result{Node: g.Name, Text: "would remove snapshot " + h.Name})
			continue
		}
		if err := s.by.DropSnapshot(ctx, v, h, children, progress(s.emit, g.Name)); err != nil {
			return err
		}
		s.emit(Result{Node: g.Name, Text: "snapshot " + h.Name + " removed"})
	}
	return nil
}

// linked are the guests whose disks hold only what differs from a guest's.
func linked(v VM, all []VM) []string {
	if v.Spec == nil {
		return nil
	}
	var out []string
	for _, d := range v.Spec.Disks {
		bases := []Path{d.Path}
		if d.Parent != nil && d.Parent.Within(v.Path.Dir()) {
			bases = append(bases, *d.Parent) // what the snapshot keeps
		}
		for _, p := range bases {
			_, children := users(p, v, all)
			for _, c := range children {
				if !slices.Contains(out, c) {
					out = append(out, c)
				}
			}
		}
	}
	return out
}
