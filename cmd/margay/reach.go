package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// reach says whether somebody answers at a port.
func reach(ctx context.Context, at netip.AddrPort) error {
	d := net.Dialer{Timeout: 3 * time.Second}
	c, err := d.DialContext(ctx, "tcp", at.String())
	switch {
	case err == nil:
		return c.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("refused")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return errors.New("no such host on the network")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("no answer")
	}
	return errors.New("not reached")
}
