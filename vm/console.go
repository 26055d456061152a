package vm

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"margay/nodedb"
)

// A Ticket lets whoever holds it see a guest's screen and type, once, for a
// short time. It is for the one who asked and nobody else: it is not logged.
type Ticket struct {
	URL        string // wss://host:port/ticket/...
	Thumbprint string // SHA-1 of the certificate that the host shows there
}

// A Consoler gives out guests' screens.
type Consoler interface {
	// Ticket is a way to a guest's screen, for one who asks now.
	Ticket(ctx context.Context, v VM) (Ticket, error)
	// Screenshot is what a guest's screen shows, as PNG.
	Screenshot(ctx context.Context, v VM) ([]byte, error)
}

// Console does wvid: it prints the way to each guest's screen.
func (m *Manager) Console(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, emit Emit) {
	m.screens(ctx, snap, nodes, emit, func(ctx context.Context, c Consoler, g *Guest, v VM, emit Emit) error {
		t, err := c.Ticket(ctx, v)
		if err != nil {
			return err
		}
		emit(Result{Node: g.Name, Text: "console: " + t.URL})
		if t.Thumbprint != "" {
			emit(Result{Node: g.Name, Text: "thumbprint: " + t.Thumbprint})
		}
		return nil
	})
}

// pngHead is how every PNG begins (RFC 2083, 3.1).
const pngHead = "\x89PNG\r\n\x1a\n"

// Screenshot is what one guest's screen shows, as PNG.
func (m *Manager) Screenshot(ctx context.Context, snap *nodedb.Snapshot, node *nodedb.Node) (png []byte, err error) {
	m.screens(ctx, snap, []*nodedb.Node{node}, func(r Result) { err = r.Err }, func(ctx context.Context, c Consoler, _ *Guest, v VM, _ Emit) error {
		b, err := c.Screenshot(ctx, v)
		if err == nil && !bytes.HasPrefix(b, []byte(pngHead)) {
			err = Errorf(ErrInvalid, "what the host sent is no PNG (%d bytes)", len(b))
		}
		png = b
		return err
	})
	if err != nil {
		return nil, err
	}
	return png, nil
}

// screens does something with the screen of each guest that runs.
func (m *Manager) screens(ctx context.Context, snap *nodedb.Snapshot, nodes []*nodedb.Node, emit Emit,
	do func(ctx context.Context, c Consoler, g *Guest, v VM, emit Emit) error,
) {
	m.each(ctx, snap, nodes, emit, func(ctx context.Context, hv Hypervisor, guests []*Guest, emit Emit) {
		c, ok := as[Consoler](hv)
		guests, found := look(ctx, hv, guests, Query{}, emit)
		for _, g := range guests {
			v, there := found[g.Name]
			var err error
			switch {
			case !there:
				err = Errorf(ErrNotFound, "VM does not appear to exist")
			case !ok:
				err = ErrUnsupported
			case v.State != nodedb.PowerOn:
				err = Errorf(ErrPowerState, "the guest is %s; only one that runs has a screen", v.State)
			default:
				err = do(ctx, c, g, v, emit)
			}
			if err != nil {
				emit(Result{Node: g.Name, Err: err})
			}
		}
	})
}

// noVNC refuses the keys of the VNC server that ESXi had before 7.0 on hosts
// that have it no longer: they would be taken and do nothing.
func noVNC(version string, settings []Setting) error {
	for _, s := range settings {
		if s.Value == "" || !strings.HasPrefix(strings.ToLower(s.Key), "remotedisplay.vnc.") {
			continue
		}
		if major, _, _ := strings.Cut(version, "."); atLeast(major, 7) {
			return Errorf(ErrUnsupported, "%s: ESXi %s has no VNC server, the last that had one is 6.7; use wvid", s.Key, version)
		}
	}
	return nil
}

func atLeast(major string, n int) bool {
	var have int
	_, err := fmt.Sscanf(major, "%d", &have)
	return err == nil && have >= n
}
