package etcd

import (
	"context"
	"errors"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"margay/nodedb"
)

// Watch calls fn for every commit after the given revision, and once without
// records when it has begun to follow. When etcd has lost its leader, or is
// away, it ends with an error; when it has forgotten the revision, with
// ErrCompact.
func (s *Store) Watch(ctx context.Context, after int64, fn func([]nodedb.Record, int64)) error {
	caller := ctx
	ctx, cancel := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errClosed) })()
	go s.listen(ctx, cancel)
	w := &watcher{s: s, ctx: ctx, fn: fn}
	prefix := strings.TrimSuffix(s.keys.batch, "batch")
	for r := range s.c.Watch(ctx, prefix+"b", clientv3.WithRange(prefix+"s"), clientv3.WithRev(after+1), clientv3.WithCreatedNotify()) {
		if ctx.Err() != nil {
			break
		}
		if err := r.Err(); err != nil {
			return s.explain(err)
		}
		if r.Created {
			fn(nil, after)
		}
		if err := w.response(r.Events); err != nil {
			return err
		}
	}
	if caller.Err() != nil {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return s.explain(errors.New("the watch was closed"))
}

var errClosed = errors.New("the table is closed")

// listenEvery is how often a watch makes sure that etcd is there.
const listenEvery = 5 * time.Second

// listen ends a watch when etcd is away. The client's own watch would wait for
// it without a word.
func (s *Store) listen(ctx context.Context, end context.CancelCauseFunc) {
	tick := time.NewTicker(listenEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		call, cancel := context.WithTimeout(ctx, listenEvery)
		_, err := s.c.Get(call, s.keys.format)
		cancel()
		if err != nil {
			end(s.explain(err))
			return
		}
	}
}

// A watcher makes commits of events.
type watcher struct {
	s       *Store
	ctx     context.Context
	fn      func([]nodedb.Record, int64)
	decoder nodedb.AttrDecoder

	rev     int64 // of recs
	recs    []nodedb.Record
	batched bool // a big commit is being applied: recs are held back
}

// response takes the events of one or several whole revisions.
func (w *watcher) response(events []*clientv3.Event) error {
	for i, e := range events {
		w.rev = e.Kv.ModRevision
		if err := w.event(e); err != nil {
			return err
		}
		if last := i == len(events)-1 || events[i+1].Kv.ModRevision != w.rev; last && !w.batched {
			w.tell()
		}
	}
	return nil
}

func (w *watcher) event(e *clientv3.Event) error {
	gone := e.Type == clientv3.EventTypeDelete
	switch key := string(e.Kv.Key); {
	case key == w.s.keys.batch:
		w.batched = !gone
	case key == w.s.keys.lock:
		if gone && w.batched { // whoever makes that commit is gone
			go w.s.settle(w.ctx)
		}
	case strings.HasPrefix(key, w.s.keys.records):
		return w.record(e, gone)
	}
	return nil
}

func (w *watcher) record(e *clientv3.Event, gone bool) error {
	if gone {
		kind, name, _ := strings.Cut(string(e.Kv.Key[len(w.s.keys.records):]), "\x00")
		w.recs = append(w.recs, nodedb.Record{Key: nodedb.Key{Kind: nodedb.Kind(kind), Name: name}, Rev: e.Kv.ModRevision})
		return nil
	}
	r, err := w.s.decode(&w.decoder, e.Kv)
	if err == nil {
		w.recs = append(w.recs, r)
	}
	return err
}

// tell passes on what has come, each record once.
func (w *watcher) tell() {
	if len(w.recs) == 0 {
		return
	}
	last := make(map[nodedb.Key]int, len(w.recs))
	for i, r := range w.recs {
		last[r.Key] = i
	}
	recs := w.recs[:0]
	for i, r := range w.recs {
		if last[r.Key] == i {
			recs = append(recs, r)
		}
	}
	w.recs = nil
	w.fn(recs, w.rev)
}
