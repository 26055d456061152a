package provision

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"margay/netboot"
	"margay/nodedb/nodedbtest"
)

// TestStatements: each statement says to each kind of machine what dhcpd
// would.
func TestStatements(t *testing.T) {
	bios := netboot.Machine{MAC: mac("52:54:00:00:00:01"), PXE: true, HasArch: true, Arch: 0, Class: "PXEClient:Arch:00000:UNDI:002001"}
	uefi := netboot.Machine{MAC: mac("52:54:00:00:00:02"), PXE: true, HasArch: true, Arch: 7, Class: "PXEClient:Arch:00007:UNDI:003016"}
	ipxe := netboot.Machine{MAC: mac("52:54:00:00:00:03"), PXE: true, Loader: true, HasArch: true, Arch: 7, Class: "PXEClient:Arch:00007:UNDI:003016", UserClass: "iPXE"}
	plain := netboot.Machine{MAC: mac("52:54:00:00:00:04"), Hostname: "os1"}
	for _, tt := range []struct {
		text string
		m    netboot.Machine
		want string // of the plan
	}{
		{``, plain, ""},
		{`option 150 10.1.0.9;`, plain, "150=0a010009"},
		{`option option-150 0a:01:00:09; # as octets`, plain, "150=0a010009"},
		{`option tftp-server-address 10.1.0.9, 10.1.0.10;`, plain, "150=0a0100090a01000a"},
		{`option ntp-servers 10.1.0.7;option root-path "nfs:/r";`, plain, "17=6e66733a2f72 42=0a010007"},
		{`option interface-mtu 9000; option ip-forwarding on; option arp-cache-timeout 60; option default-ip-ttl 64;`, plain, "19=01 23=40 26=2328 35=0000003c"},
		{`option domain-search "a.test", "b.test";`, plain, "119=0161047465737400" + "0162047465737400"},
		// PXELINUX's (RFC 5071): magic, configuration file, path prefix, reboot time.
		{`option pxelinux-magic f1:00:74:7e; option loader-configfile "cfg"; option loader-pathprefix "http://10.1.0.1/"; option loader-reboottime 30;`, plain,
			"208=f100747e 209=636667 210=687474703a2f2f31302e312e302e312f 211=0000001e"},
		{`option 208 f1:00:74:7e; option conf-file "cfg"; option path-prefix "/p/"; option reboot-time 30;`, plain, "208=f100747e 209=636667 210=2f702f 211=0000001e"},
		{`option 222 "x\x01\"y";`, plain, "222=78012279"},
		{`filename "other.efi"; next-server 10.1.0.8; default-lease-time 90;`, plain, "file=other.efi next=10.1.0.8 lease=1m30s"},
		{`if option client-architecture = 00:07 { filename "u"; } else { filename "b"; }`, uefi, "file=u"},
		{`if option client-architecture = 00:07 { filename "u"; } else { filename "b"; }`, bios, "file=b"},
		{`if option user-class = "iPXE" { filename "script"; } elsif option arch = 00:00 { filename "k"; } else { filename "e"; }`, ipxe, "file=script"},
		{`if option user-class = "iPXE" { filename "script"; } elsif option arch = 00:00 { filename "k"; } else if exists arch { filename "e"; }`, uefi, "file=e"},
		{`if substring(option vendor-class-identifier, 0, 9) = "PXEClient" and not option user-class = "iPXE" { option 150 1; }`, bios, "150=01"},
		{`if substring(option vendor-class-identifier, 0, 9) = "PXEClient" and not option user-class = "iPXE" { option 150 1; }`, ipxe, ""},
		{`if exists user-class or (hardware = 1:52:54:0:0:0:4 and option host-name != "os2") { option 150 ff; }`, plain, "150=ff"},
		{`if suffix(option 60, 3) = "016" { option 150 2; }`, uefi, "150=02"},
		{`deny booting;`, bios, "denied"},
		{`deny booting;`, plain, ""},
		{`allow booting;`, bios, ""},
	} {
		st, err := ParseStatements(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		var p netboot.Plan
		st.apply(&p, tt.m)
		if got := planText(p); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.text, got, tt.want)
		}
	}
}

func planText(p netboot.Plan) string {
	var out []string
	for code := range 256 {
		if b, ok := p.Options[uint8(code)]; ok {
			out = append(out, fmt.Sprintf("%d=%x", code, b))
		}
	}
	if p.File != "" {
		out = append(out, "file="+p.File)
	}
	if p.Next.IsValid() {
		out = append(out, "next="+p.Next.String())
	}
	if p.Lease != 0 {
		out = append(out, "lease="+p.Lease.String())
	}
	if p.Denied {
		out = append(out, "denied")
	}
	return strings.Join(out, " ")
}

// TestStatementsRefused: what would not be honoured is an error that names it.
func TestStatementsRefused(t *testing.T) {
	for text, want := range map[string]string{
		`fixed-address 10.1.0.9;`:                            "set ip and mac with chdef",
		`ddns-hostname "x";`:                                 "ddns-hostname",
		`option no-such-thing 1;`:                            "no-such-thing",
		`option 300 1;`:                                      "300",
		`option 255 1;`:                                      "255",
		`option dhcp-lease-time 5;`:                          "say default-lease-time",
		`option 53 5;`:                                       "it is the message's own",
		`option routers 10.1.0;`:                             `"10.1.0" is not an IPv4 address`,
		`option routers "10.1.0.1";`:                         "not an IPv4 address",
		`option interface-mtu 70000;`:                        "not a number of 16 bits",
		`option 150 10.1.0.9`:                                `it ends where ";" is wanted`,
		`option host-name "a", "b";`:                         "takes one value",
		`filename boot;`:                                     "quotation marks",
		`filename "boot;`:                                    "without its end",
		`deny unknown-clients;`:                              "only booting",
		`if option user-class = "x" { filename "y"; `:        `it ends where "}" is wanted`,
		`if option root-path = "x" { }`:                      "conditions look at options",
		`if known { }`:                                       "known",
		`}`:                                                  "closes nothing",
		`class "x" { match if true; }`:                       "class",
		strings.Repeat(`if option 60 = "a" { `, 30):          "nested too deeply",
		`if ` + strings.Repeat("(", 30) + `option 60 = "a"`:  "nested too deeply",
		`if ` + strings.Repeat("not ", 30) + `exists 60 { }`: "nested too deeply",
	} {
		if _, err := ParseStatements(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestPlanStatements: a network's word, then the node's, which a machine of
// neither hears; and a text that nobody understands is no answer but a reason.
func TestPlanStatements(t *testing.T) {
	s, _ := newService(t)
	dynamicNet(t, s)
	nodedbtest.Put(t, s.DB, nodedbtest.Site("dhcpstatements", `option 150 10.1.0.8; default-lease-time 300;`))
	nodedbtest.Put(t, s.DB, nodedbtest.Site("dhcpstatements.net1", `option 150 10.1.0.9;`))
	nodedbtest.Put(t, s.DB, nodedbtest.Node("st1", "all", "hosts.ip=10.1.0.51", "mac.mac=52:54:00:00:05:01",
		`bootparams.adddhcpstatements=option 150 10.1.0.10; if option user-class = "test" { filename "mine"; }`))
	ask := netboot.Machine{MAC: mac("52:54:00:00:05:01"), Local: server, Ask: netboot.AskDiscover, UserClass: "test"}
	p, err := s.Plan(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Options[150]; !bytes.Equal(got, []byte{10, 1, 0, 10}) || p.File != "mine" || p.Lease != 300*time.Second {
		t.Errorf("the node: option 150 %v, file %q, lease %v", got, p.File, p.Lease)
	}
	p, err = s.Plan(t.Context(), stranger(1, netboot.AskDiscover))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Options[150]; !bytes.Equal(got, []byte{10, 1, 0, 9}) || p.File == "mine" {
		t.Errorf("a stranger: option 150 %v, file %q", got, p.File)
	}
	nodedbtest.Put(t, s.DB, nodedbtest.Node("st1", "all", "hosts.ip=10.1.0.51", "mac.mac=52:54:00:00:05:01", `bootparams.dhcpstatements=opshun 150;`))
	var no *netboot.Refusal
	if _, err := s.Plan(t.Context(), ask); !errors.As(err, &no) || no.Node != "st1" || !strings.Contains(no.Reason, "opshun") {
		t.Errorf("a text that is none: %v", err)
	}
	snap := s.DB.Snapshot()
	n, err := snap.Node("st1")
	if err != nil {
		t.Fatal(err)
	}
	if err := StatementProblem(snap, snap.NetworkOf(netip.MustParseAddr("10.1.0.51")), n); err == nil || !strings.Contains(err.Error(), "node st1: bootparams.dhcpstatements") {
		t.Errorf("%v", err)
	}
}

// FuzzStatements: whatever is typed is understood or refused, in time.
func FuzzStatements(f *testing.F) {
	f.Add(`option 150 10.1.0.9; if substring(option 60, 0, 9) = "PXEClient" and not exists 77 { filename "x\x00"; } elsif hardware = 1:2 { deny booting; } else { next-server 1.2.3.4; }`)
	f.Add(`if (((option 93 = 00:07))) { option domain-search "a.b", "c"; }`)
	m := netboot.Machine{MAC: mac("52:54:00:00:00:01"), PXE: true, Class: "PXEClient", UserClass: "x", HasArch: true, Arch: 7}
	f.Fuzz(func(t *testing.T, text string) {
		st, err := ParseStatements(text)
		if err != nil {
			return
		}
		var p netboot.Plan
		st.apply(&p, m)
		for code, b := range p.Options {
			if ownOptions[code] != "" || code == 0 || code == 255 || len(b) > 1024 {
				t.Errorf("%q sets option %d to %d octets", text, code, len(b))
			}
		}
	})
}
