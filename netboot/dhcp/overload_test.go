package dhcp

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"margay/netboot"
	"margay/netboot/netboottest"
)

// aggregate are all options of a reply, those too that stand in the header, in
// RFC 3396's order, read by the library.
func aggregate(t *testing.T, msg []byte) dhcpv4.Options {
	t.Helper()
	fields := byte(0)
	cut := func(b []byte) []byte {
		for i := 0; i < len(b); {
			if b[i] == optPad {
				i++
				continue
			}
			if b[i] == optEnd {
				for _, c := range b[i+1:] {
					if c != optPad {
						t.Errorf("%x after its end", b[i+1:])
						break
					}
				}
				return b[:i]
			}
			if b[i] == optOverload {
				fields = b[i+2]
			}
			i += 2 + int(b[i+1])
		}
		t.Errorf("options without an end: %x", b)
		return nil
	}
	all := bytes.Clone(cut(msg[atOptions:]))
	if fields&overloadFile != 0 {
		all = append(all, cut(msg[atFile:atCookie])...)
	}
	if fields&overloadName != 0 {
		all = append(all, cut(msg[atSName:atFile])...)
	}
	opts := make(dhcpv4.Options)
	if err := opts.FromBytes(append(all, optEnd)); err != nil {
		t.Fatalf("%v: %x", err, all)
	}
	return opts
}

// TestOverloads: options for which a message of the client's size has no room stand
// in the fields of the header that no name needs, whole where they can; no firmware
// ever finds any there.
func TestOverloads(t *testing.T) {
	size := func(octets uint16) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(octets))
	}
	named := dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, make([]byte, 100))
	const (
		fill = 1 << 12 // so that the message is full; more with what is added
		both = overloadFile | overloadName
	)
	tests := []struct {
		name    string
		mods    []dhcpv4.Modifier
		file    string
		options []int  // how long options 200, 201... are
		fields  byte   // of option 52
		lost    string // codes
	}{
		{"what fits", nil, "", []int{100}, 0, "[]"},
		{"all that fits", nil, "", []int{fill + 3}, 0, "[]"}, // option 52's too
		{"into file", nil, "", []int{fill, 40}, overloadFile, "[]"},
		{"an empty one", nil, "", []int{fill, 0}, 0, "[]"},
		{"file to its end", nil, "", []int{fill, 125}, overloadFile, "[]"},
		{"then sname", nil, "", []int{fill, 125, 61}, both, "[]"},
		{"sname, where file has no room", nil, "", []int{fill, 100, 40}, both, "[]"},
		{"file again after sname", nil, "", []int{fill, 100, 40, 20}, both, "[]"},
		{"in pieces", nil, "", []int{100, 250}, overloadFile, "[]"},
		{"more than 255 octets", nil, "", []int{300}, overloadFile, "[]"},
		{"in more pieces", nil, "", []int{100, 300}, both, "[]"},
		{"to the last octet", nil, "", []int{fill + 125 + 61}, both, "[]"},
		{"one octet more", nil, "", []int{fill + 125 + 61 + 1, 20}, 0, "[200]"},
		{"too many", nil, "", []int{fill, 120, 60, 50, 4}, both, "[203 204]"},
		{"a name in the field", nil, "pxelinux.0", []int{fill, 61}, overloadName, "[]"},
		{"a name in the field, and much", nil, "pxelinux.0", []int{fill, 62}, 0, "[201]"},
		{"a client that takes more", []dhcpv4.Modifier{size(1500)}, "", []int{250, 250, 250}, 0, "[]"},
		{"through a relay", []dhcpv4.Modifier{relayed}, "", []int{fill, 40}, overloadFile, "[]"},
		{"itself by name", []dhcpv4.Modifier{named}, "", []int{fill, 125}, overloadFile, "[]"},
		{"has an address", []dhcpv4.Modifier{informing}, "", []int{fill, 125}, overloadFile, "[]"},
		{"a ROM", []dhcpv4.Modifier{biosROM, size(576)}, "xcat/xnba.kpxe", []int{fill, 40}, 0, "[201]"},
		{"a ROM with nothing to boot", []dhcpv4.Modifier{biosROM, size(576)}, "", []int{fill, 100}, 0, "[201]"},
		{"iPXE", []dhcpv4.Modifier{xnba}, "http://10.1.0.1/script", []int{fill, 100}, 0, "[201]"},
		{"iPXE with nothing to boot", []dhcpv4.Modifier{xnba}, "", []int{fill, 100}, 0, "[201]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan := testPlan
			plan.File = tt.file
			raw := made(t, tt.mods...)
			var r request
			if err := r.parse(raw); err != nil {
				t.Fatal(err)
			}
			_, msg, _ := composed(t, raw, &plan)
			rest := r.limit - len(bytes.TrimRight(msg, "\x00")) + optionSize(r.relay) - 3 // for option 52
			plan.Options = make(map[uint8][]byte)
			for i, n := range tt.options {
				if n >= fill {
					n += rest - 2*((rest+256)/257) - fill
				}
				plan.Options[uint8(200+i)] = bytes.Repeat([]byte{'A' + byte(i)}, n)
			}
			kind, msg, lost := composed(t, raw, &plan)
			if kind != msgOffer && kind != msgAck {
				t.Fatalf("a reply of kind %d", kind)
			}
			if fmt.Sprint(lost) != tt.lost {
				t.Errorf("left out %v, want %s", lost, tt.lost)
			}
			got := aggregate(t, msg)
			fields := byte(0)
			if v := got[optOverload]; len(v) == 1 {
				fields = v[0]
			}
			if fields != tt.fields {
				t.Errorf("option 52 is %d, want %d", fields, tt.fields)
			}
			for _, code := range lost {
				delete(plan.Options, code)
			}
			for code, v := range plan.Options {
				if !bytes.Equal(got[code], v) {
					t.Errorf("option %d is %q, want %q", code, got[code], v)
				}
			}
			if name := string(bytes.TrimRight(msg[atFile:atCookie], "\x00")); fields&overloadFile == 0 && name != tt.file {
				t.Errorf("file %q, want %q", name, tt.file)
			}
			if len(msg)-optionSize(r.relay) > r.limit {
				t.Errorf("%d octets, of which the relay's are %d; the client takes %d", len(msg), optionSize(r.relay), r.limit)
			}
		})
	}
}

// composed is the reply to a request, without sockets.
func composed(t *testing.T, raw []byte, plan *netboot.Plan) (kind byte, msg []byte, lost []uint8) {
	t.Helper()
	x := new(exchange)
	x.n = copy(x.in[:], raw)
	x.src = netip.MustParseAddrPort("10.2.0.1:67")
	x.local = ourAddr
	k := &sock{mode: Authoritative}
	if err := x.parse(k); err != nil {
		t.Fatal(err)
	}
	m := x.machine(k)
	return x.reply(k, &m, plan)
}

// crowded is a plan that a message of 576 octets has no room for but in all of its
// fields, with the last option in pieces.
func crowded() netboot.Plan {
	p := testPlan
	p.Options = map[uint8][]byte{
		uint8(dhcpv4.OptionMeritDumpFile):                       []byte(strings.Repeat("dump", 20)),
		uint8(dhcpv4.OptionRootPath):                            []byte("10.1.0.1:" + strings.Repeat("/root", 20)),
		uint8(dhcpv4.OptionExtensionsPath):                      []byte("extensions/" + strings.Repeat("path", 20)),
		uint8(dhcpv4.OptionNetworkInformationServiceDomain):     []byte(strings.Repeat("nis.", 14) + "test"),
		uint8(dhcpv4.OptionNetworkInformationServicePlusDomain): []byte(strings.Repeat("plus.", 11) + "test"),
	}
	return p
}

// TestOverloadedClients: Debian's clients take what stands in all fields.
func TestOverloadedClients(t *testing.T) {
	lan := netboottest.NewLAN(t)
	p := crowded()
	serveOn(t, lan.NewHost(t, "10.1.0.1/16"), &Server{Planner: planFunc(func(context.Context, netboot.Machine) (*netboot.Plan, error) {
		return &p, nil
	})}, Authoritative)
	for _, tt := range []struct {
		client string
		args   []string
		names  map[uint8]string
	}{
		{"dhclient", []string{"-4", "-1", "-d", "-cf", "/dev/null", "-lf", filepath.Join(t.TempDir(), "leases"), "-pf", filepath.Join(t.TempDir(), "pid"), "-sf"},
			map[uint8]string{14: "new_merit_dump", 17: "new_root_path", 18: "new_extensions_path", 40: "new_nis_domain", 64: "new_nisplus_domain"}},
		{"udhcpc", []string{"-f", "-q", "-n", "-t", "10", "-i", "eth0", "-O", "nisdomain", "-O", "rootpath", "-s"}, map[uint8]string{17: "rootpath", 40: "nisdomain"}},
	} {
		t.Run(tt.client, func(t *testing.T) {
			bound := filepath.Join(t.TempDir(), "bound")
			if err := syscall.Mkfifo(bound, 0o600); err != nil {
				t.Fatal(err)
			}
			args := append(tt.args, script(t, "case \"$reason$1\" in BOUND|bound) env > "+bound+";; esac\n"))
			if tt.client == "dhclient" {
				args = append(args, "eth0")
			}
			cmd := exec.Command(netboottest.Binary(t, tt.client), args...)
			if err := lan.NewHost(t).Start(cmd); err != nil {
				t.Fatal(err)
			}
			defer func() { cmd.Process.Kill(); cmd.Wait() }()
			text, err := os.ReadFile(bound) // waits for the hook
			if err != nil {
				t.Fatal(err)
			}
			for code, name := range tt.names {
				if want := "\n" + name + "=" + string(p.Options[code]) + "\n"; !strings.Contains("\n"+string(text), want) {
					t.Errorf("it was not told%s%s", want, text)
				}
			}
		})
	}
}
