package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// manyClients is how many clients are at work at once, and manyNodes how many
// nodes they read one by one. MARGAY_NODES adds others to the table.
const (
	manyClients = 32
	manyNodes   = 500
)

// TestManyClients has 32 clients read and write at once for a while (as long
// as MARGAY_CLIENTS says, as 60s) and asks afterwards whether each one's last
// word is in the table.
func TestManyClients(t *testing.T) {
	m := newMixed(t)
	m.run(clientsLength(2 * time.Second))
	m.check()
	if len(m.took["lsdef"]) < manyClients {
		t.Fatalf("only %d reads: the test shows nothing", len(m.took["lsdef"]))
	}
}

// BenchmarkManyClients is how long reads take while 32 clients read and write
// without a pause, for 60 s unless MARGAY_CLIENTS says otherwise.
func BenchmarkManyClients(b *testing.B) {
	// A client is a program of its own, which ends before it collects garbage;
	// 32 in one process would spend a fifth of the machine on that.
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	m := newMixed(b)
	b.ResetTimer()
	began, cpu := time.Now(), m.cpu()
	m.run(clientsLength(time.Minute))
	length, used := time.Since(began), m.cpu()
	m.check()
	for word, took := range m.took {
		b.Logf("%-8s %7d, %v", word, len(took), spread(took))
	}
	reads := slices.Concat(m.took["lsdef"], m.took["nodels"], m.took["tabdump"])
	var windows []string
	for from := time.Duration(0); from < length; from += clientsWindow {
		window := slices.DeleteFunc(slices.Clone(reads), func(t took) bool { return t.at.Sub(began)/clientsWindow != from/clientsWindow })
		if len(window) > manyClients { // the last may be of the clients' last commands alone
			windows = append(windows, spread(window).most.Round(100*time.Microsecond).String())
		}
	}
	b.Logf("reads: 99%% within, by %v: %s", clientsWindow, strings.Join(windows, " "))
	all := float64(len(reads) + len(m.took["chdef"]) + len(m.took["chtab"]))
	s := spread(reads)
	b.ReportMetric(float64(s.middle.Microseconds())/1000, "ms/read-p50")
	b.ReportMetric(float64(s.most.Microseconds())/1000, "ms/read-p99")
	b.ReportMetric(all/length.Seconds(), "commands/s")
	b.ReportMetric(float64((used.server-cpu.server).Microseconds())/all, "us-server/command")
	b.ReportMetric(float64((used.clients-cpu.clients).Microseconds())/all, "us-client/command")
}

// clientsWindow is of how much time together the benchmark shows what reads
// took: a server that gets slower shows in that.
const clientsWindow = 5 * time.Second

// A quantiles is how long commands took.
type quantiles struct{ middle, most, longest time.Duration }

func (q quantiles) String() string {
	return fmt.Sprintf("the middle one %v, 99%% within %v, the longest %v", q.middle, q.most, q.longest)
}

// spread sorts what commands took.
func spread(list []took) quantiles {
	slices.SortFunc(list, func(a, b took) int { return cmp.Compare(a.long, b.long) })
	n := len(list)
	return quantiles{list[n/2].long, list[n*99/100].long, list[n-1].long}
}

// A cpuTimes is what server and clients have used of the processors.
type cpuTimes struct{ server, clients time.Duration }

func (m *mixed) cpu() (c cpuTimes) {
	var own syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	c.clients = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.s.cmd.Process.Pid))
	if err != nil {
		m.tb.Fatal(err)
	}
	// proc_pid_stat(5): utime and stime are the 12th and 13th behind the name,
	// in hundredths of a second.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, f := range fields[11:13] {
		n, _ := strconv.Atoi(f)
		c.server += time.Duration(n) * 10 * time.Millisecond
	}
	return c
}

func clientsLength(usual time.Duration) time.Duration {
	if v, err := time.ParseDuration(os.Getenv("MARGAY_CLIENTS")); err == nil {
		return v
	}
	return usual
}

// A mixed is what many clients do at once.
type mixed struct {
	tb    testing.TB
	s     *server
	wrote []string // by client

	mu   sync.Mutex
	took map[string][]took // by command
}

// A took is when a command ended, and how long it took.
type took struct {
	at   time.Time
	long time.Duration
}

func newMixed(tb testing.TB) *mixed {
	s := startServer(tb, tb.TempDir())
	s.must("mkdef", fmt.Sprintf("n1-n%d", manyNodes), "groups=all,web", "mgt=ipmi")
	if n, _ := strconv.Atoi(os.Getenv("MARGAY_NODES")); n > 0 {
		s.must("mkdef", fmt.Sprintf("x1-x%d", n), "groups=all,others", "mgt=ipmi")
	}
	return &mixed{tb: tb, s: s, wrote: make([]string, manyClients), took: make(map[string][]took)}
}

// run has the clients work for that long.
func (m *mixed) run(length time.Duration) {
	end := time.Now().Add(length)
	var wg sync.WaitGroup
	for c := range manyClients {
		wg.Go(func() {
			list := make(map[string][]took)
			for k := 0; k < 8 || time.Now().Before(end); k++ { // on a busy machine each command once all the same
				words := m.words(c, k)
				began := time.Now()
				if out, ok := m.s.do(words...); !ok {
					m.tb.Errorf("%s: %s", strings.Join(words, " "), out)
					return
				}
				now := time.Now()
				list[words[0]] = append(list[words[0]], took{now, now.Sub(began)})
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			for word, l := range list {
				m.took[word] = append(m.took[word], l...)
			}
		})
	}
	wg.Wait()
}

// check asks whether each client's last word is in the table.
func (m *mixed) check() {
	for c, want := range m.wrote {
		own := fmt.Sprintf("n%d", c+1)
		if got := m.s.must("lsdef", own, "-c", "-i", "usercomment"); got != own+": usercomment="+want+"\n" {
			m.tb.Errorf("client %d wrote %q last, and the table has %s", c, want, got)
		}
	}
}

// words are the command that client c gives as its kth: two in eight change
// the table.
func (m *mixed) words(c, k int) []string {
	own := fmt.Sprintf("n%d", c+1)
	switch k % 8 {
	case 0:
		m.wrote[c] = fmt.Sprintf("c%dk%d", c, k)
		return []string{"chdef", own, "usercomment=" + m.wrote[c]}
	case 1: // a record that all write
		return []string{"chtab", "key=shared", "site.value=" + own}
	case 2:
		return []string{"nodels", "web@mgt=ipmi,-n7", "nodehm.mgt"}
	case 3:
		return []string{"tabdump", "nodelist"}
	}
	return []string{"lsdef", fmt.Sprintf("n%d", 1+(c*31+k)%manyNodes)}
}

// TestKillBulk kills the daemon while a client sets a value on 2,000 nodes at
// once, over and over: after each restart all nodes have the same value, and
// it is the one that was acknowledged last or the one under way.
func TestKillBulk(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	const nodes = 2000
	s.must("mkdef", fmt.Sprintf("n1-n%d", nodes), "groups=all", "usercomment=r0")
	acked, flying, bulks := "r0", "r0", 0
	for round := range 4 {
		done, one := make(chan struct{}), make(chan struct{}) // one: a change is acknowledged
		go func() {
			defer close(done)
			for k := 0; ; k++ {
				flying = fmt.Sprintf("r%dk%d", round, k)
				if _, ok := s.do("chdef", "all", "usercomment="+flying); !ok {
					return
				}
				if acked = flying; k == 0 {
					close(one)
				}
				bulks++
			}
		}()
		select {
		case <-one:
		case <-done:
			t.Fatal("a change is refused, and nothing was killed")
		}
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		s.kill()
		<-done
		s = startServer(t, dir)
		seen := map[string]int{}
		for line := range strings.Lines(s.must("nodels", "all", "nodelist.comments")) {
			_, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
			seen[v]++
		}
		if len(seen) != 1 || seen[acked]+seen[flying] == 0 {
			t.Fatalf("round %d: values are %v, acknowledged was %s, under way %s", round, seen, acked, flying)
		}
		for v, n := range seen {
			if acked = v; n != nodes {
				t.Errorf("%d nodes, want %d", n, nodes)
			}
		}
	}
	t.Logf("%d changes of %d nodes were acknowledged", bulks, nodes)
}
