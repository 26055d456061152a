package nodedb

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Cause says who changes the table and by what words. An Update whose
// context carries one leaves an entry in the history, in the same commit.
type Cause struct {
	Run     string // the same for all changes of one command
	User    string
	From    string
	Command string // as it was typed, without secrets
	Undoes  string // the run that it takes back
}

type causeKey struct{}

// WithCause returns a context whose updates are entered in the history.
func WithCause(ctx context.Context, c Cause) context.Context {
	return context.WithValue(ctx, causeKey{}, c)
}

// The history is kept in records of these kinds. What was changed is packed;
// where that is too long for one value of a store, it goes on in parts.
const (
	KindHistory     Kind = "margay.history"
	KindHistoryPart Kind = "margay.history.part"
)

// HistorySealed is the column of a history entry that may hold secrets.
const HistorySealed = "history.sealed"

// unrecorded are logs, whose changes nobody would take back.
var unrecorded = []Kind{KindHistory, KindHistoryPart, "margay.timeline", "auditlog", "eventlog"}

// partSize bounds one value, as stores over a network bound a request.
const partSize = 256 << 10

// A packed is what was changed of records in the same way.
type packed struct {
	Kind  Kind                 `json:"k"`
	Names []string             `json:"n"`
	Made  bool                 `json:"m,omitempty"`
	Gone  bool                 `json:"g,omitempty"`
	Set   map[string][2]string `json:"s,omitempty"`
}

// entry returns the changes that enter changes into the history: none if ctx
// names no cause.
func entry(ctx context.Context, snap *Snapshot, changes []Change) []Change {
	cause, ok := ctx.Value(causeKey{}).(Cause)
	if !ok {
		return nil
	}
	var p packer
	for _, c := range changes {
		if !slices.Contains(unrecorded, c.Kind) {
			before, there := snap.Record(c.Key)
			var d Diff
			if c.Touched != nil {
				d = diffOf(c.Key, before.Attrs, c.Attrs, c.Touched)
			} else {
				d = diff(c.Key, before.Attrs, c.Attrs)
			}
			d.Made = !there
			p.add(d)
		}
	}
	if p.count == 0 {
		return nil
	}
	return p.changes(cause, time.Now())
}

// A packer gathers diffs, those that are alike together.
type packer struct {
	list   []*packed
	alike  map[string]*packed
	tables map[string]bool
	secret bool
	count  int
	key    []byte // reused
}

func (p *packer) add(d Diff) {
	if p.alike == nil {
		p.alike, p.tables = make(map[string]*packed), make(map[string]bool)
	}
	p.count++
	key := append(p.key[:0], d.Kind...)
	if d.Made {
		key = append(key, " made"...)
	}
	if d.Gone {
		key = append(key, " gone"...)
	}
	for _, c := range d.Columns {
		for _, text := range [...]string{c.Column, c.Old, c.New} {
			key = append(append(key, 0), text...)
		}
		if table, _, _ := strings.Cut(c.Column, "."); !d.Kind.Private() {
			p.tables[table] = true
		}
		p.secret = p.secret || d.Key.IsSecret(c.Column) || d.Kind.Private()
	}
	p.key = key
	same := p.alike[string(key)]
	if same == nil {
		same = &packed{Kind: d.Kind, Made: d.Made, Gone: d.Gone, Set: make(map[string][2]string, len(d.Columns))}
		for _, c := range d.Columns {
			same.Set[c.Column] = [2]string{c.Old, c.New}
		}
		p.alike[string(key)] = same
		p.list = append(p.list, same)
	}
	same.Names = append(same.Names, d.Name)
}

func (p *packer) changes(cause Cause, now time.Time) []Change {
	body := pack(p.list)
	column := "history.delta"
	if p.secret {
		column = HistorySealed
	}
	name := fmt.Sprintf("%019d.%s", now.UnixNano(), cause.Run)
	attrs := map[string]string{
		"history.run":     cause.Run,
		"history.at":      now.UTC().Format(time.RFC3339Nano),
		"history.user":    cause.User,
		"history.from":    cause.From,
		"history.command": cause.Command,
		"history.count":   strconv.Itoa(p.count),
		"history.tables":  strings.Join(sortedKeys(p.tables), ","),
	}
	if cause.Undoes != "" {
		attrs["history.undoes"] = cause.Undoes
	}
	attrs[column] = body[:min(len(body), partSize)]
	list := []Change{{Key: Key{KindHistory, name}, Attrs: attrs}}
	for i := 1; i*partSize < len(body); i++ {
		part := body[i*partSize : min(len(body), (i+1)*partSize)]
		list = append(list, Change{Key: partKey(name, i), Attrs: map[string]string{column: part}})
		attrs["history.parts"] = strconv.Itoa(i)
	}
	return list
}

func partKey(name string, i int) Key {
	return Key{KindHistoryPart, fmt.Sprintf("%s.%06d", name, i)}
}

func sortedKeys(set map[string]bool) []string {
	var list []string
	for k := range set {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// How a packed text begins: what follows is JSON (RFC 8259), as it is or
// compressed by DEFLATE (RFC 1951).
const (
	packedPlain   = 'j'
	packedDeflate = 'z'
)

// packPlain is the size up to which a compressor costs more than it saves.
const packPlain = 2 << 10

// pack makes a text of diffs.
func pack(list []*packed) string {
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // nothing here can fail
	}
	if len(text) <= packPlain {
		return string(packedPlain) + string(text)
	}
	var b bytes.Buffer
	b.WriteByte(packedDeflate)
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is one
	}
	w.Write(text) // into memory
	w.Close()
	return b.String()
}

func unpack(body string) ([]Diff, error) {
	var list []packed
	var r io.Reader = strings.NewReader(strings.TrimPrefix(body, string(packedPlain)))
	if rest, ok := strings.CutPrefix(body, string(packedDeflate)); ok {
		r = flate.NewReader(strings.NewReader(rest))
	}
	if err := json.NewDecoder(r).Decode(&list); err != nil {
		return nil, fmt.Errorf("history entry is damaged: %v: %w", err, ErrInvalid)
	}
	var diffs []Diff
	for _, p := range list {
		var columns []ColumnDiff
		for column, v := range p.Set {
			columns = append(columns, ColumnDiff{column, v[0], v[1]})
		}
		slices.SortFunc(columns, func(a, b ColumnDiff) int { return strings.Compare(a.Column, b.Column) })
		for _, name := range p.Names {
			diffs = append(diffs, Diff{Key{p.Kind, name}, p.Made, p.Gone, columns})
		}
	}
	return diffs, nil
}

// CauseUndoing returns a context whose updates take a run back.
func CauseUndoing(ctx context.Context, run string) context.Context {
	c, _ := ctx.Value(causeKey{}).(Cause)
	c.Undoes = run
	return WithCause(ctx, c)
}
