package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// TestTreeFiles fetches files of an install tree from the running daemon, by TFTP
// and by HTTP, as they are opened and as they are open already: of sizes around
// those in which they are read and sent.
func TestTreeFiles(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	const in = "install/esxi8/x86_64/"
	tree := filepath.Join(dir, "state", in)
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{})
	for _, size := range []int{0, 5, 511, 512, 16<<10 - 1, 16 << 10, 16<<10 + 1, 100_000} {
		want, name := make([]byte, size), fmt.Sprint(size)
		random.Read(want)
		if err := os.WriteFile(filepath.Join(tree, name), want, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, c := range []netboottest.TFTPClient{{}, {Block: 1428}, {Block: 1428, Window: 16}} {
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			c.Wait, c.Tries = time.Second, 60
			if n, sum, err := c.Fetch(conn, s.port("tftp"), in+name); err != nil || n != int64(size) || sum != crc32.ChecksumIEEE(want) {
				t.Fatalf("TFTP of %d bytes, blocks of %d, windows of %d: %d bytes, %v", size, c.Block, c.Window, n, err)
			}
		}
		_, got, _ := bytes.Cut([]byte(s.raw(t, "/"+in+name)), []byte("\r\n\r\n"))
		if !bytes.Equal(got, want) {
			t.Errorf("HTTP of %d bytes: %d bytes, or others", size, len(got))
		}
	}
}
