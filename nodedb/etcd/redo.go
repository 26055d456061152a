package etcd

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	clientv3 "go.etcd.io/etcd/client/v3"

	"margay/nodedb"
)

// redoBytes is how much of a big commit goes in one key.
const redoBytes = 512 << 10

// writeRedo writes down what a big commit does.
func (h *holder) writeRedo(ctx context.Context, id string, ops []op) error {
	if _, err := h.txn(ctx, clientv3.OpDelete(h.s.keys.redo, clientv3.WithPrefix())); err != nil {
		return err // what others began and never made
	}
	n := 0
	var b []byte
	for i, o := range ops {
		b = appendOp(b, o)
		if len(b) < redoBytes && i < len(ops)-1 {
			continue
		}
		b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
		if _, err := h.txn(ctx, clientv3.OpPut(redoKey(h.s.keys.redo, id, n), string(b))); err != nil {
			return err
		}
		n++
		b = nil
	}
	return nil
}

func redoKey(prefix, id string, n int) string { return fmt.Sprintf("%s%s/%08d", prefix, id, n) }

// appendOp writes key and value with their lengths; a length of 0 stands for
// no value, others are one more than they are.
func appendOp(b []byte, o op) []byte {
	b = binary.AppendUvarint(b, uint64(len(o.key)))
	b = append(b, o.key...)
	if o.value == nil {
		return binary.AppendUvarint(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(o.value))+1)
	return append(b, o.value...)
}

// parseOps reads what one redo key has.
func parseOps(b []byte) ([]op, error) {
	bad := fmt.Errorf("what a big commit left behind is damaged: %w", nodedb.ErrInvalid)
	if len(b) < 4 || crc32.ChecksumIEEE(b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, bad
	}
	b = b[:len(b)-4]
	var ops []op
	take := func(n uint64) []byte {
		part := b[:n]
		b = b[n:]
		return part
	}
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return nil, bad
		}
		b = b[size:]
		o := op{key: string(take(n))}
		n, size = binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size)+1 {
			return nil, bad
		}
		b = b[size:]
		if n > 0 {
			o.value = append([]byte{}, take(n-1)...)
		}
		ops = append(ops, o)
	}
	return ops, nil
}

// recover finishes a big commit that was made by another, who is gone. The
// lock stays ours.
func (h *holder) recover(ctx context.Context) error {
	r, err := h.s.get(ctx, h.s.keys.batch)
	if err != nil || len(r.Kvs) == 0 {
		return err
	}
	id := string(r.Kvs[0].Value)
	var ops []op
	for n := 0; ; n++ {
		r, err := h.s.get(ctx, redoKey(h.s.keys.redo, id, n))
		if err != nil {
			return err
		}
		if len(r.Kvs) == 0 {
			break
		}
		part, err := parseOps(r.Kvs[0].Value)
		if err != nil {
			return fmt.Errorf("%s: %w", h.s.name, err)
		}
		ops = append(ops, part...)
	}
	if err := h.apply(ctx, ops); err != nil {
		return err
	}
	_, err = h.txn(ctx, clientv3.OpDelete(h.s.keys.batch), clientv3.OpDelete(h.s.keys.redo, clientv3.WithPrefix()))
	return err
}
