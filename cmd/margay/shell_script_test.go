package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"margay/provision/ssh"
)

// TestShellScript runs the sessions at the prompt in testdata/shell, whose
// nodes are addresses of loopback with OpenSSH's sshd behind them: `sshd`
// starts it, `sshd again` in another's place with other host keys.
func TestShellScript(t *testing.T) {
	if _, err := os.Stat(sshdPath()); err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatal("sshd is not installed (package openssh-server)")
		}
		t.Skip("sshd is not installed (package openssh-server)")
	}
	if os.Geteuid() != 0 {
		t.Skip("sshd lets others than itself in only when root runs it")
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/shell",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MARGAY_SOCKET", filepath.Join(env.WorkDir, "s"))
			env.Setenv("ME", me.Username)
			return expand(env.WorkDir, "synclist")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serveCmd, "stop": stopCmd, "sshd": sshdCmd, "cmp-sorted": sortedCmd, "status": statusCmd,
		},
	})
}

// expand puts the script's directory where a file of it says $WORK.
func expand(dir string, names ...string) error {
	for _, name := range names {
		name = filepath.Join(dir, name)
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(text), "$WORK", dir)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// statusCmd runs a command that is to end with a status: status 3 cmd...
func statusCmd(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s: exit status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func sshdPath() string {
	if p, err := exec.LookPath("sshd"); err == nil {
		return p
	}
	return "/usr/sbin/sshd"
}

// sshdCmd starts OpenSSH's sshd on a port of 127.0.0.1 to 127.0.0.3, which is
// then in $SSHD_PORT, and lets margay's key in.
func sshdCmd(ts *testscript.TestScript, neg bool, args []string) {
	dir, err := os.MkdirTemp(ts.Getenv("WORK"), "sshd")
	ts.Check(err)
	ts.Check(os.MkdirAll("/run/sshd", 0o755))
	_, public, err := ssh.LoadKey(ts.MkAbs("state/ssh/id_ecdsa"))
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "authorized"), []byte(public+"\n"), 0o600))
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "host")).CombinedOutput()
	if err != nil {
		ts.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	_, port, _ := net.SplitHostPort(freePort(ts))
	conf := []string{"HostKey " + filepath.Join(dir, "host"), "AuthorizedKeysFile " + filepath.Join(dir, "authorized"), "StrictModes no", "PidFile none", "UsePAM no", "PermitRootLogin yes", "SetEnv HOME=" + dir}
	for i := range 3 {
		conf = append(conf, fmt.Sprintf("ListenAddress 127.0.0.%d:%s", i+1, port))
	}
	ts.Check(os.WriteFile(filepath.Join(dir, "conf"), []byte(strings.Join(conf, "\n")+"\n"), 0o600))
	cmd := exec.Command(sshdPath(), "-D", "-e", "-f", filepath.Join(dir, "conf"))
	log, err := os.Create(filepath.Join(dir, "log"))
	ts.Check(err)
	cmd.Stderr, cmd.SysProcAttr = log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ts.Check(cmd.Start())
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	ts.Defer(func() {
		cmd.Process.Kill()
		<-done
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.3:"+port); err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			ts.Fatalf("sshd does not listen:\n%s", text)
		}
	}
	ts.Setenv("SSHD_PORT", port)
	ts.Setenv("DSH_NODE_OPTS", "-p "+port)
}
