package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

const unitFile, unitDefaults = "../../packaging/margay.service", "../../packaging/margay.default"

// A unit is what a unit file sets, by key; lists may be set several times.
type unit map[string][]string

func readUnit(t *testing.T, path string) unit {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	u := unit{}
	for _, line := range strings.Split(string(b), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			u[key] = append(u[key], strings.Fields(value)...)
		}
	}
	return u
}

// writable says whether the sandbox lets the daemon write a file.
func (u unit) writable(path string) bool {
	var roots []string
	for _, d := range u["StateDirectory"] {
		roots = append(roots, "/var/lib/"+d)
	}
	for _, d := range u["ConfigurationDirectory"] {
		roots = append(roots, "/etc/"+d)
	}
	for _, d := range u["ReadWritePaths"] {
		roots = append(roots, strings.TrimPrefix(d, "-"))
	}
	return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
}

// The service is started again when it fails, has the limits and the rights
// that it needs, and may write what it keeps: where the daemon's own defaults
// say that this is.
func TestUnitFile(t *testing.T) {
	u := readUnit(t, unitFile)
	for key, want := range map[string]string{
		"Restart": "on-failure", "StartLimitIntervalSec": "0", "LimitNOFILE": "524288", "LimitCORE": "0", "ProtectSystem": "strict", "NoNewPrivileges": "yes",
		"EnvironmentFile": "-/etc/default/margay", "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE CAP_NET_RAW",
	} {
		if got := strings.Join(u[key], " "); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	flags := serveFlags()
	for _, path := range []string{flags.Lookup("state").DefValue, flags.Lookup("templates").DefValue, flags.Lookup("hooks").DefValue, defaultSocket, "/install"} {
		if !u.writable(path) {
			t.Errorf("%s cannot be written", path)
		}
	}
	for _, path := range []string{"/etc/shadow", "/usr/bin/margay", "/etc/hosts"} {
		if u.writable(path) {
			t.Errorf("%s can be written", path)
		}
	}
	u["ReadWritePaths"] = append(u["ReadWritePaths"], "/etc") // as the error of makehosts advises
	if !u.writable("/etc/hosts") || !u.writable("/etc/hosts.xcatbak") {
		t.Error("a hosts file cannot be written even with its directory in ReadWritePaths")
	}
}

func serveFlags() *pflag.FlagSet {
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	(&settings{}).flags(f)
	return f
}

// Every command line that the unit file and its defaults have or propose is one
// that margay serve takes.
func TestUnitFlags(t *testing.T) {
	start := readUnit(t, unitFile)["ExecStart"]
	if len(start) < 2 || start[0] != "/usr/bin/margay" || start[1] != "serve" {
		t.Fatalf("ExecStart=%v", start)
	}
	b, err := os.ReadFile(unitDefaults)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, line := range strings.Split(string(b), "\n") {
		opts, ok := strings.CutPrefix(strings.TrimPrefix(line, "#"), "MARGAY_OPTS=")
		if !ok {
			continue
		}
		lines++
		var args []string
		for _, word := range start[2:] {
			if word == "$MARGAY_OPTS" {
				args = append(args, strings.Fields(strings.Trim(opts, `"`))...)
			} else {
				args = append(args, word)
			}
		}
		f := serveFlags()
		if err := f.Parse(args); err != nil || f.NArg() > 0 {
			t.Errorf("margay serve %q: %v, %q left over", args, err, f.Args())
		}
	}
	if lines < 2 {
		t.Errorf("%d command lines in %s", lines, unitDefaults)
	}
}

// systemd understands all of the unit file, with what makehosts advises too.
func TestUnitVerify(t *testing.T) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal("systemd-analyze is missing: .ci/packages test")
		}
		t.Skip("needs systemd-analyze, of Debian's package systemd")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(text string) string {
		path := filepath.Join(t.TempDir(), "margay.service")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program, "verify", "--man=no", path).CombinedOutput()
		if err != nil {
			return string(out) + err.Error()
		}
		return string(out)
	}
	text := strings.Replace(string(b), "/usr/bin/margay", self, 1) // which need not be installed
	if out := verify(text); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	if out := verify(strings.Replace(text, "[Install]", "ReadWritePaths=/etc\n\n[Install]", 1)); out != "" {
		t.Errorf("systemd-analyze verify with ReadWritePaths=/etc: %s", out)
	}
	if out := verify(strings.Replace(text, "Restart=", "Restarts=", 1)); !strings.Contains(out, "Restarts") {
		t.Errorf("systemd-analyze verify passes what it does not know: %s", out)
	}
}
