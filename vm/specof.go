package vm

import (
	"context"

	"margay/nodedb"
)

// SpecOf is what a guest on its host is.
func (m *Manager) SpecOf(ctx context.Context, snap *nodedb.Snapshot, node *nodedb.Node) (*Spec, error) {
	_, _, v, err := m.one(ctx, snap, node)
	if err != nil {
		return nil, err
	}
	if v.Spec == nil {
		return nil, Errorf(ErrInvalid, "VM is in an invalid state")
	}
	return v.Spec, nil
}
