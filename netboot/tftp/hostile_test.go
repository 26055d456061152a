package tftp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// Packets of every kind and none, to the port that is asked and to one that
// sends: the server goes on, and keeps nothing.
func TestHostilePackets(t *testing.T) {
	f := files{"f": noise(512 * 1000)}
	s := &Server{Opener: f, PerAddr: 50}
	front := serve(t, s, "127.0.0.1:0")
	c := dial(t, front)
	c.send("\x00\x01f\x00octet\x00windowsize\x008\x00")
	c.expect(opOACK)
	c.ack(0)
	c.fresh(1)
	data := c.to

	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	dice := rand.New(rand.NewPCG(1, 2))
	strangers := []*client{dial(t, front), dial(t, front), dial(t, data), c}
	for range 50_000 {
		from := strangers[dice.IntN(len(strangers))]
		from.to = []netip.AddrPort{front, data}[dice.IntN(2)]
		from.conn.WriteToUDPAddrPort(malformed(dice), from.to) // errors are the network's own
	}
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 20<<20 && !raced {
		t.Errorf("%d bytes more in use", grown)
	}

	for range 20 {
		good := dial(t, front) // late answers to the last try stay away from this one
		good.send("\x00\x01f\x00octet\x00blksize\x001468\x00")
		if p := good.receive(time.Second); len(p) > 2 && p[1] == opOACK {
			if good.load(0, 1468, 1) != string(f["f"]) {
				t.Error("content differs")
			}
			return
		}
	}
	t.Error("no answer any more")
}

// malformed makes a packet that is at best half right.
func malformed(dice *rand.Rand) []byte {
	p := make([]byte, dice.IntN(60))
	for i := range p {
		p[i] = byte(dice.Uint32())
	}
	if len(p) < 4 {
		return p
	}
	binary.BigEndian.PutUint16(p, uint16(dice.IntN(8)))
	switch dice.IntN(4) {
	case 0:
		binary.BigEndian.PutUint16(p[2:], uint16(dice.IntN(12)))
	case 1:
		return append([]byte{0, byte(1 + dice.IntN(2))}, "f\x00octet\x00blksize\x00"+string(p)+"\x00windowsize\x00"...)
	case 2:
		copy(p[2:], "f\x00netascii\x00")
	}
	return p
}
