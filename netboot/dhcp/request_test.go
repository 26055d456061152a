package dhcp

import (
	"bytes"
	"errors"
	"net"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// broken is a good DISCOVER with one thing made wrong.
func broken(t testing.TB, spoil func([]byte) []byte) []byte {
	return spoil(made(t, biosROM))
}

func at(i int, v byte) func([]byte) []byte {
	return func(b []byte) []byte { b[i] = v; return b }
}

func TestRefusesHostile(t *testing.T) {
	tests := []struct {
		name string
		raw  []byte
		want error
	}{
		{"empty", nil, errShort},
		{"header only", make([]byte, 239), errShort},
		{"a reply", broken(t, at(atOp, opReply)), errNotDHCP},
		{"no cookie", broken(t, at(atCookie, 0)), errNotDHCP},
		{"no options", broken(t, func(b []byte) []byte { return b[:atOptions] }), errNotDHCP},
		{"hops", broken(t, at(atHops, 17)), errHops},
		{"long hardware address", broken(t, at(atHLen, 17)), errHardware},
		{"short hardware address", broken(t, at(atHLen, 5)), errHardware},
		{"group hardware address", broken(t, at(atCHAddr, 1)), errHardware},
		{"no hardware address", broken(t, func(b []byte) []byte { clear(b[atCHAddr : atCHAddr+6]); return b }), errHardware},
		{"broadcast relay", broken(t, func(b []byte) []byte { copy(b[atGIAddr:], []byte{255, 255, 255, 255}); return b }), errAddress},
		{"group client", broken(t, at(atCIAddr, 224)), errAddress},
		{"option past the end", broken(t, func(b []byte) []byte { b[atOptions+3] = optClass; b[atOptions+4] = 255; return b[:atOptions+40] }), errOption},
		{"option without length", append(made(t)[:atOptions], optMessageType), errOption},
		{"no message type", append(made(t)[:atOptions], optEnd), errNotDHCP},
		{"two message types", append(made(t)[:atOptions], optMessageType, 1, 1, optMessageType, 1, 1), errOptionLen},
		{"long message type", append(made(t)[:atOptions], optMessageType, 2, 1, 1), errOptionLen},
		{"an OFFER", append(made(t)[:atOptions], optMessageType, 1, msgOffer), errNotDHCP},
		{"a reply to a leasequery", append(made(t)[:atOptions], optMessageType, 1, msgLeaseActive), errNotDHCP},
		{"short requested address", append(made(t)[:atOptions], optMessageType, 1, 3, optRequested, 3, 1, 2, 3), errOptionLen},
		{"server for everybody", append(made(t)[:atOptions], optMessageType, 1, 3, optServer, 4, 255, 255, 255, 255), errAddress},
		{"client id in pieces", append(made(t)[:atOptions], bytes.Repeat(append([]byte{optClientID, 200}, make([]byte, 200)...), 2)...), errNotDHCP},
		{"client id too long", append(append(made(t)[:atOptions], optMessageType, 1, 1), bytes.Repeat(append([]byte{optClientID, 200}, make([]byte, 200)...), 2)...), errOptionLen},
	}
	for _, tt := range tests {
		var r request
		if err := r.parse(tt.raw); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// Options may stand in sname and file, and an option in several pieces
// (RFC 2132, 9.3; RFC 3396, whose order is options, file, sname).
func TestOverload(t *testing.T) {
	raw := made(t)[:atOptions]
	raw = append(raw, optOverload, 1, 3, optMessageType, 1, msgDiscover, optClass, 2, 'P', 'X', optEnd)
	copy(raw[atFile:], []byte{optClass, 3, 'E', 'C', 'l', optEnd})
	copy(raw[atSName:], []byte{optPad, optClass, 4, 'i', 'e', 'n', 't', optEnd})
	if m := machineOf(t, raw); m.Class != "PXEClient" || !m.PXE {
		t.Errorf("class %q", m.Class)
	}
	raw[atSName+2] = 200
	var r request
	if err := r.parse(raw); !errors.Is(err, errOption) {
		t.Errorf("sname with an option past its end: %v", err)
	}
}

func TestLimit(t *testing.T) {
	tests := []struct{ asked, want uint16 }{
		{0, 548}, {576, 548}, {1260, 1232}, {1500, 1472}, {65535, 1472},
	}
	for _, tt := range tests {
		var r request
		if err := r.parse(made(t, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(tt.asked)))); err != nil {
			t.Fatal(err)
		}
		if r.limit != int(tt.want) {
			t.Errorf("57=%d: %d octets, want %d", tt.asked, r.limit, tt.want)
		}
	}
	var r request
	if err := r.parse(made(t)); err != nil || r.limit != 548 {
		t.Errorf("no option 57: %d octets, %v", r.limit, err)
	}
}

// A request that is all small pieces must not cost more than its length.
func TestPiecesCost(t *testing.T) {
	raw := append(made(t)[:atOptions], optMessageType, 1, msgDiscover)
	for len(raw)+3 <= largestRequest {
		raw = append(raw, optUserClass, 1, 'x')
	}
	var r request
	allocs := testing.AllocsPerRun(10, func() {
		if err := r.parse(raw); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 12 {
		t.Errorf("%v allocations", allocs)
	}
	if got := len(r.user); got != (largestRequest-atOptions-3)/3 {
		t.Errorf("user class of %d octets", got)
	}
}

func TestInfiniBand(t *testing.T) {
	// RFC 4390: no hardware address, a client identifier instead.
	raw := made(t, dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, []byte{0xff, 1, 2, 3}))
	raw[atHType], raw[atHLen] = 32, 0
	m := machineOf(t, raw)
	if len(m.MAC) != 0 || !bytes.Equal(m.ClientID, []byte{0xff, 1, 2, 3}) {
		t.Errorf("MAC %v, client id %x", net.HardwareAddr(m.MAC), m.ClientID)
	}
}
