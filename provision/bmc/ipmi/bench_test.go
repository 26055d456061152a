package ipmi

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"margay/provision/bmc"
	"margay/provision/bmc/bmctest"
)

// BenchmarkStatOfThousand asks 1,000 controllers for their power, each 20 ms
// away, every second one dead: ours, then freeipmi's ipmipower doing the same.
// The dead are sockets that nobody reads, as a BMC that hangs.
func BenchmarkStatOfThousand(b *testing.B) {
	const n = 1000
	var targets []bmc.Target
	var hosts []string
	for i := range n {
		address := fmt.Sprintf("127.77.%d.%d", i/250, i%250+1)
		target := bmc.Target{Node: fmt.Sprint("n", i), Address: address, Port: 6623, User: "admin", Password: "secret"}
		if i%2 == 0 {
			dead, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address), Port: target.Port})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = dead.Close() }()
		} else {
			x, err := bmctest.NewIPMI(&bmctest.Host{}, bmctest.IPMIConfig{Listen: target.HostPort(0), Latency: 20 * time.Millisecond})
			if err != nil {
				b.Fatal(err)
			}
			defer x.Close()
		}
		targets = append(targets, target)
		hosts = append(hosts, target.HostPort(0))
	}
	for _, limit := range []int{64, 256} {
		b.Run(fmt.Sprintf("margay at ipmimaxp %d", limit), func(b *testing.B) {
			for b.Loop() {
				statAll(b, targets, limit)
			}
		})
	}
	tool, err := exec.LookPath("ipmipower")
	if err != nil {
		tool = "/usr/sbin/ipmipower"
	}
	if _, err := os.Stat(tool); err != nil {
		b.Logf("ipmipower is missing (Debian's package freeipmi-tools)")
		return
	}
	b.Run("ipmipower", func(b *testing.B) {
		for b.Loop() {
			powerAll(b, tool, hosts)
		}
	})
}

func statAll(b *testing.B, targets []bmc.Target, limit int) {
	var d Dialer
	peak := heapPeak()
	begin := time.Now()
	alive, dead := 0, 0
	var lastAlive time.Duration
	for r := range bmc.Each(b.Context(), bmc.Limits{Busy: limit}, targets, func(ctx context.Context, t bmc.Target) (string, error) {
		c, err := d.Dial(ctx, t)
		if err != nil {
			return "", err
		}
		defer func() { _ = c.Close() }()
		return bmc.Power(ctx, c, bmc.Stat, 0)
	}) {
		if r.Err != nil {
			dead++
			continue
		}
		alive++
		lastAlive = time.Since(begin)
	}
	if alive != len(targets)/2 || dead != len(targets)/2 {
		b.Errorf("%d alive, %d dead of %d", alive, dead, len(targets))
	}
	b.ReportMetric(lastAlive.Seconds(), "s/last-alive")
	b.ReportMetric((time.Since(begin) - bmc.Target{}.Patience()).Seconds(), "s/over-deadline") // 2 at most is asked
	b.ReportMetric(float64(peak())/1e6, "MB-peak")                                             // that of the played controllers is in it
}

// heapPeak watches how far the heap grows until the function that it returns
// is called.
func heapPeak() func() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base, most := m.HeapAlloc, m.HeapAlloc
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}()
	return func() uint64 {
		close(stop)
		<-stopped
		return most - base
	}
}

func powerAll(b *testing.B, tool string, hosts []string) {
	cmd := exec.Command(tool, "-D", "LAN_2_0", "-I", "3", "-u", "admin", "-p", "secret", "-l", "USER", "--stat", "-h", strings.Join(hosts, ","))
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		b.Fatalf("ipmipower: %v", err)
	}
	if n := strings.Count(string(out), ": off"); n != len(hosts)/2 {
		b.Logf("ipmipower found %d of %d", n, len(hosts)/2)
	}
}
