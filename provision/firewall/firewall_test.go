package firewall

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sent are what a boot server is sent, and whether by an interface that rules
// name.
var sent = map[string]Packet{
	"dhcp":        {Proto: "udp", Port: 67, Interface: "eth0"},
	"tftp":        {Proto: "udp", Port: 69, Interface: "eth0"},
	"tftp answer": {Proto: "udp", Port: 40000, Interface: "eth0", Answer: true},
	"http":        {Proto: "tcp", Port: 80, Interface: "eth0"},
	"elsewhere":   {Proto: "udp", Port: 67, Interface: "eth1"},
}

// cases are rules in both languages, with what becomes of each packet; what is
// not named is let in.
var cases = []struct {
	name     string
	nft      string
	iptables string
	want     map[string]Verdict
}{
	{"nothing", "", "", nil},
	{"a list of what may", `
		chain input { type filter hook input priority 0; policy drop;
			ct state established,related accept
			iifname lo accept
			iifname "eth0" udp dport { 67, 69 } counter accept
			tcp dport 22 accept
		}`, `
-P INPUT DROP
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -i eth0 -p udp -m multiport --dports 67,69 -m comment --comment "for boots" -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT`,
		map[string]Verdict{"http": Drop, "elsewhere": Drop}},
	{"a list of what may not", `
		chain input { type filter hook input priority 0; policy accept;
			udp dport 60-70 drop
		}`, `
-A INPUT -p udp -m udp --dport 60:70 -j DROP`,
		map[string]Verdict{"dhcp": Drop, "tftp": Drop, "elsewhere": Drop}},
	{"chains that call one another", `
		chain boots { tcp dport 80 accept
			udp dport != 69 return
			accept
		}
		chain input { type filter hook input priority 0; policy accept;
			ct state established accept
			jump boots
			reject
		}`, `
-N boots
-A boots -p tcp -m tcp --dport 80 -j ACCEPT
-A boots -p udp -m udp ! --dport 69 -j RETURN
-A boots -j ACCEPT
-A INPUT -m state --state ESTABLISHED -j ACCEPT
-A INPUT -j boots
-A INPUT -j REJECT --reject-with icmp-port-unreachable`,
		map[string]Verdict{"dhcp": Drop, "elsewhere": Drop}},
	{"by source address", `
		chain input { type filter hook input priority 0; policy drop;
			ip saddr 10.0.0.0/8 accept
			udp dport 67 accept
		}`, `
-P INPUT DROP
-A INPUT -s 10.0.0.0/8 -j ACCEPT
-A INPUT -p udp -m udp --dport 67 -j ACCEPT`,
		map[string]Verdict{"http": Open, "tftp": Open, "tftp answer": Open}},
	{"answers are forgotten", `
		chain input { type filter hook input priority 0; policy drop;
			udp dport { 67, 69 } accept
			tcp dport { 53, 80 } accept
		}`, `
-P INPUT DROP
-A INPUT -p udp -m multiport --dports 67,69 -j ACCEPT
-A INPUT -p tcp -m multiport --dports 53,80 -j ACCEPT`,
		map[string]Verdict{"tftp answer": Drop}},
}

// TestRealRules has the kernel take the rules, and judges what the programs
// then print of them.
func TestRealRules(t *testing.T) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Run("nft", func(t *testing.T) {
				ownNetwork(t)
				load(t, "table inet filter {"+tt.nft+"\n}\n", "nft", "-f", "-")
				judge(t, tt.want)
			})
			t.Run("iptables", func(t *testing.T) {
				ownNetwork(t)
				for line := range strings.SplitSeq(strings.TrimSpace(tt.iptables), "\n") {
					if line != "" {
						load(t, "*filter\n"+line+"\nCOMMIT\n", "iptables-restore", "--noflush")
					}
				}
				judge(t, tt.want)
			})
		})
	}
}

func judge(t *testing.T, want map[string]Verdict) {
	t.Helper()
	rules, err := Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range sent {
		got, why := Accept, ""
		for _, r := range rules {
			if v, at := r.Judge(p); v != Accept {
				got, why = v, at
			}
		}
		if got != want[name] {
			t.Errorf("%s: %v (%s), want %v", name, got, why, want[name])
		}
		if got == Drop && why == "" {
			t.Errorf("%s: dropped, and not said by what", name)
		}
	}
}

// ownNetwork moves the test into a network of its own, for good: its thread
// ends with it.
func ownNetwork(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, text, name string, args ...string) {
	t.Helper()
	if os.Getenv("PATH") != "" {
		t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	}
	cmd := exec.Command(name, args...)
	if errors.Is(cmd.Err, exec.ErrNotFound) {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal(cmd.Err)
		}
		t.Skip(cmd.Err)
	}
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "not supported") || strings.Contains(string(out), "No such file or directory") {
			t.Skipf("this kernel cannot: %s", out)
		}
		t.Fatalf("%s: %v\n%s\n%s", name, err, out, text)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"nftables":[{"chain":{"family":"inet","table":"f","name":"input","type":"filter","hook":"input","policy":"drop"}},{"rule":{"family":"inet","table":"f","chain":"input","expr":[{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":{"set":[67,{"range":[1,5]}]}}},{"vmap":{"key":{"meta":{"key":"iifname"}},"data":{"set":[["lo",{"accept":null}],["x",{"jump":{"target":"input"}}]]}}}]}}]}`))
	f.Add([]byte("*filter\n:INPUT DROP [0:0]\n-A INPUT -p udp -m comment --comment \"a b\" ! --dport 1:5 -j INPUT\nCOMMIT\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := ParseNFT(text); err == nil {
			r.Judge(sent["dhcp"])
		}
		ParseIPTables(text).Judge(sent["http"])
	})
}
