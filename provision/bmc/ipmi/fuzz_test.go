package ipmi

import (
	"bytes"
	"encoding/hex"
	"testing"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/types"
)

func testKeys(t testing.TB) *keys {
	t.Helper()
	_, k1, k2, err := crypto.DeriveSessionKeys(types.AuthAlg_HMAC_SHA256, make([]byte, 16), make([]byte, 16), 4, "admin", make([]byte, 20))
	if err != nil {
		t.Fatal(err)
	}
	return &keys{integrity: types.IntegrityAlg_HMAC_SHA256_128, crypt: types.CryptAlg_AES_CBC_128, k1: k1, k2: k2}
}

func sealed(t testing.TB, k *keys, message []byte) []byte {
	t.Helper()
	b, err := build20(k, types.PayloadTypeIPMI, 7, 1, message)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPacketRoundTrip(t *testing.T) {
	k := testKeys(t)
	for n := range 64 {
		message := bytes.Repeat([]byte{byte(n)}, n)
		p, err := parsePacket(sealed(t, k, message))
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.open(p)
		if err != nil || !bytes.Equal(got, message) || p.session != 7 || p.sequence != 1 {
			t.Errorf("%d bytes: %x %v", n, got, err)
		}
	}
}

// TestPacketForged changes each byte of a packet in turn. None may be believed.
func TestPacketForged(t *testing.T) {
	k := testKeys(t)
	whole := sealed(t, k, []byte("a message"))
	for i := 4; i < len(whole); i++ { // before that is the RMCP header, which nothing covers
		bad := bytes.Clone(whole)
		bad[i] ^= 0x41
		p, err := parsePacket(bad)
		if err != nil {
			continue
		}
		if _, err := k.open(p); err == nil {
			t.Errorf("byte %d changed, and believed", i)
		}
	}
	plain, err := build20(nil, types.PayloadTypeIPMI, 0, 0, []byte("a message"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePacket(plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.open(p); err == nil {
		t.Error("a packet without authentication code is believed in a session")
	}
}

func TestWindow(t *testing.T) {
	var w window
	for _, tt := range []struct {
		n    uint32
		want bool
	}{{1, true}, {1, false}, {2, true}, {5, true}, {3, true}, {3, false}, {5, false}, {200, true}, {137, true}, {136, false}, {135, false}, {200, false}, {0xffffffff, false}, {201, true}} {
		if got := w.accept(tt.n); got != tt.want {
			t.Errorf("%d: %v, want %v", tt.n, got, tt.want)
		}
	}
}

// FuzzPacket holds parsing to its bounds and opening to its code: what was not
// sealed with the keys is not believed.
func FuzzPacket(f *testing.F) {
	k := testKeys(f)
	if p, err := parsePacket(sealed(f, k, []byte("hello"))); err != nil || p.code == nil {
		f.Fatal("no packet of our own parses")
	}
	// Sealed once: each of the fuzzer's processes would seal another.
	whole, err := hex.DecodeString("0600ff0706c0070000000100000020003820f7ec926c52c6908989e2d0a4a9d45461290a441a57f59fbcb2fddc280987ffff0207911c05f8f4735cdd52a4fce74726978f")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(build15([]byte{0x81, 0x1c, 0x63, 0x20, 0x04, 0x38, 0x00, 0x01, 0xa3}))
	open, _ := build20(nil, types.PayloadTypeRmcpOpenSessionResponse, 0, 0, make([]byte, 36))
	f.Add(open)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePacket(b)
		if err != nil {
			return
		}
		if _, err := k.open(p); err == nil && !bytes.HasPrefix(b[4:], whole[4:]) {
			t.Errorf("%x was believed", b)
		}
		_, _ = parseAnswer(p.body)
	})
}

// TestConsoleOrder gives a console packets as a bad network does: twice, late,
// and grown on repetition.
func TestConsoleOrder(t *testing.T) {
	x := &console{stream: newStream(), chunk: 10}
	say := func(number byte, text string) {
		x.take(payload{kind: types.PayloadTypeSOL, session: 1, plus: true, data: append([]byte{number, 0, 0, 0}, text...)})
	}
	say(14, "ab")
	say(14, "ab")   // repeated
	say(14, "abcd") // repeated, and more
	say(15, "ef")
	say(14, "abcd") // kept back by the network
	say(1, "gh")
	say(15, "ef")
	say(14, "abcd")
	say(2, "ij")
	if got := string(x.stream.in); got != "abcdefghij" {
		t.Errorf("%q", got)
	}
	if len(x.acks) != 6 {
		t.Errorf("%d acknowledgements, want one for each packet taken or repeated", len(x.acks))
	}
	x.pending, x.out = []byte("typed"), 3
	x.take(payload{kind: types.PayloadTypeSOL, session: 1, plus: true, data: []byte{0, 2, 5, 0}}) // of the packet before
	if string(x.pending) != "typed" {
		t.Error("a late acknowledgement was taken for another packet's")
	}
	x.take(payload{kind: types.PayloadTypeSOL, session: 1, plus: true, data: []byte{0, 3, 2, 0x40}}) // two taken, no more now
	if x.pending != nil || string(x.stream.out) != "ped" {
		t.Errorf("left to send: %q and %q", x.pending, x.stream.out)
	}
}

// FuzzConsole gives a console packets that a mad BMC could seal.
func FuzzConsole(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 'a'}, []byte{2, 1, 3, 0x40})
	f.Add([]byte{0, 1, 255, 0x10}, []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x := &console{stream: newStream(), out: 1, pending: []byte("typed"), chunk: 10}
		for _, data := range [][]byte{a, b, a, b, a} {
			x.take(payload{kind: types.PayloadTypeSOL, session: 1, plus: true, data: data})
		}
		if len(x.stream.in) > len(a)*3+len(b)*2 {
			t.Errorf("%d characters came out of %d and %d", len(x.stream.in), len(a), len(b))
		}
	})
}

// FuzzRecords gives the readers of labels, sensors and events what a mad BMC
// could answer.
func FuzzRecords(f *testing.F) {
	label, err := types.PackFRU(types.FRUPackConfig{
		Board:   &types.FRUPackBoard{Mfg: "M", Product: "P", Serial: "S", PartNumber: "N"},
		Product: &types.FRUPackProduct{Manufacturer: "M", Name: "N", PartModel: "P", Version: "1", Serial: "S"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(label)
	f.Add(append([]byte{1, 0, 2}, make([]byte, 13)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n := fruNeeds(data); n < fruHeader || n > 255*8+255*8 {
			t.Errorf("a label of %d bytes", n)
		}
		if l, err := parseFRU(data); err == nil {
			_, _, _ = productOf(l), boardOf(l), chassisOf(l)
		}
		if sdr := parseSDR(data, 0); sdr != nil {
			_, _, _ = sensorOf(sdr)
			_ = nameOf(sdr)
		}
		if e := eventOf(data, nil); e.String() != bmc.Clean(e.String()) {
			t.Errorf("an event that is not clean: %q", e)
		}
		_ = bootOf(data)
		_, _, _ = addressOf(data), macOf(data), vlanOf(data)
	})
}

// FuzzAnswers gives the library's codecs answers of any kind: none may take
// the daemon down.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	f.Fuzz(func(_ *testing.T, data []byte) {
		for _, res := range answers() {
			_ = decode(types.Command{Name: "any"}, data, res)
		}
	})
}
