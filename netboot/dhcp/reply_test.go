package dhcp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
)

// answerTo is the whole way of a request that came from src, without sockets.
func answerTo(t testing.TB, raw []byte, src string, plan netboot.Plan) (kind byte, got *dhcpv4.DHCPv4, to netip.AddrPort, lost []uint8) {
	t.Helper()
	k := &sock{mode: Authoritative}
	x := new(exchange)
	x.n = copy(x.in[:], raw)
	x.src = netip.MustParseAddrPort(src)
	x.local = ourAddr
	if err := x.parse(k); err != nil {
		t.Fatal(err)
	}
	m := x.machine(k)
	kind, msg, lost := x.reply(k, &m, &plan)
	if kind == 0 {
		return 0, nil, netip.AddrPort{}, nil
	}
	got, err := dhcpv4.FromBytes(msg)
	if err != nil {
		t.Fatalf("reply: %v", err)
	}
	if len(msg) < minSize {
		t.Errorf("reply of %d octets", len(msg))
	}
	return kind, got, x.destination(k, kind), lost
}

func request54(server, addr net.IP) dhcpv4.Modifier {
	return func(d *dhcpv4.DHCPv4) {
		rebooting(addr)(d)
		d.UpdateOption(dhcpv4.OptServerIdentifier(server))
	}
}

// What RFC 2131, 4.3 has a server say, and to whom.
func TestVerdict(t *testing.T) {
	ours, other := net.IPv4(10, 1, 0, 1), net.IPv4(192, 0, 2, 1)
	right, wrong := net.IPv4(10, 1, 0, 11), net.IPv4(10, 1, 0, 99)
	nak := testPlan
	nak.Nak = true
	noAddr := testPlan
	noAddr.Addr = netip.Prefix{}
	via := testPlan
	via.Server = netip.MustParseAddr("192.0.2.1")
	everybody, client, relayAt := "255.255.255.255:68", "10.1.0.11:68", "10.2.0.1:67"
	tests := []struct {
		name string
		raw  []byte
		src  string
		plan netboot.Plan
		want byte
		to   string
	}{
		{"discover", made(t), "0.0.0.0:68", testPlan, msgOffer, everybody},
		{"discover, may not", made(t), "0.0.0.0:68", nak, 0, ""},
		{"discover, no address", made(t), "0.0.0.0:68", noAddr, 0, ""},
		{"discover, relay", made(t, relayed), "10.2.0.1:67", testPlan, msgOffer, relayAt},
		{"selecting", made(t, request54(ours, right)), "0.0.0.0:68", testPlan, msgAck, everybody},
		{"selecting, relay", made(t, relayed, request54(ours, right)), "10.2.0.1:67", testPlan, msgAck, relayAt},
		{"selecting another server", made(t, request54(other, right)), "0.0.0.0:68", testPlan, 0, ""},
		{"selecting another server, wrongly", made(t, request54(other, wrong)), "0.0.0.0:68", nak, 0, ""},
		{"selecting the plan's server", made(t, request54(other, right)), "0.0.0.0:68", via, msgAck, everybody},
		{"selecting the address of before the plan's", made(t, request54(ours, right)), "0.0.0.0:68", via, msgAck, everybody},
		{"selecting what was not offered", made(t, request54(ours, wrong)), "0.0.0.0:68", testPlan, msgNak, everybody},
		{"init-reboot", made(t, rebooting(right)), "0.0.0.0:68", testPlan, msgAck, everybody},
		{"init-reboot, elsewhere", made(t, rebooting(wrong)), "0.0.0.0:68", testPlan, msgNak, everybody},
		{"init-reboot, may not", made(t, rebooting(right)), "0.0.0.0:68", nak, msgNak, everybody},
		{"renewing", made(t, renewing), "10.1.0.11:68", testPlan, msgAck, client},
		{"renewing, may not", made(t, renewing), "10.1.0.11:68", nak, msgNak, everybody},
		{"renewing, no address", made(t, renewing), "10.1.0.11:68", noAddr, 0, ""},
		{"rebinding by relay", made(t, relayed, renewing), "10.2.0.1:67", testPlan, msgAck, relayAt},
		{"selecting what was not offered, relay", made(t, relayed, dhcpv4.WithBroadcast(false), request54(ours, wrong)), "10.2.0.1:67", testPlan, msgNak, relayAt},
		{"request for nothing", made(t, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)), "0.0.0.0:68", testPlan, 0, ""},
		{"inform", made(t, informing), "10.1.0.11:68", testPlan, msgAck, client},
		{"inform without address", made(t, dhcpv4.WithMessageType(dhcpv4.MessageTypeInform)), "10.1.0.12:68", testPlan, msgAck, "10.1.0.12:68"},
		{"inform, no plan for an address", made(t, informing), "10.1.0.11:68", noAddr, msgAck, client},
		{"release", made(t, renewing, dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease)), "10.1.0.11:68", testPlan, 0, ""},
		{"decline", made(t, request54(ours, right), dhcpv4.WithMessageType(dhcpv4.MessageTypeDecline)), "0.0.0.0:68", testPlan, 0, ""},
	}
	for _, tt := range tests {
		kind, got, to, _ := answerTo(t, tt.raw, tt.src, tt.plan)
		if kind != tt.want {
			t.Errorf("%s: reply %d, want %d", tt.name, kind, tt.want)
			continue
		}
		if kind == 0 {
			continue
		}
		if to.String() != tt.to {
			t.Errorf("%s: to %v, want %s", tt.name, to, tt.to)
		}
		if kind == msgNak || tt.raw[atOptions+2] == msgInform {
			if !got.YourIPAddr.IsUnspecified() || got.Options.Has(dhcpv4.OptionIPAddressLeaseTime) {
				t.Errorf("%s: gives an address or a lease: %s", tt.name, got.Summary())
			}
		}
		if kind == msgNak && to.Addr() != broadcastAddr && !got.IsBroadcast() {
			t.Errorf("%s: the relay is not told to broadcast it", tt.name)
		}
		if kind == msgNak && (!got.ServerIPAddr.IsUnspecified() || len(got.Options) > 4) {
			t.Errorf("%s: says more than no: %s", tt.name, got.Summary())
		}
	}
}

// On a socket that cannot broadcast.
func TestRelayedOnly(t *testing.T) {
	k := &sock{relayed: true, mode: Authoritative}
	tests := []struct {
		name string
		raw  []byte
		kind byte
		want string
	}{
		{"relay", made(t, relayed), msgNak, "10.2.0.1:67"},
		{"renewing", made(t, renewing), msgAck, "10.1.0.11:68"},
		{"renewing, may not", made(t, renewing), msgNak, "10.1.0.11:68"},
	}
	for _, tt := range tests {
		x := new(exchange)
		x.n = copy(x.in[:], tt.raw)
		x.src = netip.MustParseAddrPort("10.1.0.11:68")
		if err := x.parse(k); err != nil {
			t.Fatal(err)
		}
		if to := x.destination(k, tt.kind); to.String() != tt.want {
			t.Errorf("%s: to %v, want %s", tt.name, to, tt.want)
		}
	}
}

// Nobody may have us send to ourselves.
func TestLoopbackRelay(t *testing.T) {
	x := new(exchange)
	x.n = copy(x.in[:], made(t, viaRelay))
	for src, want := range map[string]error{"127.0.0.1:5555": nil, "10.1.0.9:67": errLoopback} {
		x.src = netip.MustParseAddrPort(src)
		if err := x.parse(&sock{}); err != want {
			t.Errorf("from %s: %v, want %v", src, err, want)
		}
	}
}

func TestRelaySourcePort(t *testing.T) {
	with := func(opt82 ...byte) []byte {
		return made(t, relayed, dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, opt82))
	}
	tests := []struct {
		raw  []byte
		want string
	}{
		{with(1, 1, 'x', 19, 0), "10.2.0.1:4444"},
		{with(19, 0), "10.2.0.1:4444"},
		{with(19, 1, 0), "10.2.0.1:67"}, // not RFC 8357's
		{with(1, 1, 'x'), "10.2.0.1:67"},
	}
	for _, tt := range tests {
		if _, _, to, _ := answerTo(t, tt.raw, "10.2.0.1:4444", testPlan); to.String() != tt.want {
			t.Errorf("%x: to %v, want %s", tt.raw[atOptions:], to, tt.want)
		}
	}
}

// RFC 5107: a relay that wants to see the renewals too stands for us.
func TestServerOverride(t *testing.T) {
	own := dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{11, 4, 10, 2, 0, 1})
	_, got, _, _ := answerTo(t, made(t, relayed, own), "10.2.0.1:67", testPlan)
	if id := got.ServerIdentifier().String(); id != "10.2.0.1" {
		t.Errorf("server identifier %s, want the relay's", id)
	}
	kind, _, _, _ := answerTo(t, made(t, relayed, own, request54(net.IPv4(10, 2, 0, 1), net.IPv4(10, 1, 0, 11))), "10.2.0.1:67", testPlan)
	if kind != msgAck {
		t.Errorf("a REQUEST to the relay's identifier: %d, want an ACK", kind)
	}
}

// The client's wishes count, but not against what it boots by.
func TestParameters(t *testing.T) {
	only := func(codes ...byte) dhcpv4.Modifier {
		return dhcpv4.WithGeneric(dhcpv4.OptionParameterRequestList, codes)
	}
	plan := testPlan
	plan.File = "xcat/xnba.kpxe"
	tests := []struct {
		name string
		raw  []byte
		want []uint8
	}{
		{"nothing", made(t, only()), []uint8{1, 51, 53, 54, 58, 59, 66, 67}},
		{"router", made(t, only(3)), []uint8{1, 3, 51, 53, 54, 58, 59, 66, 67}},
		{"all of ours", made(t, only(3, 6, 7, 12, 15, 26, 28, 42, 119)), []uint8{1, 3, 6, 7, 12, 15, 26, 28, 42, 51, 53, 54, 58, 59, 66, 67, 119}},
	}
	for _, tt := range tests {
		_, got, _, _ := answerTo(t, tt.raw, "0.0.0.0:68", plan)
		if codes := codesOf(got); !slices.Equal(codes, tt.want) {
			t.Errorf("%s: options %v, want %v", tt.name, codes, tt.want)
		}
	}
	silent := discover(t)
	delete(silent.Options, dhcpv4.OptionParameterRequestList.Code())
	_, got, _, _ := answerTo(t, silent.ToBytes(), "0.0.0.0:68", plan)
	if codes, want := codesOf(got), tests[2].want; !slices.Equal(codes, want) {
		t.Errorf("no list: options %v, want %v", codes, want)
	}
}

func codesOf(d *dhcpv4.DHCPv4) (codes []uint8) {
	for c := range d.Options {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	return codes
}

// A name that does not fit the field with its zero is in the option alone.
func TestLongFile(t *testing.T) {
	for n, fits := range map[int]bool{127: true, 128: false, 200: false, 300: false} {
		plan := testPlan
		plan.File = "http://10.1.0.1/" + strings.Repeat("x", n-16)
		_, got, _, _ := answerTo(t, made(t, xnba, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(1472))), "0.0.0.0:68", plan)
		if (got.BootFileName == plan.File) != fits || !fits && got.BootFileName != "" {
			t.Errorf("%d octets: field %q", n, got.BootFileName)
		}
		if opt := string(got.Options.Get(dhcpv4.OptionBootfileName)); opt != plan.File {
			t.Errorf("%d octets: option %q", n, opt)
		}
	}
}

// Options of more than 255 octets come in pieces that the library joins
// (RFC 3396); the last in the message is the relay's.
func TestLongOption(t *testing.T) {
	plan := testPlan
	plan.Options = map[uint8][]byte{43: bytes.Repeat([]byte("x"), 600), 0: {1}, 255: {1}, 53: {9}, 82: {9}}
	raw := made(t, relayed, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(1472)))
	_, got, _, lost := answerTo(t, raw, "10.2.0.1:67", plan)
	if len(lost) > 0 || !bytes.Equal(got.Options.Get(dhcpv4.OptionVendorSpecificInformation), plan.Options[43]) {
		t.Errorf("option 43 of %d octets, lost %v", len(got.Options.Get(dhcpv4.OptionVendorSpecificInformation)), lost)
	}
	if got.MessageType() != dhcpv4.MessageTypeOffer || got.RelayAgentInfo() == nil || len(got.RelayAgentInfo().Options) != 2 {
		t.Errorf("the operator's options took the place of ours: %s", got.Summary())
	}
}

func TestOperatorsOptionsWin(t *testing.T) {
	plan := testPlan
	plan.File = "xcat/xnba.kpxe"
	plan.Options = map[uint8][]byte{3: {10, 1, 0, 254}, 60: []byte("Mine"), 209: []byte("conf")}
	_, got, _, _ := answerTo(t, made(t, biosROM), "0.0.0.0:68", plan)
	for code, want := range plan.Options {
		if v := got.Options.Get(dhcpv4.GenericOptionCode(code)); !bytes.Equal(v, want) {
			t.Errorf("option %d: %q, want %q", code, v, want)
		}
	}
}

// What is too much for the client's limit is left out from the end, and said.
func TestTooMuch(t *testing.T) {
	plan := testPlan
	plan.File = "xcat/xnba.kpxe"
	plan.Options = map[uint8][]byte{209: make([]byte, 200), 210: make([]byte, 200), 211: make([]byte, 20)}
	raw := made(t, biosROM, relayed, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(576)))
	_, got, _, lost := answerTo(t, raw, "10.2.0.1:67", plan)
	if fmt.Sprint(lost) != "[209 210]" {
		t.Errorf("left out %v", lost)
	}
	size := len(got.ToBytes()) - 2 - len(raw[bytes.LastIndexByte(raw, optRelay)+2:])
	if size > 548 {
		t.Errorf("%d octets without the relay's option, want 548 or less", size)
	}
	if !got.Options.Has(dhcpv4.OptionBootfileName) || got.RelayAgentInfo() == nil {
		t.Errorf("what matters is missing: %s", got.Summary())
	}
}

func TestLease(t *testing.T) {
	tests := []struct {
		plan       time.Duration
		t1, t2, t3 uint32
	}{
		{0, 21600, 37800, 43200},
		{time.Hour, 1800, 3150, 3600},
		{time.Millisecond, 1, 1, 1},
		{1 << 62, 0, 0, forever},
	}
	for _, tt := range tests {
		plan := testPlan
		plan.Lease = tt.plan
		_, got, _, _ := answerTo(t, made(t), "0.0.0.0:68", plan)
		for code, want := range map[uint8]uint32{58: tt.t1, 59: tt.t2, 51: tt.t3} {
			v := got.Options.Get(dhcpv4.GenericOptionCode(code))
			if want == 0 && v == nil {
				continue
			}
			if fmt.Sprintf("%x", v) != fmt.Sprintf("%08x", want) {
				t.Errorf("lease %v: option %d is %x, want %08x", tt.plan, code, v, want)
			}
		}
	}
}

func TestNoAddressNoServer(t *testing.T) {
	k := &sock{mode: Authoritative}
	x := new(exchange)
	x.n = copy(x.in[:], made(t))
	x.src = netip.MustParseAddrPort("0.0.0.0:68")
	if err := x.parse(k); err != nil {
		t.Fatal(err)
	}
	m := x.machine(k)
	if kind, _, _ := x.reply(k, &m, &testPlan); kind != 0 {
		t.Errorf("reply %d from an interface without an address", kind)
	}
}
