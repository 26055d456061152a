package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"margay/netboot/rom"
	"margay/provision/api"
	"margay/provision/provisiontest"
)

// TestStorm: a thousand machines boot at once, the whole chain, and some of them
// once more. Not one fails; the daemon's memory is no more after that; and all
// they read writes nothing of theirs: no node's record changes, and the timelines
// are written together, not one by one.
func TestStorm(t *testing.T) {
	machines := 1000
	if testing.Short() {
		machines = 100
	}
	dir := t.TempDir()
	s := startServer(t, dir)
	s.must("chtab", "key=vmware", "passwd.username=root", "passwd.password=Secret-1")
	iso := filepath.Join(dir, "esxi.iso")
	if err := provisiontest.WriteESXi(iso, provisiontest.ESXi{Version: "7.0.3", Total: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	s.must("copycds", iso)
	fleet := s.define(machines)
	for i := 0; i < machines; i += 50 {
		s.must("nodeset", fmt.Sprintf("storm[%04d-%04d]", i, i+49), "--yes", "osimage=esxi7.0.3-x86_64-install-base")
	}

	records := s.must("lsdef", "storm", "-l")
	revision := s.metric("margay_table_revision")
	var steps atomic.Int64
	began := time.Now()
	s.storm(fleet, &steps)
	first := s.resident()
	took := time.Since(began)
	s.storm(fleet[:machines/4], &steps)
	commits, now := s.metric("margay_table_revision")-revision, s.must("lsdef", "storm", "-l")

	// What is garbage is collected every two minutes, and given back behind that.
	second, own, all := s.resident(), first+first/4+16<<20, int64(1000<<20)/4
	for end := time.Now().Add(4 * time.Minute); second > min(own, all) && time.Now().Before(end); second = s.resident() {
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("%d machines in %v; %d steps, %d commits; %d MB of memory, then %d MB",
		machines, took.Round(10*time.Millisecond), steps.Load(), commits, first>>20, second>>20)
	if second > own {
		t.Errorf("memory grows: %d MB after the first storm, %d MB after the second", first>>20, second>>20)
	}
	if second > all {
		t.Errorf("%d MB of memory", second>>20)
	}
	if now != records {
		t.Error("the records of nodes changed, though none has reported a thing")
	}
	if commits > steps.Load()/20 {
		t.Errorf("%d commits for %d steps: reading writes", commits, steps.Load())
	}
	if n := s.metric("margay_tftp_transfers"); n > int64(machines) {
		t.Errorf("%d TFTP transfers are left", n)
	}
}

// define defines machines in one go, of each firmware in turns.
func (s *server) define(machines int) []*rom.Machine {
	s.t.Helper()
	firmwares := []rom.Firmware{rom.BIOS, rom.UEFI, rom.UEFIHTTP}
	var stanzas bytes.Buffer
	var fleet []*rom.Machine
	for i := range machines {
		addr := netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)})
		mac := []byte{0x52, 0x54, 0, 2, byte(i >> 8), byte(i)}
		fmt.Fprintf(&stanzas, "storm%04d:\n  objtype=node\n  groups=storm,all\n  arch=x86_64\n  mac=52:54:00:02:%02x:%02x\n  ip=%s\n\n", i, byte(i>>8), byte(i), addr)
		fleet = append(fleet, &rom.Machine{
			MAC: mac, Firmware: firmwares[i%len(firmwares)], DHCP: s.port("dhcp"), TFTPPort: s.port("tftp").Port(), Source: addr, Patience: 3 * time.Minute,
		})
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	c := api.Client{Socket: s.socket()}
	if code, err := c.Run(ctx, &api.Request{Args: []string{"mkdef", "-z"}, Dir: s.dir}, &stanzas, &out, &out); err != nil || code != 0 {
		s.t.Fatalf("mkdef -z: %d %v %s", code, err, out.String())
	}
	return fleet
}

// storm boots all machines at once and waits for them.
func (s *server) storm(fleet []*rom.Machine, steps *atomic.Int64) {
	s.t.Helper()
	var mu sync.Mutex
	var faults []string
	var all sync.WaitGroup
	for _, m := range fleet {
		all.Go(func() {
			r, err := m.Boot(s.t.Context(), func(rom.Step) { steps.Add(1) })
			if err == nil && (r.Outcome != rom.ESXi || len(r.Modules) < 50 || !strings.Contains(r.Answer, "vmaccepteula")) {
				err = fmt.Errorf("ended at %s with %d modules", r.Outcome, len(r.Modules))
			}
			if err != nil {
				mu.Lock()
				faults = append(faults, fmt.Sprintf("%s %s: %v", m.Firmware, m.MAC, err))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Sort(faults)
	if len(faults) > 0 {
		s.t.Fatalf("%d of %d machines did not boot, among them\n%s", len(faults), len(fleet), strings.Join(faults[:min(len(faults), 5)], "\n"))
	}
}

// resident is the memory that the daemon has in use (VmRSS, proc_pid_status(5)).
func (s *server) resident() int64 {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		s.t.Fatal("no VmRSS")
	}
	kB, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kB << 10
}
