package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// probeTimeout is how long an endpoint has to greet us.
const probeTimeout = 2 * time.Second

// probe says why no endpoint answers, nil if one does. etcd's client keeps
// trying and then knows only that time is up; an operator needs to hear
// "connection refused" or what is wrong with a certificate.
func probe(cfg Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	results := make(chan error, len(cfg.Endpoints))
	for _, e := range cfg.Endpoints {
		go func() { results <- greet(ctx, e, cfg.TLS) }()
	}
	var faults []error
	for range cfg.Endpoints {
		err := <-results
		if err == nil {
			return nil
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// preface is what an HTTP/2 client begins with (RFC 9113, 3.4): the magic and
// an empty SETTINGS frame. The server's own SETTINGS are its greeting. With
// TLS 1.3 a server that misses our certificate says so only now.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

func greet(ctx context.Context, endpoint string, secure *tls.Config) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end)
	}
	if secure != nil {
		own := secure.Clone()
		own.NextProtos = []string{"h2"}
		own.ServerName, _, _ = net.SplitHostPort(endpoint)
		conn = tls.Client(conn, own)
	}
	if _, err := io.WriteString(conn, preface); err != nil {
		return fmt.Errorf("%s: %w", endpoint, err)
	}
	frame := make([]byte, 9)
	if _, err := io.ReadFull(conn, frame); err != nil {
		return fmt.Errorf("%s: %w", endpoint, err)
	}
	if frame[3] != 4 { // SETTINGS, RFC 9113, 6.5
		return fmt.Errorf("%s: does not speak HTTP/2; is it TLS that is wanted, or not?", endpoint)
	}
	return nil
}
