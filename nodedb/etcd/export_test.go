package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"margay/nodedb"
)

// A Dying is a big commit whose maker stops at some point.
type Dying struct {
	h   *holder
	id  string
	ops []op
}

// Begin takes the lock and writes down a big commit.
func Begin(ctx context.Context, s *Store, changes []nodedb.Change) (*Dying, error) {
	h, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	d := &Dying{h: h, id: "dying"}
	for _, c := range changes {
		o := op{key: s.recordKey(c.Key)}
		if c.Attrs != nil {
			o.value = nodedb.AppendAttrs(nil, c.Attrs)
		}
		d.ops = append(d.ops, o)
	}
	return d, h.writeRedo(ctx, d.id, d.ops)
}

// Make puts the batch key: the commit is made.
func (d *Dying) Make(ctx context.Context) error {
	_, err := d.h.txn(ctx, clientv3.OpPut(d.h.s.keys.batch, d.id))
	return err
}

// Apply does the first n things of it.
func (d *Dying) Apply(ctx context.Context, n int) error { return d.h.apply(ctx, d.ops[:n]) }

// Die has the lock run out.
func (d *Dying) Die() { d.h.release() }

// ErrFenced is what a maker gets that was taken for dead.
var ErrFenced = errFenced
