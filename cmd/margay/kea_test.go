package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"margay/netboot/netboottest"
	"margay/netboot/rom"
)

// TestProxyKea: beside Kea, which gives the addresses, margay tells machines what
// to boot: firmware of each kind takes both and boots, a host that boots from its
// disk hears Kea alone, and doctor names it.
func TestProxyKea(t *testing.T) {
	lan := netboottest.NewLAN(t)
	other, ours := lan.NewHost(t, "10.5.0.2/24"), lan.NewHost(t, "10.5.0.1/24")
	machine, host := lan.NewHost(t), lan.NewHost(t)
	startKea(t, other, machine.MAC("eth0").String())
	s, said := startOn(t, ours, "--interface", "eth0=proxy")
	says(t, said, "dhcp   eth0 10.5.0.1/24, proxy: boot files only\n", time.Minute)
	const want = "ok   other DHCP servers on eth0: 10.5.0.2 answers there, as it should in proxy mode"
	if text, _ := s.do("doctor"); !strings.Contains(text, want) {
		t.Errorf("doctor says\n%s\nwant %q", text, want)
	}
	s.must("mkdef", "n1", "groups=all", "ip=10.5.0.30", "mac="+machine.MAC("eth0").String())
	s.must("nodeset", "n1", "boot")
	for _, firmware := range []rom.Firmware{rom.BIOS, rom.UEFI, rom.UEFIHTTP} {
		t.Run(string(firmware), func(t *testing.T) { bootBesideKea(t, machine, firmware) })
	}
	t.Run("host", func(t *testing.T) {
		out := dhclientSays(t, host)
		if !strings.Contains(out, "new_dhcp_server_identifier=10.5.0.2\n") || !strings.Contains(out, "new_ip_address=10.5.0.1") || strings.Contains(out, "new_filename=") {
			t.Errorf("it was told\n%s", out)
		}
	})
	if text := s.must("leases", "--all"); text != "" {
		t.Errorf("a proxy has given leases:\n%s", text)
	}
	if text, _ := s.do("doctor"); strings.Contains(text, "FAIL other DHCP") {
		t.Errorf("and then doctor says\n%s", text)
	}
}

// bootBesideKea has firmware that is played take Kea's address and our boot file.
func bootBesideKea(t *testing.T, h *netboottest.Host, firmware rom.Firmware) {
	var leases []rom.Lease
	m := &rom.Machine{MAC: h.MAC("eth0"), Firmware: firmware, Interface: "eth0", Patience: time.Minute, Configure: func(l rom.Lease) error {
		leases = append(leases, l)
		return exec.Command("ip", "address", "replace", l.Addr.String(), "dev", "eth0").Run()
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var res *rom.Result
	var err error
	var steps []string
	h.Do(func() {
		res, err = m.Boot(ctx, func(s rom.Step) { steps = append(steps, s.Name+" "+s.Detail) })
	})
	if err != nil {
		t.Fatalf("%v, after %q", err, steps)
	}
	if len(leases) == 0 {
		t.Fatalf("it boots without an address: %q", steps)
	}
	for _, l := range leases {
		if l.Addr != netip.MustParsePrefix("10.5.0.30/24") || l.Server != netip.MustParseAddr("10.5.0.2") {
			t.Errorf("it was given %+v", l)
		}
	}
	t.Logf("%+v after %q", res, steps)
}

// startKea has Kea give addresses, one of them to a machine that it knows.
func startKea(t *testing.T, h *netboottest.Host, mac string) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "kea.conf")
	text := fmt.Sprintf(`{"Dhcp4": {
"interfaces-config": {"interfaces": ["eth0"]}, "lease-database": {"type": "memfile", "persist": false}, "valid-lifetime": 600,
"subnet4": [{"id": 1, "subnet": "10.5.0.0/24", "pools": [{"pool": "10.5.0.100 - 10.5.0.199"}], "reservations": [{"hw-address": %q, "ip-address": "10.5.0.30"}]}],
"loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout"}]}]}}`, mac)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(keaServer(t), "-c", conf)
	cmd.Env = append(os.Environ(), "KEA_PIDFILE_DIR="+t.TempDir(), "KEA_LOCKFILE_DIR=none")
	said := startOther(t, h, cmd)
	says(t, said, "DHCP4_STARTED", time.Minute)
}

// keaServer finds Kea in PATH, or where .ci/packages unpacks it: installed, it
// would run when the machine starts.
func keaServer(t *testing.T) string {
	t.Helper()
	if cache, err := os.UserCacheDir(); err == nil {
		if tool := filepath.Join(cache, "margay-test/kea-dhcp4-server/usr/sbin/kea-dhcp4"); exists(tool) {
			return tool
		}
	}
	return netboottest.Binary(t, "kea-dhcp4")
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// dhclientSays takes an address on a host by dhclient, and returns what it was
// told.
func dhclientSays(t *testing.T, h *netboottest.Host) string {
	t.Helper()
	dir := t.TempDir()
	script, told, pid := filepath.Join(dir, "script"), filepath.Join(dir, "told"), filepath.Join(dir, "pid")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ $reason != BOUND ] || env > "+told+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(netboottest.Binary(t, "dhclient"), "-4", "-1", "-d", "-sf", script, "-cf", "/dev/null", "-lf", filepath.Join(dir, "leases"), "-pf", pid, "eth0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	says(t, said, "bound to ", time.Minute)
	cmd.Process.Kill()
	cmd.Wait()
	out, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
