package tftp

import (
	"context"
	"fmt"
	"net"
	"testing"

	"margay/netboot/netboottest"
)

// Where the kernel does not know UDP_SEGMENT (before Linux 4.18), windows arrive
// block by block all the same.
func TestOldKernel(t *testing.T) {
	want := string(noise(1_000_000))
	for _, single := range []bool{false, true} {
		conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{Opener: files{"f": []byte(want)}, SinglePort: single}
		var l listener
		netboottest.WithoutSegment(t, func() { l.front, l.data, err = s.sockets(conn.(*net.UDPConn)) })
		if err != nil {
			t.Fatal(err)
		}
		for _, sock := range append([]*socket{l.front}, l.data...) {
			if sock.Cuts() {
				t.Error("the kernel is taken to cut")
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		l.s, l.ctx = s, ctx
		done := make(chan error)
		go func() { done <- l.run(cancel) }()
		for _, window := range []int{4, 16} {
			c := dial(t, l.front.LocalAddr())
			c.send(fmt.Sprintf("\x00\x01f\x00octet\x00blksize\x001468\x00windowsize\x00%d\x00", window))
			c.expect(opOACK)
			if c.load(0, 1468, window) != want {
				t.Errorf("window %d: content differs", window)
			}
		}
		l.wake()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
