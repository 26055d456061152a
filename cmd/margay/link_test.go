package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
)

// startOn starts the daemon on a host, with a state of its own, until it is
// ready; what it says and logs is in the buffer.
func startOn(t *testing.T, h *netboottest.Host, flags ...string) (*server, *lockedBuffer) {
	t.Helper()
	return startIn(t, h, t.TempDir(), flags...)
}

// startIn is startOn with the state that is in a directory.
func startIn(t *testing.T, h *netboottest.Host, dir string, flags ...string) (*server, *lockedBuffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, ended: make(chan struct{})}
	s.cmd = exec.Command(exe, append([]string{"serve", "--state", filepath.Join(s.dir, "state"), "--socket", s.socket(), "--dns", "off"}, flags...)...)
	s.cmd.Env = append(os.Environ(), runAsMargay+"=1")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &lockedBuffer{}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := h.Start(s.cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the daemon said:\n%s", out)
		}
	})
	says(t, out, "ready\n", time.Minute)
	return s, out
}

// says waits until a buffer has some words.
func says(t *testing.T, out *lockedBuffer, words string, limit time.Duration) {
	t.Helper()
	for end := time.Now().Add(limit); !strings.Contains(out.String(), words); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not say %q", words)
		}
	}
}

// on runs a program on a host to its end.
func on(t *testing.T, h *netboottest.Host, words ...string) string {
	t.Helper()
	cmd := exec.Command(netboottest.Binary(t, words[0]), words[1:]...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Run(cmd); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out.String())
	}
	return out.String()
}

// lease has dhclient ask on a host until it is given an address, and returns
// what it was told.
func lease(t *testing.T, h *netboottest.Host) string {
	t.Helper()
	dhclient := netboottest.Binary(t, "dhclient")
	dir := t.TempDir()
	told, script, conf := filepath.Join(dir, "told"), filepath.Join(dir, "script"), filepath.Join(dir, "conf")
	for name, text := range map[string]string{
		script: "#!/bin/sh\ncase $reason in BOUND|REBOOT) env > " + told + ".new && mv " + told + ".new " + told + " ;; esac\n",
		conf:   "timeout 60; initial-interval 1; backoff-cutoff 2; retry 1;\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(dhclient, "-4", "-1", "-d", "-v", "-sf", script, "-cf", conf, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "eth0")
	var said lockedBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill() // and it gives nothing back
		cmd.Wait()
	}()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if text, err := os.ReadFile(told); err == nil && strings.Contains(string(text), "new_dhcp_server_identifier=") {
			return string(text)
		}
	}
	t.Fatalf("dhclient is given nothing:\n%s", said.String())
	return ""
}

// TestLinkChanges: while the daemon serves, its interface gets another address,
// goes down and up, and is taken away and put back; each time machines are
// served on, by the address that is there then: by DHCP, TFTP and HTTP, and by
// HTTPS with a certificate for it. Nothing is started anew.
func TestLinkChanges(t *testing.T) {
	lan := netboottest.NewLAN(t)
	ours, client := lan.NewHost(t, "10.5.0.1/24"), lan.NewHost(t)
	s, out := startOn(t, ours, "--interface", "eth0", "--https", ":443")
	authority := filepath.Join(s.dir, "ca.pem")
	s.must("mkdef", "n1", "groups=all", "ip=10.5.0.50", "mac="+client.MAC("eth0").String())
	served := func(by string) {
		t.Helper()
		told := lease(t, client)
		for end := time.Now().Add(time.Minute); !strings.Contains(told, "new_dhcp_server_identifier="+by+"\n") && time.Now().Before(end); {
			told = lease(t, client) // the daemon looks for its addresses from time to time
		}
		for _, want := range []string{"new_ip_address=10.5.0.50\n", "new_dhcp_server_identifier=" + by + "\n", "new_routers=" + by + "\n"} {
			if !strings.Contains(told, want) {
				t.Errorf("want %s of %s", want, told)
			}
		}
		on(t, client, "ip", "address", "replace", "10.5.0.50/24", "dev", "eth0")
		if _, err := os.Stat(authority); err != nil {
			on(t, client, "curl", "-sS", "-m", "60", "-o", authority, "http://"+by+"/tls/ca.pem")
		}
		sizes := map[string]bool{}
		for _, url := range []string{"http://" + by + "/tftpboot/xcat/xnba.efi", "https://" + by + "/tftpboot/xcat/xnba.efi", "tftp://" + by + "/xcat/xnba.efi"} {
			sizes[on(t, client, "curl", "-sS", "-m", "60", "--retry", "20", "--retry-all-errors", "--retry-delay", "1", "--cacert", authority, "-o", "/dev/null", "-w", "%{size_download}", url)] = true
		}
		if len(sizes) != 1 || sizes["0"] {
			t.Errorf("at %s the loader has sizes %v", by, sizes)
		}
	}
	served("10.5.0.1")

	on(t, ours, "ip", "address", "add", "10.5.0.3/24", "dev", "eth0")
	on(t, ours, "ip", "address", "del", "10.5.0.1/24", "dev", "eth0")
	on(t, ours, "ip", "address", "replace", "10.5.0.3/24", "dev", "eth0") // the first one's going may take it along
	served("10.5.0.3")
	found := func(want string) {
		t.Helper()
		text := ""
		eventually(t, "doctor says "+want, func() bool {
			text, _ = s.do("doctor", "--quick")
			return strings.Contains(text, want)
		})
	}
	found("ok   interface eth0: 10.5.0.3/24, network 10_5_0_0-255_255_255_0\n")

	on(t, ours, "ip", "link", "set", "eth0", "down")
	on(t, ours, "ip", "link", "set", "eth0", "up")
	if err := ours.Up("eth0"); err != nil {
		t.Fatal(err)
	}
	served("10.5.0.3")

	on(t, ours, "ip", "link", "del", "eth0")
	says(t, out, "the interface is gone", time.Minute)
	found("FAIL interface eth0: it is not there; plug it in, or ip link set eth0 up\n")
	if err := lan.Attach(ours, "eth0", "10.5.0.4/24"); err != nil {
		t.Fatal(err)
	}
	says(t, out, "the interface is back", time.Minute)
	served("10.5.0.4")
	found("ok   interface eth0: 10.5.0.4/24, network 10_5_0_0-255_255_255_0\n")
}

// TestForeignLater: a server that is started beside ours is named, by address
// and identifier, in the log once however many machines take its offers, in the
// timeline of a node that it wins, and by doctor; and also where no machine says
// a word.
func TestForeignLater(t *testing.T) {
	for _, tt := range []struct {
		name     string
		machines bool
	}{{"machines say so", true}, {"nobody says so", false}} {
		t.Run(tt.name, func(t *testing.T) {
			lan := netboottest.NewLAN(t)
			other, ours, client := lan.NewHost(t, "10.5.0.2/24"), lan.NewHost(t, "10.5.0.1/24"), lan.NewHost(t)
			s, out := startOn(t, ours, "--interface", "eth0")
			s.must("mkdef", "won", "groups=all", "mac="+client.MAC("eth0").String()) // with no ip: we are silent
			if !tt.machines {
				s.must("chtab", "key=dhcpforeigncheck", "site.value=1")
			}
			dnsmasq := exec.Command(netboottest.Binary(t, "dnsmasq"), "-p", "0", "--no-daemon", "--conf-file=/dev/null", "--interface=eth0", "--dhcp-range=10.5.0.100,10.5.0.200", "--dhcp-leasefile=/dev/null", "--no-ping")
			if err := other.Start(dnsmasq); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				dnsmasq.Process.Kill()
				dnsmasq.Wait()
			})
			if tt.machines {
				for range 2 {
					if told := lease(t, client); !strings.Contains(told, "new_dhcp_server_identifier=10.5.0.2\n") {
						t.Fatalf("it is told\n%s", told)
					}
				}
			}
			const words = "another DHCP server gives addresses here"
			says(t, out, words, 60*time.Second)
			s.must("lsdef", "won") // and the log has been written that far
			if n := strings.Count(out.String(), words); n != 1 || !strings.Contains(out.String(), "interface=eth0 server=10.5.0.2") || tt.machines && !strings.Contains(out.String(), "mac="+client.MAC("eth0").String()) {
				t.Errorf("said %d times:\n%s", n, out)
			}
			if text, _ := s.do("doctor"); !strings.Contains(text, "FAIL other DHCP servers on eth0: 10.5.0.2 answers there; stop it, or serve with --interface eth0=proxy") {
				t.Errorf("doctor does not name it:\n%s", text)
			}
			if !tt.machines {
				return
			}
			text, won := "", "it took what 10.5.0.2 offered, another DHCP server on eth0"
			eventually(t, "the timeline says so", func() bool {
				text = s.must("watch", "won", "--once")
				return strings.Contains(text, won)
			})
			if n := strings.Count(text, won); n != 1 {
				t.Errorf("the timeline says so %d times:\n%s", n, text)
			}
		})
	}
}
