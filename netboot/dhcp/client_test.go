package dhcp

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"margay/netboot"
	"margay/netboot/netboottest"
)

// site is a network with our server on it, and what it did.
type site struct {
	*netboottest.LAN
	server *Server
	events chan netboot.Event
	early  []netboot.Event // told of, and not waited for yet
}

// newSite serves testPlan at 10.1.0.1 to whoever asks.
func newSite(t *testing.T) *site {
	t.Helper()
	lan := netboottest.NewLAN(t)
	h := lan.NewHost(t, "10.1.0.1/16")
	s := &site{LAN: lan, events: make(events, 64)}
	s.server = &Server{Observer: events(s.events), Planner: planFunc(func(_ context.Context, m netboot.Machine) (*netboot.Plan, error) {
		if m.Interface != "eth0" || m.Local != ourAddr {
			t.Errorf("asked on %q, our address there %v", m.Interface, m.Local)
		}
		p := testPlan
		p.Nak = m.Ask == netboot.AskRequest && m.Requested != p.Addr.Addr()
		return &p, nil
	})}
	serveOn(t, h, s.server, Authoritative)
	return s
}

func serveOn(t *testing.T, h *netboottest.Host, s *Server, mode Mode) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var c *Conn
	var err error
	h.Do(func() { c, err = ListenInterface(ctx, "eth0", mode) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// saw waits for a step of a machine. An answer is told of after it was sent, so
// a quick client's next step may be told of first: others are kept.
func (s *site) saw(t *testing.T, step netboot.Step) netboot.Event {
	t.Helper()
	for i, e := range s.early {
		if e.Step == step {
			s.early = append(s.early[:i], s.early[i+1:]...)
			return e
		}
	}
	for {
		select {
		case e := <-s.events:
			if e.Step == step {
				return e
			}
			s.early = append(s.early, e)
		case <-time.After(20 * time.Second):
			t.Fatalf("no %s", step)
		}
	}
}

// script is a client's hook that notes its environment instead of acting.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// takeAddress is what a hook does so that its client can speak by unicast.
const takeAddress = `case "$reason$1" in BOUND|bound) ip address add 10.1.0.11/16 dev eth0 ;; esac
`

func TestDhclient(t *testing.T) {
	dhclient := netboottest.Binary(t, "dhclient")
	s := newSite(t)
	client := s.NewHost(t)
	dir := t.TempDir()
	env, conf := filepath.Join(dir, "env"), filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte("also request interface-mtu, ntp-servers;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-4", "-1", "-v", "-sf", script(t, "env >> "+env+"\n"+takeAddress), "-cf", conf,
		"-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "eth0"}
	cmd := exec.Command(dhclient, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := client.Run(cmd); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	defer func() {
		rel := exec.Command(dhclient, append([]string{"-r"}, args...)...)
		rel.Stdout, rel.Stderr = &out, &out
		if err := client.Run(rel); err != nil {
			t.Errorf("release: %v\n%s", err, out.String())
		}
		if e := s.saw(t, netboot.StepRelease); e.Addr != netip.MustParseAddr("10.1.0.11") {
			t.Errorf("released %v", e.Addr)
		}
	}()
	s.saw(t, netboot.StepOffer)
	s.saw(t, netboot.StepAck)
	text, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"new_ip_address=10.1.0.11", "new_subnet_mask=255.255.0.0", "new_routers=10.1.0.1",
		"new_domain_name_servers=10.1.0.1 10.1.0.2", "new_domain_name=cluster.test", "new_host_name=esx1",
		"new_dhcp_lease_time=600", "new_dhcp_server_identifier=10.1.0.1", "new_broadcast_address=10.1.255.255",
		"new_interface_mtu=9000",
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("dhclient does not know %s", want)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", out.String(), text)
	}
}

// The server must not answer with an address that the client had elsewhere.
func TestDhclientMoved(t *testing.T) {
	dhclient := netboottest.Binary(t, "dhclient")
	s := newSite(t)
	client := s.NewHost(t)
	dir := t.TempDir()
	leases := filepath.Join(dir, "leases")
	old := `lease { interface "eth0"; fixed-address 192.168.7.7; option subnet-mask 255.255.255.0; option dhcp-lease-time 86400;
 option dhcp-message-type 5; option dhcp-server-identifier 192.168.7.1; renew 2 2037/01/01 00:00:00; rebind 2 2037/01/01 00:00:00; expire 2 2037/01/01 00:00:00; }
`
	if err := os.WriteFile(leases, []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	pid := filepath.Join(dir, "pid")
	cmd := exec.Command(dhclient, "-4", "-1", "-d", "-v", "-sf", script(t, ""), "-cf", "/dev/null", "-lf", leases, "-pf", pid, "eth0")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := client.Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	}()
	s.saw(t, netboot.StepNak)
	if e := s.saw(t, netboot.StepAck); e.Addr != netip.MustParseAddr("10.1.0.11") {
		t.Errorf("acknowledged %v", e.Addr)
	}
}

func TestUdhcpc(t *testing.T) {
	udhcpc := netboottest.Binary(t, "udhcpc")
	s := newSite(t)
	client := s.NewHost(t)
	bound := filepath.Join(t.TempDir(), "bound")
	if err := syscall.Mkfifo(bound, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(udhcpc, "-f", "-i", "eth0", "-x", "hostname:asker", "-V", "PXEClient:Arch:00007:UNDI:003000",
		"-O", "ntpsrv", "-O", "search", "-O", "bootfile", "-s", script(t, takeAddress+"[ $1 != bound ] || env > "+bound+"\n"))
	if err := client.Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	offer := s.saw(t, netboot.StepOffer)
	if !offer.Machine.PXE || offer.Machine.Hostname != "asker" || offer.Machine.Firmware != netboot.UEFI64 {
		t.Errorf("%+v", offer.Machine)
	}
	s.saw(t, netboot.StepAck)
	text, err := os.ReadFile(bound) // waits for the hook
	if err != nil {
		t.Fatal(err)
	}
	cmd.Process.Signal(syscall.SIGUSR1)
	if e := s.saw(t, netboot.StepAck); e.Machine.Addr != netip.MustParseAddr("10.1.0.11") {
		t.Errorf("renewed from %v", e.Machine.Addr)
	}
	cmd.Process.Signal(syscall.SIGUSR2)
	s.saw(t, netboot.StepRelease)
	for _, want := range []string{"ip=10.1.0.11", "mask=16", "router=10.1.0.1", "domain=cluster.test", "lease=600", "serverid=10.1.0.1", "search=cluster.test example.com", "ntpsrv=10.1.0.1"} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("udhcpc does not know %s\n%s", want, text)
		}
	}
}
