package nodedb

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A builder makes each snapshot from the one before. It belongs to one
// goroutine. What it costs is what changed: a record, or a group and its
// members.
type builder struct {
	snap *Snapshot            // the newest
	sets map[string]*groupSet // by nodelist.groups, those in use and perhaps some more
	max  int                  // how many sets to keep before looking which are in use
}

// setsMin is how many group sets are always kept.
const setsMin = 1024

func newBuilder() *builder {
	return &builder{
		snap: &Snapshot{
			kinds:   map[Kind]*sorted[*slot]{},
			changed: map[Kind]int64{},
			macs:    newIndex[macKey](),
			addrs:   newIndex[netip.Addr](),
			asked:   new(atomic.Bool),
			env:     &env{exprs: new(exprCache)},
		},
		sets: make(map[string]*groupSet),
		max:  setsMin,
	}
}

// finish gives the new snapshot its lazy values, or those of the one before
// where it shares them.
func (c *change) finish(before *Snapshot) *Snapshot {
	s := &c.next
	s.nodes = new(lazy[[]*Node])
	s.exclude = new(lazy[excluded])
	if s.nets == nil || before.kinds[KindNetwork] != s.kinds[KindNetwork] {
		s.nets = new(lazy[[]*Network])
	}
	if s.groups == nil || c.regrouped {
		s.groups = new(lazy[[]string])
	}
	return s
}

// load makes a snapshot from nothing.
func (b *builder) load(recs []Record, rev int64) *Snapshot {
	*b = *newBuilder()
	slices.SortFunc(recs, func(x, y Record) int {
		if c := strings.Compare(string(x.Kind), string(y.Kind)); c != 0 {
			return c
		}
		return strings.Compare(x.Name, y.Name)
	})
	return b.apply(recs, rev)
}

// apply makes the snapshot in which the records have taken the place of what
// their keys held.
func (b *builder) apply(recs []Record, rev int64) *Snapshot {
	c := &change{b: b, e: new(edit), next: *b.snap, own: make(map[Kind]bool), touched: make(map[string]*slot)}
	c.fresh = c.next.kind(KindNode).len() == 0
	c.next.rev = rev
	c.next.kinds = maps.Clone(b.snap.kinds)
	c.next.changed = maps.Clone(b.snap.changed)
	for _, r := range recs {
		c.next.changed[r.Kind] = rev
	}
	groups := make(map[string]bool) // true: it may change what the indexes have of its members
	hierarchy := false
	for _, r := range recs {
		switch r.Kind {
		case KindNode:
			continue
		case KindGroup:
			old, _ := c.next.slot(r.Key)
			groups[r.Name] = c.isIndexed(old) || c.isIndexed(newSlot(r))
		case KindSite:
			hierarchy = hierarchy || r.Name == "hierarchicalattrs"
		}
		c.put(r)
	}
	if hierarchy {
		c.hierarchy()
	}
	c.regroup(groups)
	for i, n := range c.nodes(recs) {
		if recs[i].Kind == KindNode {
			c.putNode(recs[i], n)
		}
	}
	c.index()
	c.regrouped = c.regrouped || len(groups) > 0
	next := c.finish(b.snap)
	b.snap = next
	b.sweep()
	return next
}

// sweep forgets group sets that no node uses, now and then.
func (b *builder) sweep() {
	if len(b.sets) <= b.max {
		return
	}
	used := make(map[string]*groupSet)
	for _, s := range b.snap.kind(KindNode).all() {
		used[s.rec.Attrs["nodelist.groups"]] = s.set
	}
	b.sets = used
	b.max = max(setsMin, 2*len(used))
}

// A change is one snapshot in the making.
type change struct {
	b       *builder
	e       *edit
	next    Snapshot
	own     map[Kind]bool    // kinds whose tables are this change's own
	touched map[string]*slot // nodes of which the indexes may have to know: what they had before, nil if new
	fresh   bool             // there was no node before: the indexes have to know of all, and touched is empty
	near    finger           // where the last node was put

	regrouped bool // there may be other groups now
}

// table returns the records of a kind, to be changed.
func (c *change) table(k Kind) *sorted[*slot] {
	if !c.own[k] {
		t := sorted[*slot]{}
		if old := c.next.kinds[k]; old != nil {
			t = *old
		}
		c.next.kinds[k], c.own[k] = &t, true
	}
	return c.next.kinds[k]
}

// put stores a record that is no node.
func (c *change) put(r Record) {
	if r.Attrs == nil {
		c.table(r.Kind).remove(c.e, r.Name)
		return
	}
	c.table(r.Kind).put(c.e, r.Name, newSlot(r))
}

// hierarchy reads site.hierarchicalattrs anew, which bears on every node.
func (c *change) hierarchy() {
	e := &env{exprs: c.next.env.exprs}
	for _, column := range splitNames(c.next.Site("hierarchicalattrs")) {
		if e.hierarchical == nil {
			e.hierarchical = make(map[string]bool)
		}
		e.hierarchical[column] = true
	}
	c.next.env = e
	clear(c.b.sets)
	for _, s := range c.next.kind(KindNode).all() {
		c.replace(s, true)
	}
}

// regroup gives the members of groups whose records changed new slots.
func (c *change) regroup(groups map[string]bool) {
	if len(groups) == 0 {
		return
	}
	for text, set := range c.b.sets {
		if slices.ContainsFunc(set.names, func(g string) bool { _, ok := groups[g]; return ok }) {
			delete(c.b.sets, text)
		}
	}
	done := make(map[string]bool) // members, where there are several groups
	for _, indexed := range []bool{true, false} {
		for g, is := range groups {
			names, ok := c.next.members.get(g)
			if !ok || is != indexed {
				continue
			}
			for name := range names.all() {
				if len(groups) > 1 {
					if done[name] {
						continue
					}
					done[name] = true
				}
				if s, ok := c.next.slot(Key{KindNode, name}); ok {
					c.replace(s, indexed)
				}
			}
		}
	}
}

// replace gives a node a new slot for the same record. indexed: the indexes
// may have to know.
func (c *change) replace(s *slot, indexed bool) {
	if _, ok := c.touched[s.rec.Name]; ok {
		return
	}
	if indexed {
		c.touched[s.rec.Name] = s
	}
	c.table(KindNode).put(c.e, s.rec.Name, &slot{rec: s.rec, disabled: s.disabled, changed: s.changed, set: c.setOf(s.rec)})
}

// setOf returns the rows that a node inherits.
func (c *change) setOf(r Record) *groupSet {
	text := r.Attrs["nodelist.groups"]
	set := c.b.sets[text]
	if set == nil {
		set = &groupSet{names: splitGroups(text), env: c.next.env}
		for _, name := range set.names {
			if g, ok := c.next.slot(Key{KindGroup, name}); ok {
				set.rows = append(set.rows, g)
			}
		}
		c.b.sets[text] = set
	}
	return set
}

// splitGroups reads nodelist.groups: each name once.
func splitGroups(s string) []string {
	var list []string
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// A newNode is what of a node's change is worked out apart from all others.
type newNode struct {
	slot        *slot // nil: the node is gone
	statusOnly  bool  // it differs from what it was in its status at most
	sameGroups  bool  // it has the groups that it had
	sameIndexed bool  // the indexes have the same of both records
}

// nodes works out the new slots of the nodes among records, with all
// processors.
func (c *change) nodes(recs []Record) []newNode {
	list := make([]newNode, len(recs))
	was := c.b.snap.kind(KindNode)
	inParts(len(recs), func(from, to int) {
		var near finger
		for i := from; i < to; i++ {
			r := recs[i]
			if r.Kind != KindNode || r.Attrs == nil {
				continue
			}
			n := &list[i]
			n.slot = newSlot(r)
			if ci, i, there := was.findNear(&near, r.Name); there {
				old := was.chunks[ci].items[i].value
				n.statusOnly = sameButStatus(old.rec.Attrs, r.Attrs)
				n.sameGroups = n.statusOnly || old.rec.Attrs["nodelist.groups"] == r.Attrs["nodelist.groups"]
				n.sameIndexed = c.sameIndexed(old, n.slot)
			}
		}
	})
	return list
}

// putNode stores a node's record and its memberships.
func (c *change) putNode(r Record, n newNode) {
	t := c.table(KindNode)
	var old *slot
	ci, i, there := t.findNear(&c.near, r.Name)
	if there {
		old = t.chunks[ci].items[i].value
	}
	s := n.slot
	var before, after []string
	if old != nil {
		before = old.set.names
	}
	if s != nil {
		s.changed = c.next.rev
		if n.statusOnly && old != nil {
			s.changed = old.changed
		}
		if n.sameGroups && old != nil {
			s.set = old.set
		} else {
			s.set = c.setOf(r)
		}
		after = s.set.names
	}
	if !c.fresh && !(n.sameIndexed && old != nil && old.set == s.set) {
		if _, ok := c.touched[r.Name]; !ok {
			c.touched[r.Name] = old
		}
	}
	switch {
	case s == nil:
		t.remove(c.e, r.Name)
	case there:
		t.own(c.e, ci).items[i].value = s
	default:
		t.put(c.e, r.Name, s)
	}
	if old != nil && s != nil && old.set == s.set || slices.Equal(before, after) {
		return
	}
	for _, g := range before {
		if !slices.Contains(after, g) {
			c.leave(g, r.Name)
		}
	}
	for _, g := range after {
		if !slices.Contains(before, g) {
			c.join(g, r.Name)
		}
	}
}

// sameIndexed says that the indexes have the same of two slots of a node, if
// both inherit the same.
func (c *change) sameIndexed(old, now *slot) bool {
	return !old.disabled && !now.disabled &&
		old.rec.Attrs["mac.mac"] == now.rec.Attrs["mac.mac"] && old.rec.Attrs["hosts.ip"] == now.rec.Attrs["hosts.ip"] &&
		(!c.next.byBMC || old.rec.Attrs["ipmi.bmc"] == now.rec.Attrs["ipmi.bmc"] && old.rec.Attrs["openbmc.bmc"] == now.rec.Attrs["openbmc.bmc"])
}

// join makes a node a member of a group.
func (c *change) join(group, node string) {
	c.memberSet(group).put(c.e, node, struct{}{})
}

// leave takes a node out of a group; a group without members is none.
func (c *change) leave(group, node string) {
	set := c.memberSet(group)
	set.remove(c.e, node)
	if set.len() == 0 {
		c.next.members.remove(c.e, group)
		c.regrouped = true
	}
}

// memberSet returns the members of a group, to be changed.
func (c *change) memberSet(group string) *sorted[struct{}] {
	set, ok := c.next.members.get(group)
	if ok && set.owner == c.e {
		return set
	}
	own := &sorted[struct{}]{}
	if ok {
		*own = *set
	}
	c.regrouped = c.regrouped || !ok
	c.next.members.put(c.e, group, own)
	return own
}

// index brings the indexes up to date for the nodes that have another slot.
func (c *change) index() {
	if c.next.byBMC {
		c.indexEach(c.indexBMC)
	}
	c.makeBMCs()
	if !c.fresh && len(c.touched) < indexApart {
		c.indexEach(func(name string, old, now *slot) {
			c.indexMAC(name, old, now)
			c.indexAddr(name, old, now)
		})
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.indexEach(c.indexMAC) })
	c.indexEach(c.indexAddr)
	wg.Wait()
}

// indexApart is of how many nodes on the indexes are brought up to date by two
// goroutines.
const indexApart = 1000

// indexEach calls fn for each node of which the indexes have to know.
func (c *change) indexEach(fn func(name string, old, now *slot)) {
	if c.fresh {
		for name, now := range c.next.kind(KindNode).all() {
			fn(name, nil, now)
		}
		return
	}
	for name, old := range c.touched {
		now, _ := c.next.slot(Key{KindNode, name})
		fn(name, old, now)
	}
}

func (c *change) indexMAC(name string, old, now *slot) {
	before, after := old.indexed("mac.mac"), now.indexed("mac.mac")
	if before == after {
		return
	}
	gone, _ := ParseMACs(before)
	come, _ := ParseMACs(after)
	for _, m := range gone {
		c.next.macs.remove(c.e, keyOf(m.Addr), name)
	}
	for _, m := range come {
		c.next.macs.add(c.e, keyOf(m.Addr), name)
	}
}

func (c *change) indexAddr(name string, old, now *slot) {
	before, after := old.indexed("hosts.ip"), now.indexed("hosts.ip")
	if before == after {
		return
	}
	if a, _ := parseAddr(before); a.IsValid() {
		c.next.addrs.remove(c.e, a, name)
	}
	if a, _ := parseAddr(after); a.IsValid() {
		c.next.addrs.add(c.e, a, name)
	}
}

// isIndexed says whether a group's record bears on what the indexes have of
// its members.
func (c *change) isIndexed(s *slot) bool {
	if s == nil {
		return false
	}
	has := func(column string) bool { return s.rec.Attrs[column] != "" }
	if c.next.byBMC && slices.ContainsFunc(bmcColumns, has) {
		return true
	}
	return slices.ContainsFunc(indexedColumns, has)
}

// Columns of which there are indexes.
var (
	indexedColumns = []string{"mac.mac", "hosts.ip", "mac.disable", "hosts.disable"}
	bmcColumns     = []string{"ipmi.bmc", "openbmc.bmc", "ipmi.disable", "openbmc.disable"}
)

// indexed returns the value of a node's column as the indexes have it.
func (s *slot) indexed(column string) string {
	if s == nil || s.off() {
		return ""
	}
	v, _ := s.value(column)
	return v
}
