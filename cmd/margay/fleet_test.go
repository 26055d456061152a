package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"margay/netboot/rom"
	"margay/provision/provisiontest"
)

// port is the address that the daemon said it serves a service at.
func (s *server) port(service string) netip.AddrPort {
	s.t.Helper()
	m := regexp.MustCompile(`(?m)^  ` + service + ` +(\S+)$`).FindStringSubmatch(s.said)
	if m == nil {
		s.t.Fatalf("no %s in %s", service, s.said)
	}
	return netip.MustParseAddrPort(m[1])
}

// A hostPlayer is a machine of the fleet.
type hostPlayer struct {
	name    string
	machine rom.Machine
	deaths  int  // of power, so far
	doomed  bool // its power fails in every boot
	boots   int
	err     error
}

// TestFleet: two hundred hosts of five lines install themselves at once, and
// one boot in twenty dies somewhere on the way; five hosts die in every boot.
// Those end held, with the reason; every other one ends booted and does not
// install itself again, and its kickstart is nobody's any more, or of another
// host's at any time.
func TestFleet(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	s.must("chtab", "key=vmware", "passwd.username=root", "passwd.password=Secret-1")
	lines := []string{"5.5.0", "6.7.0", "7.0.3", "8.0.2", "9.0.0"}
	for _, v := range lines {
		iso := filepath.Join(dir, v+".iso")
		if err := provisiontest.WriteESXi(iso, provisiontest.ESXi{Version: v, Total: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		s.must("copycds", iso)
	}
	const hosts = 200
	fleet := make([]*hostPlayer, hosts)
	for i := range fleet {
		fleet[i] = s.host(i, lines[i%len(lines)])
		fleet[i].doomed = i%40 == 7
	}
	var wg sync.WaitGroup
	for _, h := range fleet {
		wg.Go(func() { h.err = h.install(t.Context()) })
	}
	wg.Wait()
	deaths, held := 0, 0
	for _, h := range fleet {
		deaths += h.deaths
		if h.doomed {
			held++
			eventually(t, h.name+" is held for its reason", func() bool { // what it was told is noted behind that
				return strings.Contains(s.must("history", h.name, "--boots"), "held: 3 boots began the install and none reported its end")
			})
		}
		if h.err != nil {
			t.Errorf("%s: %v", h.name, h.err)
		}
	}
	if deaths == 0 {
		t.Error("no boot died: the test shows nothing")
	}
	list := func() string { return s.must("lsdef", "all", "-i", "status,currstate", "-c") }
	out := list()
	for end := time.Now().Add(time.Minute); strings.Count(out, "status=failed") < held && time.Now().Before(end); out = list() {
		time.Sleep(100 * time.Millisecond) // a hold is written with the timelines, once a second
	}
	if n := strings.Count(out, "status=booted"); n != hosts-held {
		t.Errorf("%d hosts are booted, want %d", n, hosts-held)
	}
	if n := strings.Count(out, "status=failed"); n != held {
		t.Errorf("%d hosts are held, want %d", n, held)
	}
	if n := strings.Count(out, "currstate=boot\n"); n != hosts-held {
		t.Errorf("%d hosts boot from their disks, want %d", n, hosts-held)
	}
	t.Logf("%d hosts, %d boots that died, %d hosts held", hosts, deaths, held)
}

// host defines a node and the machine that plays it.
func (s *server) host(i int, line string) *hostPlayer {
	name, addr := fmt.Sprintf("esx%03d", i), fmt.Sprintf("127.0.%d.%d", 2+i/250, i%250+1)
	mac := net.HardwareAddr{0x52, 0x54, 0, 1, byte(i >> 8), byte(i)}
	s.must("mkdef", name, "groups=all", "arch=x86_64", "mac="+mac.String(), "ip="+addr)
	short := strings.TrimSuffix(line, ".0")
	s.must("nodeset", name, "install=esxi"+strings.TrimSuffix(short, ".0")+"-x86_64-base")
	fw := []rom.Firmware{rom.BIOS, rom.UEFI}[i%2]
	if i%3 == 0 && (line[0] >= '7') {
		fw = rom.UEFIHTTP
	}
	return &hostPlayer{name: name, machine: rom.Machine{
		MAC: mac, Firmware: fw, DHCP: s.port("dhcp"), TFTPPort: s.port("tftp").Port(), Source: netip.MustParseAddr(addr), Patience: 2 * time.Minute,
	}}
}

// install boots until the installer has reported, and then from the disk,
// twice.
func (h *hostPlayer) install(ctx context.Context) error {
	for {
		h.boots++
		r, err := h.boot(ctx)
		if h.doomed && h.boots == 4 && err != nil && strings.Contains(err.Error(), "is held: 3 boots began the install") {
			return nil // UEFI HTTP boot has no script to say it
		}
		if err != nil {
			return err
		}
		if r == nil {
			continue // it died; somebody switches it on again
		}
		if h.doomed {
			if r.Outcome != rom.LocalDisk || h.boots != 4 || !strings.Contains(strings.Join(r.Screen, " "), "is held") {
				return fmt.Errorf("boot %d ended at %s, and it should be held in the fourth: %s", h.boots, r.Outcome, r.Screen)
			}
			return nil
		}
		if r.Outcome != rom.ESXi {
			return fmt.Errorf("boot %d ended at %s", h.boots, r.Outcome)
		}
		other := netip.MustParseAddr("127.0.200.1")
		if err := h.refused(ctx, r.AnswerURL, other); err != nil {
			return err
		}
		if err := h.machine.Tell(ctx, r, nil, "pre"); err != nil {
			return err
		}
		if err := h.refused(ctx, r.AnswerURL, h.machine.Source); err != nil {
			return fmt.Errorf("after the installer's word: %w", err)
		}
		if err := h.machine.Tell(ctx, r, nil, "post"); err != nil {
			return err
		}
		if err := h.fromDisk(ctx); err != nil {
			return err
		}
		if err := h.machine.Tell(ctx, r, nil, "firstboot"); err != nil {
			return err
		}
		return h.fromDisk(ctx)
	}
}

// boot boots once; nil and no error if it died on the way. Two deaths at most
// befall a host: after three boots it would rightly be held.
func (h *hostPlayer) boot(ctx context.Context) (*rom.Result, error) {
	ctx, die := context.WithCancel(ctx)
	defer die()
	fatal := -1
	if h.deaths < 2 && rand.IntN(20) == 0 {
		fatal = 1 + rand.IntN(20)
	}
	if h.doomed {
		fatal = -1
	}
	steps := 0
	r, err := h.machine.Boot(ctx, func(s rom.Step) {
		if steps++; steps == fatal || h.doomed && s.Name == "boot.cfg" {
			die()
		}
	})
	if ctx.Err() != nil {
		h.deaths++
		return nil, nil
	}
	return r, err
}

// refused wants an address to be refused to whoever asks from another one.
func (h *hostPlayer) refused(ctx context.Context, url string, from netip.Addr) error {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}).DialContext}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		return fmt.Errorf("its kickstart is answered %s to %s", resp.Status, from)
	}
	return nil
}

func (h *hostPlayer) fromDisk(ctx context.Context) error {
	r, err := h.machine.Boot(ctx, nil)
	if err != nil {
		return fmt.Errorf("after the install: %w", err)
	}
	if r.Outcome != rom.LocalDisk {
		return fmt.Errorf("after the install it ended at %s, not at its disk", r.Outcome)
	}
	return nil
}
