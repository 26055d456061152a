package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyClients has 32 clients read and write at once for a while (as long
// as MARGAY_CLIENTS says, as 60s) and asks afterwards whether each one's last
// word is in the table.
func TestManyClients(t *testing.T) {
	length := 2 * time.Second
	if v, err := time.ParseDuration(os.Getenv("MARGAY_CLIENTS")); err == nil {
		length = v
	}
	const clients, nodes = 32, 500
	s := startServer(t, t.TempDir())
	s.must("mkdef", fmt.Sprintf("n1-n%d", nodes), "groups=all,web", "mgt=ipmi")
	var mu sync.Mutex
	var reads []time.Duration
	wrote := make([]string, clients)
	end := time.Now().Add(length)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			own := fmt.Sprintf("n%d", c+1)
			for k := 0; time.Now().Before(end); k++ {
				words := []string{"lsdef", fmt.Sprintf("n%d", 1+(c*31+k)%nodes)}
				switch k % 8 {
				case 0:
					wrote[c] = fmt.Sprintf("c%dk%d", c, k)
					words = []string{"chdef", own, "usercomment=" + wrote[c]}
				case 1: // a record that all write
					words = []string{"chtab", "key=shared", "site.value=" + own}
				case 2:
					words = []string{"nodels", "web@mgt=ipmi,-n7", "nodehm.mgt"}
				case 3:
					words = []string{"tabdump", "nodelist"}
				}
				began := time.Now()
				out, ok := s.do(words...)
				if !ok {
					t.Errorf("%s: %s", strings.Join(words, " "), out)
					return
				}
				if words[0] == "lsdef" {
					mu.Lock()
					reads = append(reads, time.Since(began))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for c, want := range wrote {
		own := fmt.Sprintf("n%d", c+1)
		if got := s.must("lsdef", own, "-c", "-i", "usercomment"); got != own+": usercomment="+want+"\n" {
			t.Errorf("client %d wrote %q last, and the table has %s", c, want, got)
		}
	}
	if len(reads) < clients {
		t.Fatalf("only %d reads: the test shows nothing", len(reads))
	}
	slices.Sort(reads)
	t.Logf("%d reads of a node, the middle one %v, 99%% within %v", len(reads), reads[len(reads)/2], reads[len(reads)*99/100])
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
		done := make(chan struct{})
		go func() {
			defer close(done)
			for k := 0; ; k++ {
				flying = fmt.Sprintf("r%dk%d", round, k)
				if _, ok := s.do("chdef", "all", "usercomment="+flying); !ok {
					return
				}
				acked = flying
				bulks++
			}
		}()
		time.Sleep(time.Duration(300+170*round) * time.Millisecond)
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
	if bulks < 2 {
		t.Errorf("only %d bulk changes were acknowledged: the test shows nothing", bulks)
	}
}
