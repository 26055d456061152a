package nodedb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Past is one entry of the history: what one commit of a command changed.
type Past struct {
	Cause
	ID     string // sorts by time
	At     time.Time
	Count  int      // of records
	Tables []string // that it touched
	Undone bool     // it was taken back

	snap *Snapshot
	rec  Record
}

// History returns the history, the oldest entry first. What the entries
// changed is read only when asked for.
func (s *Snapshot) History() []*Past {
	var list []*Past
	for _, r := range s.Records(KindHistory) {
		list = append(list, s.past(r))
	}
	return list
}

func (s *Snapshot) past(r Record) *Past {
	p := &Past{ID: r.Name, snap: s, rec: r, Undone: r.Attrs["history.undone"] != ""}
	p.Run, p.User, p.From = r.Attrs["history.run"], r.Attrs["history.user"], r.Attrs["history.from"]
	p.Command, p.Undoes = r.Attrs["history.command"], r.Attrs["history.undoes"]
	p.At, _ = time.Parse(time.RFC3339Nano, r.Attrs["history.at"])
	p.Count, _ = strconv.Atoi(r.Attrs["history.count"])
	p.Tables = splitList(r.Attrs["history.tables"], ",")
	return p
}

// Diffs returns what the entry changed, our private records too.
func (p *Past) Diffs() ([]Diff, error) {
	var body strings.Builder
	body.WriteString(p.rec.Attrs["history.delta"] + p.rec.Attrs[HistorySealed])
	parts, _ := strconv.Atoi(p.rec.Attrs["history.parts"])
	for i := 1; i <= parts; i++ {
		r, ok := p.snap.Record(partKey(p.ID, i))
		if !ok {
			return nil, fmt.Errorf("history entry %s: part %d is missing: %w", p.ID, i, ErrNotFound)
		}
		body.WriteString(r.Attrs["history.delta"] + r.Attrs[HistorySealed])
	}
	return unpack(body.String())
}

// Size is about how many bytes the entry takes.
func (p *Past) Size() int { return pastSize(p.rec) }

func pastSize(r Record) int {
	n := 200
	for _, v := range r.Attrs {
		n += len(v)
	}
	return n + pastParts(r)*partSize
}

// pastParts is in how many parts an entry goes on.
func pastParts(r Record) int {
	text := r.Attrs["history.parts"]
	if text == "" {
		return 0
	}
	n, _ := strconv.Atoi(text)
	return n
}

// Takeable returns the run that an undo would take back: the newest that was
// not taken back and is no undo itself, of those that touched the table if one
// is named. It is empty if there is none.
func (s *Snapshot) Takeable(table string) string {
	list := s.History()
	for _, p := range slices.Backward(list) {
		if p.Undone || p.Undoes != "" || table != "" && !slices.Contains(p.Tables, table) {
			continue
		}
		return p.Run
	}
	return ""
}

// A ChangedError says what stands in the way of taking a change back.
type ChangedError struct {
	Key
	Column string // empty: the record as such
}

func (e *ChangedError) Error() string {
	name := strings.ReplaceAll(e.Name, KeySep, " ")
	if e.Column == "" {
		return fmt.Sprintf("%s %s was changed since", e.Kind, name)
	}
	return fmt.Sprintf("%s %s: %s was changed since", e.Kind, name, e.Column)
}

// Unwrap makes it an ErrInvalid: trying again does not help.
func (e *ChangedError) Unwrap() error { return ErrInvalid }

// Undo takes back all that a run changed, or returns an error: a *ChangedError
// if any of it does not stand any more. The caller gives the Update a Cause
// that says so in Undoes.
func (tx *Tx) Undo(run string) error {
	found := false
	for _, p := range slices.Backward(tx.snap.History()) {
		if p.Run != run {
			continue
		}
		found = true
		if p.Undone {
			return fmt.Errorf("change %s was taken back already: %w", run, ErrInvalid)
		}
		if err := tx.undo(p); err != nil {
			return err
		}
		tx.Set(p.rec.Key, "history.undone", "1")
		if p.Undoes != "" {
			tx.redone(p.Undoes)
		}
	}
	if !found {
		return fmt.Errorf("change %s: not in the history, which keeps the newest only: %w", run, ErrNotFound)
	}
	return nil
}

func (tx *Tx) undo(p *Past) error {
	diffs, err := p.Diffs()
	if err != nil {
		return err
	}
	for _, d := range diffs {
		now, there := tx.Get(d.Key)
		if column, ok := d.stands(now.Attrs, there); !ok {
			return &ChangedError{d.Key, column}
		}
		attrs := d.back(now.Attrs)
		if attrs == nil {
			tx.Delete(d.Key)
			continue
		}
		tx.Put(d.Key, attrs)
	}
	return nil
}

// redone notes that a run stands again, whose undo was taken back.
func (tx *Tx) redone(run string) {
	for _, p := range tx.snap.History() {
		if p.Run == run {
			tx.Set(p.rec.Key, "history.undone", "")
		}
	}
}

// PruneHistory removes the oldest entries beyond count, or beyond size bytes
// in all. The newest stays in any case.
func (tx *Tx) PruneHistory(count, size int) {
	kept, total := 0, 0
	for _, r := range slices.Backward(tx.snap.Records(KindHistory)) {
		if kept++; kept <= count {
			total += pastSize(r)
		}
		if kept == 1 || kept <= count && total <= size {
			continue
		}
		tx.Delete(r.Key)
		for i := range pastParts(r) {
			tx.Delete(partKey(r.Name, i+1))
		}
	}
}
