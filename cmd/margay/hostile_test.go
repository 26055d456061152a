package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHostilePaths asks the running daemon, by TFTP and by HTTP, for names that
// lead out of what is served: by dots in each spelling, from the root, by UNC,
// through links in an install tree. What lies outside never leaves.
func TestHostilePaths(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	const secret = "what no machine may see"
	outside := filepath.Join(dir, "secret")
	tree := filepath.Join(dir, "state", "install", "esxi8", "x86_64")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{outside: secret, filepath.Join(dir, "state", "seal.pub"): secret, filepath.Join(tree, "plain"): "plain"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"abs": outside, "up": "../../../../secret", "dir": dir, "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(tree, link)); err != nil {
			t.Fatal(err)
		}
	}
	in := "install/esxi8/x86_64/"
	if got := s.tftp(t, in+"plain"); !strings.HasPrefix(got, "\x00\x03\x00\x01plain") {
		t.Fatalf("a plain file by TFTP: %q", got)
	}
	if got := s.raw(t, "/"+in+"plain"); !strings.Contains(got, " 200 ") {
		t.Fatalf("a plain file by HTTP: %q", got)
	}
	var names []string
	for _, up := range []string{"..", "%2e%2e", ".%2e", "%252e%252e", "..%2f", "..%5c", `..\`, "....//", "%c0%ae%c0%ae", "..;"} {
		for _, n := range []int{1, 2, 3, 4, 5} {
			climb := strings.Repeat(up+"/", n)
			names = append(names, climb+"secret", in+climb+"secret", climb+"seal.pub", in+climb+"seal.pub", "tftpboot/"+climb+"secret", "boot/x/"+climb+"secret")
		}
	}
	names = append(names, in+"abs", in+"up", in+"dir/secret", in+"loop", in+"dir", in,
		outside, "/"+outside, "//"+outside, "file://"+outside, `\\127.0.0.1\c$`+outside, `//127.0.0.1/c$`+outside, `C:`+outside,
		"install/"+outside, in+outside, "install/../secret", "install/esxi8/../../../secret", "discover/../../secret",
		"state/seal.pub", "seal.pub", "seal.key", "margay.db", "tls/ca.key", "boot/../margay.db", in+"plain\x00/../../../../secret")
	for _, name := range names {
		if got := s.tftp(t, name); strings.Contains(got, secret) || strings.HasPrefix(got, "\x00\x03") {
			t.Errorf("TFTP %q: %.60q", name, got)
		}
		got := s.raw(t, "/"+name)
		if strings.Contains(got, secret) || strings.Contains(got, " 200 ") {
			t.Errorf("HTTP %q: %.80q", name, got)
		}
	}
}

// tftp asks for a file and returns the first packet that comes.
func (s *server) tftp(t *testing.T, name string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.WriteTo([]byte("\x00\x01"+name+"\x00octet\x00"), net.UDPAddrFromAddrPort(s.port("tftp"))); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(name, "\x00") {
		return "" // another name, with another mode: it may rightly get no answer
	}
	buf := make([]byte, 2000)
	n, from, err := conn.ReadFrom(buf)
	if err != nil {
		t.Fatalf("TFTP %q: %v", name, err)
	}
	conn.WriteTo([]byte("\x00\x05\x00\x00enough\x00"), from)
	return string(buf[:n])
}

// raw asks by HTTP for a target as it is spelt, which no client would.
func (s *server) raw(t *testing.T, target string) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.port("http").String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", target)
	var b bytes.Buffer
	io.Copy(&b, conn)
	return b.String()
}
