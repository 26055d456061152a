//go:build bench

package netboottest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A marks is what clients got of a server that answers small questions.
type marks struct {
	Done     int // questions that were answered, or exchanges that were whole
	Failed   int // given up
	Fault    string
	Seconds  float64
	P99      float64 // milliseconds
	ServerMS float64 // CPU of the server
}

func (s marks) rate() float64 { return float64(s.Done) / s.Seconds }

// An asker is one column: how a server is made ready in a directory, started,
// and asked.
type asker struct {
	title   string
	prepare func(t *testing.T, p *peer, dir string)
	ready   func(t *testing.T, b *lab, p *peer)
	load    func(t *testing.T, b *lab, pid int) marks

	// half has the load ask half as often as the server answered in the column
	// of that title, in the same run; with same, all servers are asked half as often
	// as the best of them but the first did. paced is load at so many a second.
	half  string
	same  bool
	paced func(rate int) func(t *testing.T, b *lab, pid int) marks
}

// pace is how many a second are asked of a peer in a column at half; 0: that was
// not measured.
func (c *asker) pace(all map[string][]marks, peers []peer, p *peer) int {
	of := []peer{*p}
	if c.same {
		of = peers[1:]
	}
	rate := 0.0
	for _, q := range of {
		if top := all[q.name+"/"+c.half]; len(top) > 0 {
			rate = max(rate, middle(top, marks.rate)/2, 1)
		}
	}
	return int(rate)
}

// compareRates runs rounds of each column against each peer, in turns, and
// prints medians. Each measurement has a server of its own that starts empty.
func compareRates(t *testing.T, b *lab, peers []peer, columns []asker) {
	rounds := int(benchNumber("BENCH_ROUNDS", 5))
	only, some := os.Getenv("BENCH_ONLY"), os.Getenv("BENCH_COLUMNS")
	all := map[string][]marks{}
	for round := range rounds {
		for _, c := range columns {
			if some != "" && !slices.Contains(strings.Split(some, ","), c.title) {
				continue
			}
			for i := range peers {
				p := &peers[i]
				if c.half != "" {
					rate := c.pace(all, peers, p)
					if fixed := int(benchNumber("BENCH_RATE", 0)); fixed > 0 {
						rate = fixed
					}
					if rate == 0 {
						continue
					}
					c.load = c.paced(rate)
				}
				if only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
					continue
				}
				if s, ok := b.ask(t, p, c); ok {
					key := p.name + "/" + c.title
					all[key] = append(all[key], s)
					if s.Fault != "" {
						t.Logf("round %d, %s: %s", round+1, key, s.Fault)
					}
				}
			}
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\nmedians of %d rounds: per second, server's CPU in us each, p99 in ms where it was taken, given up in all\n%-12s", rounds, "")
	for _, c := range columns {
		fmt.Fprintf(&out, "%36s", c.title)
	}
	out.WriteString("\n")
	for _, p := range peers {
		fmt.Fprintf(&out, "%-12s", p.name)
		for _, c := range columns {
			s, ok := all[p.name+"/"+c.title]
			if !ok {
				fmt.Fprintf(&out, "%36s", "-")
				continue
			}
			failed := 0
			for _, x := range s {
				failed += x.Failed
			}
			fmt.Fprintf(&out, "%11.0f %8.1f %8.2f %6d", middle(s, marks.rate), middle(s, marks.cpu), middle(s, func(x marks) float64 { return x.P99 }), failed)
		}
		out.WriteString("\n")
	}
	t.Log(out.String())
}

func (s marks) cpu() float64 { return s.ServerMS * 1000 / float64(max(s.Done, 1)) }

func middle(all []marks, of func(marks) float64) float64 {
	var v []float64
	for _, s := range all {
		v = append(v, of(s))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// ask starts a peer in a new directory, asks it and stops it. False: it is not
// installed.
func (b *lab) ask(t *testing.T, p *peer, c asker) (marks, bool) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	b.dir = dir
	if p.argv != nil && benchBinary(p.argv(dir)[0]) == "" {
		return marks{}, false
	}
	c.prepare(t, p, dir)
	pid, stop := b.start(t, *p)
	defer stop()
	c.ready(t, b, p)
	before := cpuMS(pid)
	s := c.load(t, b, pid)
	s.ServerMS = cpuMS(pid) - before
	return s, true
}

// margayBinary is the program, built once.
var margayBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "margay")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "margay")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "margay/cmd/margay")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v\n%s", err, out)
	}
	return path, nil
})

// A prepared is margay's state with a table in it, made once and copied for
// each measurement.
type prepared struct {
	dir  string
	argv func(dir string) []string
}

// prepareMargay makes a state by commands: a stanza file's objects and further
// words.
func prepareMargay(t *testing.T, b *lab, stanzas string, commands ...[]string) *prepared {
	t.Helper()
	bin, err := margayBinary()
	if err != nil {
		t.Fatal(err)
	}
	argv := func(dir string) []string {
		return []string{bin, "serve", "--state", filepath.Join(dir, "state"), "--socket", filepath.Join(dir, "s"), "--interface", "eth0",
			"--dhcp", "force", "--http", "off", "--tftp", "off", "--templates", filepath.Join(dir, "templates")}
	}
	dir, err := os.MkdirTemp("", "table")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.Command(argv(dir)[0], argv(dir)[1:]...)
	if err := b.server.Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}()
	file := filepath.Join(dir, "objects")
	if err := os.WriteFile(file, []byte(stanzas), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(words []string, stdin string) {
		var last []byte
		var err error
		for range 100 { // until the socket is there
			c := exec.Command(bin, words...)
			c.Env = append(os.Environ(), "MARGAY_SOCKET="+filepath.Join(dir, "s"))
			c.Stdin = strings.NewReader(stdin)
			if last, err = c.CombinedOutput(); err == nil {
				return
			}
			if !strings.Contains(string(last), "no daemon") {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("margay %s: %v\n%s", strings.Join(words, " "), err, last)
	}
	for _, words := range commands {
		run(words, "")
	}
	if stanzas != "" {
		run([]string{"mkdef", "-z"}, stanzas)
	}
	return &prepared{dir: dir, argv: argv}
}

// into copies the state.
func (p *prepared) into(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", filepath.Join(p.dir, "state"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}
