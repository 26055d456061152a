package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"margay/nodedb"
)

// What one transaction takes: etcd's default limits are 128 comparisons, 128
// operations and 1.5 MiB. Two of the comparisons are ours.
const (
	maxOps   = 126
	maxBytes = 1 << 20
)

// An op is one key put, or deleted if value is nil.
type op struct {
	key   string
	value []byte
}

func (o op) size() int { return len(o.key) + len(o.value) + 16 }

func (o op) etcd() clientv3.Op {
	if o.value == nil {
		return clientv3.OpDelete(o.key)
	}
	return clientv3.OpPut(o.key, string(o.value))
}

// Commit makes all changes or none. When etcd does not answer, or ctx is done,
// they may or may not have been made.
func (s *Store) Commit(ctx context.Context, changes []nodedb.Change) (int64, error) {
	ops := make([]op, len(changes))
	total := 0
	for i, c := range changes {
		ops[i] = op{key: s.recordKey(c.Key)}
		if c.Attrs != nil {
			ops[i].value = nodedb.AppendAttrs(nil, c.Attrs)
		}
		if ops[i].size() > maxBytes {
			return 0, fmt.Errorf("%s %s: a record of %d bytes is more than etcd takes: %w", c.Kind, c.Name, ops[i].size(), nodedb.ErrInvalid)
		}
		total += ops[i].size()
	}
	if len(ops) > maxOps || total > maxBytes {
		return s.commitBig(ctx, changes, ops)
	}
	return s.commitSmall(ctx, changes, ops)
}

// commitSmall is one transaction. Where it meets a big commit it waits for its
// end.
func (s *Store) commitSmall(ctx context.Context, changes []nodedb.Change, ops []op) (int64, error) {
	cmps := []clientv3.Cmp{absent(s.keys.lock), absent(s.keys.batch)}
	then := make([]clientv3.Op, len(ops))
	for i, o := range ops {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(o.key), "=", changes[i].If))
		then[i] = o.etcd()
	}
	for {
		rev, busy, err := s.try(ctx, cmps, then)
		if err != nil {
			return 0, err
		}
		if rev > 0 {
			return rev, nil
		}
		if !busy {
			return 0, fmt.Errorf("%s %s or another of %d records: %w", changes[0].Kind, changes[0].Name, len(changes), nodedb.ErrConflict)
		}
		if err := s.settle(ctx); err != nil {
			return 0, err
		}
	}
}

// try makes a transaction. rev 0: a comparison failed; busy: because of a big
// commit.
func (s *Store) try(ctx context.Context, cmps []clientv3.Cmp, then []clientv3.Op) (rev int64, busy bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := s.c.Txn(ctx).If(cmps...).Then(then...).
		Else(clientv3.OpGet(s.keys.lock), clientv3.OpGet(s.keys.batch)).Commit()
	if err != nil {
		return 0, false, s.explain(err)
	}
	if r.Succeeded {
		return r.Header.Revision, false, nil
	}
	for _, part := range r.Responses {
		busy = busy || len(part.GetResponseRange().Kvs) > 0
	}
	return 0, busy, nil
}
