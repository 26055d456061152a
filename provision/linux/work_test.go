package linux

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"margay/netboot"
	"margay/provision"
)

// worksite is a site with a system for work, a postscript and a medium.
func worksite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	for name, text := range map[string]string{
		"genesis/x86_64/kernel": "kernel", "genesis/x86_64/initrd.gz": "initrd", "genesis/x86_64/programs": "sh\nwget\nipmitool\n",
		"memtest/x86_64/memtest86+x64.bin": "bios", "postscripts/hello": "#!/bin/sh\n",
	} {
		file := filepath.Join(s.state, "install", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.copycds(t, "debian11")
	return s
}

func (s *site) chain(t *testing.T, word string) (string, error) {
	t.Helper()
	act, err := provision.ParseAction(word)
	if err != nil {
		return "", err
	}
	res, err := s.Nodeset(context.Background(), []string{"vm1"}, act)
	if err != nil {
		t.Fatal(err)
	}
	return res[0].State, res[0].Err
}

// field is a value of the node's destiny.
func (s *site) field(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(s.get(t, "boot/vm1/destiny"))
	if m == nil {
		t.Fatalf("no %s in %s", name, s.get(t, "boot/vm1/destiny"))
	}
	return m[1]
}

func (s *site) tell(word, body string, t *testing.T) error {
	t.Helper()
	say := strings.TrimPrefix(s.field(t, "say"), "http://10.1.0.1/")
	return s.Receive(context.Background(), s.node, say+"/"+word, strings.NewReader(body))
}

func (s *site) attr(t *testing.T, column string) string {
	t.Helper()
	n, err := s.db.Snapshot().Node("vm1")
	if err != nil {
		t.Fatal(err)
	}
	return n.Attr(column)
}

// TestChainOfSteps walks a chain by a machine's words.
func TestChainOfSteps(t *testing.T) {
	s := worksite(t)
	state, err := s.chain(t, "runcmd=hello 1,runimage=http://10.1.0.9/a.tgz,osimage=debian11-x86_64-install-compute,shell")
	if err != nil || state != "runcmd=hello 1" {
		t.Fatalf("nodeset: %q, %v", state, err)
	}
	script := s.get(t, "boot/vm1/script")
	for _, want := range []string{"#runcmd=hello 1\n", "kernel http://10.1.0.1/install/genesis/x86_64/kernel initrd=initrd.gz margay.work=http://10.1.0.1/boot/vm1 "} {
		if !strings.Contains(script, want) {
			t.Errorf("no %q in\n%s", want, script)
		}
	}
	if strings.Contains(script, "?t=") {
		t.Error("a token on the kernel's command line, which the system for work has no need of")
	}
	job := s.get(t, s.field(t, "run"))
	for _, want := range []string{"NODE='vm1'; ", "postscripts.tgz", "'hello' '1'\n"} {
		if !strings.Contains(job, want) {
			t.Errorf("no %q in\n%s", want, job)
		}
	}
	var refusal *netboot.Refusal
	if _, err := s.open("boot/vm1/work.sh"); !errors.As(err, &refusal) {
		t.Errorf("the job without a token: %v", err)
	}
	first := s.field(t, "id")
	for range 2 { // the answer to the first may be lost
		if err := s.tell("next", first+"\n", t); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.attr(t, "chain.currstate"); got != "runimage=http://10.1.0.9/a.tgz" {
		t.Fatalf("after next: %q", got)
	}
	if got := s.get(t, s.field(t, "run")); !strings.Contains(got, "'http://10.1.0.9/a.tgz'") || !strings.Contains(got, "./runme.sh") {
		t.Errorf("runimage: %s", got)
	}
	if err := s.tell("working", s.field(t, "id")+"\n", t); err != nil {
		t.Fatal(err)
	}
	if got := s.attr(t, "nodelist.status"); got != "configuring" {
		t.Errorf("status: %q", got)
	}
	if err := s.tell("undone", s.field(t, "id")+"\nexit status 2", t); err != nil {
		t.Fatal(err)
	}
	if got := s.attr(t, "nodelist.status") + " " + s.attr(t, "chain.currstate"); got != "failed runimage=http://10.1.0.9/a.tgz" {
		t.Errorf("after a step that failed: %q", got)
	}
	if err := s.tell("next", s.field(t, "id")+"\n", t); err != nil {
		t.Fatal(err)
	}
	if got := s.field(t, "step"); got != "leave" {
		t.Errorf("to install it boots again; told %q", got)
	}
	if got := s.attr(t, "chain.currstate") + "|" + s.attr(t, "chain.currchain"); got != "install debian11-x86_64-compute|shell" {
		t.Fatalf("got %q", got)
	}
	say := func(step string) {
		t.Helper()
		token := strings.TrimPrefix(regexp.MustCompile(`\?t=\S+`).FindString(s.get(t, "boot/vm1/script")), "?t=")
		if err := s.Receive(context.Background(), s.node, "callback/"+token+"/"+step, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
	}
	say("installed")
	if got := s.attr(t, "chain.currstate") + "|" + s.attr(t, "chain.currchain"); got != "shell|shell" {
		t.Errorf("after the install: %q", got)
	}
}

// TestChainBeginsWhole: a chain with a step that cannot be is refused before
// anything changes.
func TestChainBeginsWhole(t *testing.T) {
	s := worksite(t)
	for word, want := range map[string]string{
		"runcmd=hello,osimage=nothing": "step 2, osimage=nothing: Cannot find the OS image nothing",
		"runcmd=absent":                "absent is neither in postscripts",
		"shell,runcmd=absent":          "step 2, runcmd=absent: ",
		"runcmd=https://a/b":           "https",
		`runcmd=http://a/b"c`:          "not an address",
		"runimage=a.tgz":               "not an address",
		"runimage=http://a/b c":        "one address",
		"runcmd=../etc/passwd":         "not a command's name",
		"runcmd=sh ${net0/mac}":        "iPXE script",
		"shell,bogus":                  "Invalid argument: 'bogus'",
		"runcmd=":                      "Invalid argument: 'runcmd='",
		",":                            "Invalid argument: ','",
		"osimage=debian11-x86_64-install-compute,runcmd": "Invalid argument: 'runcmd'",
	} {
		if _, err := s.chain(t, word); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", word, err, want)
		}
	}
	if got := s.attr(t, "chain.currstate"); got != "" {
		t.Errorf("currstate is %q", got)
	}
}

// TestLastStep: what a machine is in stays; what it does is done once.
func TestLastStep(t *testing.T) {
	s := worksite(t)
	next := func() string {
		t.Helper()
		res, err := s.Next(context.Background(), []string{"vm1"})
		if err != nil || res[0].Err != nil {
			t.Fatal(err, res)
		}
		return res[0].State
	}
	for _, tt := range []struct{ chain, then, after string }{
		{"runcmd=hello", "standby", "standby"},
		{"runcmd=hello,boot", "boot", "boot"},
		{"reboot", "standby", "standby"},
		{"memtest,runcmd=sh", "runcmd=sh", "standby"},
		{"shell,standby", "standby", "standby"},
	} {
		if _, err := s.chain(t, tt.chain); err != nil {
			t.Fatal(err)
		}
		if a, b := next(), next(); a != tt.then || b != tt.after {
			t.Errorf("%s: then %q, then %q; want %q, %q", tt.chain, a, b, tt.then, tt.after)
		}
	}
}

// TestStaleStep: a word about a step that no longer stands changes nothing, and
// a step that cannot be made ready leaves the machine standing by.
func TestStaleStep(t *testing.T) {
	s := worksite(t)
	if _, err := s.chain(t, "runcmd=hello,osimage=debian11-x86_64-install-compute"); err != nil {
		t.Fatal(err)
	}
	old := s.field(t, "id")
	if _, err := s.chain(t, "runcmd=hello,osimage=debian11-x86_64-install-compute"); err != nil {
		t.Fatal(err)
	}
	if s.field(t, "id") == old {
		t.Fatal("the same id for a step that was ordered again")
	}
	if err := s.tell("next", old+"\n", t); err != nil {
		t.Fatal(err)
	}
	if got := s.attr(t, "chain.currstate"); got != "runcmd=hello" {
		t.Errorf("an old word moved it to %q", got)
	}
	if err := os.RemoveAll(filepath.Join(s.state, "install", "debian11")); err != nil {
		t.Fatal(err)
	}
	if err := s.tell("next", s.field(t, "id")+"\n", t); err != nil {
		t.Fatal(err)
	}
	if got := s.attr(t, "chain.currstate") + " " + s.attr(t, "nodelist.status"); got != "standby failed" {
		t.Errorf("with nothing to install from: %q", got)
	}
}

// TestWorkSaysWhatIsMissing: the way out is in the error.
func TestWorkSaysWhatIsMissing(t *testing.T) {
	s := newSite(t)
	for word, want := range map[string]string{"shell": "mknb x86_64", "memtest": "mknb x86_64 --memtest"} {
		if _, err := s.chain(t, word); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", word, err, want)
		}
	}
}
