package bmc

import (
	"context"
	"fmt"
	"sync"

	"margay/nodedb"
)

// Pins keeps the certificates that controllers showed when they were first
// spoken to. Its keeper is the table; tests keep them in memory.
type Pins interface {
	// Pin returns the fingerprint kept for a node's controller, "" if none.
	Pin(ctx context.Context, node string) (string, error)
	// SetPin keeps a fingerprint; an empty one forgets.
	SetPin(ctx context.Context, node, fingerprint string) error
}

// MemoryPins are pins that are forgotten with the process.
type MemoryPins struct {
	mu   sync.Mutex // guards pins
	pins map[string]string
}

// Pin returns the fingerprint kept for a node's controller, "" if none.
func (m *MemoryPins) Pin(_ context.Context, node string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pins[node], nil
}

// SetPin keeps a fingerprint.
func (m *MemoryPins) SetPin(_ context.Context, node, fingerprint string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pins == nil {
		m.pins = map[string]string{}
	}
	m.pins[node] = fingerprint
	return nil
}

// KindPin is where TablePins keeps fingerprints: ours alone, one record a node.
const KindPin nodedb.Kind = "margay.bmc"

// ColumnPin is the column of a KindPin record that has the fingerprint.
const ColumnPin = "margay.bmc.certificate"

// TablePins are pins in the table.
type TablePins struct{ DB *nodedb.DB }

// Pin returns the fingerprint kept for a node's controller, "" if none.
func (p TablePins) Pin(_ context.Context, node string) (string, error) {
	r, _ := p.DB.Snapshot().Record(nodedb.Key{Kind: KindPin, Name: node})
	return r.Attrs[ColumnPin], nil
}

// SetPin keeps a fingerprint; an empty one forgets.
func (p TablePins) SetPin(ctx context.Context, node, fingerprint string) error {
	return p.DB.Update(ctx, func(tx *nodedb.Tx) error {
		k := nodedb.Key{Kind: KindPin, Name: node}
		if fingerprint == "" {
			tx.Delete(k)
			return nil
		}
		tx.Set(k, ColumnPin, fingerprint)
		return nil
	})
}

// CheckPin compares what a controller shows with what was kept, and keeps it
// if nothing was. The error wraps ErrPin.
func CheckPin(ctx context.Context, p Pins, node, shown string) error {
	kept, err := p.Pin(ctx, node)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", node, err)
	}
	if kept == "" {
		return p.SetPin(ctx, node, shown)
	}
	if kept != shown {
		return fmt.Errorf("the BMC shows certificate %s, pinned is %s; if the change is yours, forget the pin: rspconfig %s sslpin=none: %w", short(shown), short(kept), node, ErrPin)
	}
	return nil
}

// short is a fingerprint as a person compares it.
func short(s string) string {
	if len(s) > 23 {
		return s[:23] + "..."
	}
	return s
}
