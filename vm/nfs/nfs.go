// Package nfs asks an NFS server whether it would let a host mount an export,
// without mounting it: the port mapper for the mount service (RFC 1833), that
// for its exports (RFC 1813, appendix I), and NFS itself for a sign of life. It
// speaks ONC RPC (RFC 5531) over TCP, as ESXi does for NFS 3.
package nfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strconv"
	"strings"
	"time"
)

// Programs and procedures.
const (
	progPortmap, progNFS, progMount = 100000, 100003, 100005
	procNull, procGetPort           = 0, 3
	procExport                      = 5
)

// maxReply bounds what a server may answer.
const maxReply = 1 << 20

// An Asker asks NFS servers. Its zero value asks at the ports of the standards.
type Asker struct {
	Portmap int           // 0: 111
	Port    int           // of NFS; 0: 2049
	Timeout time.Duration // of each connection; 0: 3 s
}

// Check returns nil if a server serves NFS 3 and exports dir or a directory
// above it. An error says what is missing, and on the server.
func (a Asker) Check(ctx context.Context, server, dir string) error {
	port := or(a.Port, 2049)
	if _, err := a.call(ctx, server, port, progNFS, 3, procNull, nil); err != nil {
		return fmt.Errorf("no NFS 3 at port %d: %w", port, err)
	}
	word := binary.BigEndian.AppendUint32
	reply, err := a.call(ctx, server, or(a.Portmap, 111), progPortmap, 2, procGetPort, word(word(word(word(nil, progMount), 3), 6), 0))
	if err != nil {
		return fmt.Errorf("no port mapper: %w", err)
	}
	if len(reply) != 4 || binary.BigEndian.Uint32(reply) == 0 || binary.BigEndian.Uint32(reply) > 65535 {
		return errors.New("its port mapper knows no mount service (mountd, version 3 over TCP)")
	}
	if reply, err = a.call(ctx, server, int(binary.BigEndian.Uint32(reply)), progMount, 3, procExport, nil); err != nil {
		return fmt.Errorf("no answer from its mount service: %w", err)
	}
	exports, err := parseExports(reply)
	if err != nil {
		return fmt.Errorf("its list of exports: %w", err)
	}
	for _, e := range exports {
		if within(dir, e) {
			return nil
		}
	}
	if len(exports) == 0 {
		return fmt.Errorf("it exports nothing")
	}
	return fmt.Errorf("it does not export %s, but %s", dir, strings.Join(exports, " "))
}

func within(dir, export string) bool {
	dir, export = path.Clean(dir), path.Clean(export)
	return dir == export || export == "/" || strings.HasPrefix(dir, export+"/")
}

// call makes one call on a connection of its own and returns the result.
func (a Asker) call(ctx context.Context, server string, port int, prog, vers, proc uint32, args []byte) ([]byte, error) {
	timeout := a.Timeout
	if timeout <= 0 {
		timeout = 3 * time.Second
	}
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(server, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(timeout))
	const xid = 0x6d617267
	var msg []byte
	for _, w := range []uint32{xid, 0, 2, prog, vers, proc, 0, 0, 0, 0} { // CALL, RPC 2, AUTH_NONE twice
		msg = binary.BigEndian.AppendUint32(msg, w)
	}
	msg = append(msg, args...)
	head := binary.BigEndian.AppendUint32(nil, 1<<31|uint32(len(msg))) // the last fragment
	if _, err := conn.Write(append(head, msg...)); err != nil {
		return nil, err
	}
	reply, err := readRecord(conn)
	if err != nil {
		return nil, err
	}
	return parseReply(reply, xid)
}

// readRecord reads the fragments of one message (RFC 5531, 11).
func readRecord(r io.Reader) ([]byte, error) {
	var msg []byte
	for range 64 {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		n := binary.BigEndian.Uint32(head[:])
		size := int(n &^ (1 << 31))
		if len(msg)+size > maxReply {
			return nil, errors.New("too long an answer")
		}
		part := make([]byte, size)
		if _, err := io.ReadFull(r, part); err != nil {
			return nil, err
		}
		if msg = append(msg, part...); n&(1<<31) != 0 {
			return msg, nil
		}
	}
	return nil, errors.New("an answer in too many pieces")
}

var errReply = errors.New("no RPC that could be read")

// parseReply returns the result of an accepted call (RFC 5531, 9).
func parseReply(p []byte, xid uint32) ([]byte, error) {
	x := &xdr{p: p}
	if x.word() != xid || x.word() != 1 {
		return nil, errReply
	}
	if x.word() != 0 {
		return nil, errors.New("it refuses the call")
	}
	x.word()   // flavour of the verifier
	x.opaque() // and its body
	status := x.word()
	if x.bad {
		return nil, errReply
	}
	switch status {
	case 0:
		return x.p, nil
	case 1:
		return nil, errors.New("it has no such service")
	case 2:
		low, high := x.word(), x.word()
		return nil, fmt.Errorf("it has versions %d to %d only", low, high)
	}
	return nil, fmt.Errorf("it answers with RPC error %d", status)
}

// parseExports reads the list of procedure EXPORT: directories, each with the
// groups that may mount it.
func parseExports(p []byte) ([]string, error) {
	x := &xdr{p: p}
	var out []string
	for x.word() == 1 {
		dir := printable(string(x.opaque()))
		for x.word() == 1 {
			x.opaque()
		}
		if x.bad {
			break
		}
		out = append(out, dir)
	}
	if x.bad {
		return nil, errReply
	}
	return out, nil
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// An xdr reads words and counted bytes (RFC 4506); bad once they end early.
type xdr struct {
	p   []byte
	bad bool
}

func (x *xdr) word() uint32 {
	if len(x.p) < 4 {
		x.bad, x.p = true, nil
		return 0
	}
	w := binary.BigEndian.Uint32(x.p)
	x.p = x.p[4:]
	return w
}

func (x *xdr) opaque() []byte {
	n := int(x.word())
	padded := (n + 3) &^ 3
	if n < 0 || padded > len(x.p) {
		x.bad, x.p = true, nil
		return nil
	}
	b := x.p[:n]
	x.p = x.p[padded:]
	return b
}

func or(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}
