package command

import (
	"context"
	"errors"
	"io"
)

// SerialLines are the serial ports of guests, where they end.
type SerialLines interface {
	// Proxy is the address at which a host finds them.
	Proxy(host string) (string, error)
	// Attach joins the line of a guest.
	Attach(ctx context.Context, node string) (io.ReadWriteCloser, error)
}

// guestConsole is rcons of a guest.
func (s *Session) guestConsole(ctx context.Context, node string) error {
	if s.Serial == nil {
		return errors.New("this daemon takes no serial lines of guests")
	}
	w, err := s.Serial.Attach(ctx, node)
	if err != nil {
		s.NodeError(node, err)
		return nil
	}
	defer func() { _ = w.Close() }()
	defer context.AfterFunc(ctx, func() { _ = w.Close() })()
	return s.watch(w, s.Bool("spy"))
}
