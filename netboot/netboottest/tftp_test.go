package netboottest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"margay/netboot"
	"margay/netboot/tftp"
)

// shelf is an opener of the files it holds, for TFTP and HTTP.
type shelf map[string][]byte

func (s shelf) Open(_ context.Context, _ netboot.Machine, name string) (*netboot.File, error) {
	data, ok := s[name]
	if !ok {
		return nil, netboot.ErrNotFound
	}
	return &netboot.File{Name: name, Body: inMemory{bytes.NewReader(data)}, Size: int64(len(data))}, nil
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(p)
	return p
}

// tally counts transfers by how they ended.
type tally struct {
	mu         sync.Mutex
	good, lost int
	last       error
}

func (c *tally) Observe(e netboot.Event) {
	if !e.Done {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Err != nil {
		c.lost++
		c.last = e.Err
	} else {
		c.good++
	}
}

// serveTFTP runs s on a host of the test's until its end.
func serveTFTP(t testing.TB, h *Host, s *tftp.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan error, 1)
	go h.Do(func() { // its other sockets open in the same place
		conn, err := net.ListenPacket("udp4", ":69")
		ready <- err
		if err == nil {
			done <- s.Serve(ctx, conn)
		}
	})
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// Clients of two kinds, one with windows and one without, fetch over lines that
// lose, delay and reorder: every transfer ends well.
func TestTFTPOnBadLines(t *testing.T) {
	lines := []struct {
		name string
		line line
	}{
		{"loss", line{delay: 2 * time.Millisecond, loss: 0.01}},
		{"reorder", line{delay: time.Millisecond, jitter: time.Millisecond, doubles: 0.02}},
		{"awful", line{delay: 5 * time.Millisecond, jitter: 5 * time.Millisecond, loss: 0.05, doubles: 0.05}},
	}
	for _, tt := range lines {
		t.Run(tt.name, func(t *testing.T) {
			server, client := tt.line.connect(t, "10.1.0.1/24", "10.1.0.2/24")
			want := noise(100_000)
			c := &tally{}
			serveTFTP(t, server, &tftp.Server{Opener: shelf{"f": want}, Observer: c})
			hpa := []string{Binary(t, "tftp"), "-m", "binary", "10.1.0.1", "-c", "get", "f", "out"}
			var all sync.WaitGroup
			for n := range 16 {
				all.Go(func() {
					if n%4 == 0 {
						if err := fetch(t, client, hpa, want); err != nil {
							t.Error(err)
						}
						return
					}
					fetchWindows(t, client, TFTPClient{Block: 1428, Window: 4 * n}, want)
				})
			}
			all.Wait()
			if c.lost > 0 {
				t.Errorf("%d transfers lost, %d well; %v", c.lost, c.good, c.last)
			}
		})
	}
}

// fetchWindows fetches with our own client. Those of Debian that know windows
// break off when an OACK comes twice, as it does on such lines.
func fetchWindows(t *testing.T, h *Host, c TFTPClient, want []byte) {
	conn, err := listenUDP(h)
	if err != nil {
		t.Error(err)
		return
	}
	n, sum, err := c.Fetch(conn, netip.MustParseAddrPort("10.1.0.1:69"), "f")
	if err != nil || n != int64(len(want)) || sum != crc32.ChecksumIEEE(want) {
		t.Errorf("window %d: %d bytes, want %d, or they differ; %v", c.Window, n, len(want), err)
	}
}

func listenUDP(h *Host) (conn *net.UDPConn, err error) {
	h.Do(func() { conn, err = net.ListenUDP("udp4", nil) })
	return conn, err
}

// fetch runs a client that writes "out" in its working directory.
func fetch(t *testing.T, h *Host, argv []string, want []byte) error {
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = t.TempDir()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := h.Run(cmd); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, said.String())
	}
	got, err := os.ReadFile(filepath.Join(cmd.Dir, "out"))
	if err != nil {
		return err
	}
	if sha256.Sum256(got) != sha256.Sum256(want) {
		return fmt.Errorf("%s: %d bytes, want %d, or they differ", cmd, len(got), len(want))
	}
	return nil
}

// A client that asks for more than a packet holds is given less: old versions
// of mboot ask for blocks of 4096 bytes, and ROMs cannot take fragments.
func TestTFTPBlocksFitTheWire(t *testing.T) {
	lan := NewLAN(t)
	server, client := lan.NewHost(t, "10.1.0.1/24"), lan.NewHost(t, "10.1.0.2/24")
	serveTFTP(t, server, &tftp.Server{Opener: shelf{"f": noise(100_000)}})
	conn, err := listenUDP(client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.WriteToUDP([]byte("\x00\x01f\x00octet\x00blksize\x004096\x00"), &net.UDPAddr{IP: net.IPv4(10, 1, 0, 1), Port: 69})
	buf := make([]byte, 100)
	n, _, err := conn.ReadFromUDP(buf)
	if got, want := string(buf[:n]), "\x00\x06blksize\x001468\x00"; err != nil || got != want {
		t.Errorf("%v %q, want %q", err, got, want)
	}
}
