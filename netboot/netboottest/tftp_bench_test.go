//go:build bench

package netboottest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"margay/netboot"
	"margay/netboot/tftp"
)

// The benchmarks put servers side by side in one run: each round asks each of
// them once, and the medians are compared. Server and load have a core each.
// What is not installed is left out. BENCH_ROUNDS and BENCH_SECONDS say how
// long; BENCH_PATH is searched before PATH. BENCH_CONGESTION is how both hosts'
// TCP paces itself (reno, bbr, ...), where the kernel's own way is not wanted.

const benchAddr = "10.1.0.1"

// TestMain is also what the benchmarks start as a server and as a load.
func TestMain(m *testing.M) {
	switch os.Getenv("MARGAY_BENCH") {
	case "tftp-server":
		benchServeTFTP(os.Getenv("MARGAY_BENCH_DIR"))
	case "tftp-load":
		benchLoadTFTP()
	case "tree-server":
		benchServeTree(os.Getenv("MARGAY_BENCH_DIR"))
	case "place-server":
		benchServeHTTP(openPlace(os.Getenv("MARGAY_BENCH_DIR")))
	case "http-load":
		benchLoadHTTP()
	case "boot-server":
		benchServeBoots(os.Getenv("MARGAY_BENCH_DIR"))
	case "dhcp-load":
		benchLoadDHCP()
	default:
		os.Exit(m.Run())
	}
}

// A peer is a server to be measured.
type peer struct {
	name string
	argv func(dir string) []string // nil: margay itself
	mode string                    // MARGAY_BENCH for margay
}

func tftpPeers() []peer {
	return []peer{
		{name: "margay", mode: "tftp-server"},
		{name: "atftpd", argv: func(dir string) []string {
			return []string{"atftpd", "--daemon", "--no-fork", "--maxthread", "2000", "--user", "root.root", "--bind-address", benchAddr, dir}
		}},
		{name: "dnsmasq", argv: func(dir string) []string {
			return []string{"dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--enable-tftp", "--tftp-max=2000", "--user=root", "--pid-file=", "--tftp-root=" + dir}
		}},
		// Its package and atftpd's exclude each other, and both call their server
		// in.tftpd: it runs only where BENCH_PATH has it under its own name.
		{name: "tftpd-hpa", argv: func(dir string) []string { return []string{"tftpd-hpa", "-L", "-u", "root", "-s", dir} }},
	}
}

// dirFiles opens what is in a directory.
type dirFiles string

func (d dirFiles) Open(_ context.Context, _ netboot.Machine, name string) (*netboot.File, error) {
	f, err := os.Open(filepath.Join(string(d), filepath.FromSlash(name)))
	if err != nil {
		return nil, netboot.ErrNotFound
	}
	info, err := f.Stat()
	return &netboot.File{Name: name, Body: f, Size: info.Size(), ModTime: info.ModTime()}, err
}

func benchServeTFTP(dir string) {
	conn, err := net.ListenPacket("udp4", ":69")
	if err == nil {
		err = (&tftp.Server{Opener: dirFiles(dir), PerAddr: 10000}).Serve(context.Background(), conn)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// A load is what clients ask for, how many and how long.
type load struct {
	Clients, Block, Window int
	Seconds                float64
	File                   string // % in it is a number, another each time; # is the client's
	Sources                bool   // each client has an address of its own, renderedAddr
}

func (l load) duration() time.Duration { return time.Duration(l.Seconds * float64(time.Second)) }

// A score is what they got.
type score struct {
	Bytes    int64 // that arrived in whole files and parts
	Files    int
	Failed   int
	Fault    string
	Seconds  float64
	ServerMS float64 // CPU of the server
	LoadMS   float64 // and of the load
}

func (s score) mbps() float64 { return float64(s.Bytes) / 1e6 / s.Seconds }

func loadArgs() (l load) {
	if err := json.Unmarshal([]byte(os.Getenv("MARGAY_BENCH_LOAD")), &l); err != nil {
		panic(err)
	}
	return l
}

func benchLoadTFTP() {
	l := loadArgs()
	var clients []fetcher
	for range l.Clients {
		clients = append(clients, newTFTPFetcher(l))
	}
	runLoad(l, clients)
}

// A lab is two hosts with a wire between.
type lab struct {
	server, client *Host
	dir            string
}

func newLab(t *testing.T, l *line) *lab {
	b := &lab{dir: t.TempDir()}
	if l != nil {
		b.server, b.client = l.connect(t, benchAddr+"/16", "10.1.0.2/16")
		return b
	}
	b.server, b.client = NewHost(t), NewHost(t)
	var err error
	b.server.Do(func() {
		v := &netlink.Veth{LinkAttrs: attrs("eth0"), PeerName: "eth0", PeerNamespace: netlink.NsFd(int(b.client.ns))}
		if err = netlink.LinkAdd(v); err == nil {
			if err = raise("eth0"); err == nil {
				err = address("eth0", []string{benchAddr + "/16"})
			}
		}
	})
	if err == nil {
		b.client.Do(func() {
			if err = raise("eth0"); err == nil {
				err = address("eth0", []string{"10.1.0.2/16"})
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	b.congestion(t)
	return b
}

func (b *lab) congestion(t *testing.T) {
	way := os.Getenv("BENCH_CONGESTION")
	if way == "" {
		return
	}
	for _, h := range []*Host{b.server, b.client} {
		var err error
		h.Do(func() { err = os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(way), 0) })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// start runs a peer on core 0 until stop is called; nil if it is not installed.
func (b *lab) start(t *testing.T, p peer) (pid int, stop func()) {
	t.Helper()
	var cmd *exec.Cmd
	if p.argv == nil {
		cmd = exec.Command("taskset", "-c", "0", os.Args[0])
		cmd.Env = append(os.Environ(), "MARGAY_BENCH="+p.mode, "MARGAY_BENCH_DIR="+b.dir, "GOMAXPROCS="+benchEnv("BENCH_PROCS", "1"))
	} else {
		argv := p.argv(b.dir)
		path := benchBinary(argv[0])
		if path == "" {
			return 0, nil
		}
		cmd = exec.Command("taskset", append([]string{"-c", "0", path}, argv[1:]...)...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.server.Start(cmd); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	}
}

func benchBinary(name string) string {
	for _, dir := range filepath.SplitList(os.Getenv("BENCH_PATH")) {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	path, _ := exec.LookPath(name)
	return path
}

func benchEnv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func benchNumber(name string, otherwise float64) float64 {
	if f, err := strconv.ParseFloat(os.Getenv(name), 64); err == nil {
		return f
	}
	return otherwise
}

// measure runs a load on core 1 and returns its score.
func (b *lab) measure(t *testing.T, mode string, pid int, l load) score {
	t.Helper()
	args, _ := json.Marshal(l)
	cmd := exec.Command("taskset", "-c", "1", os.Args[0])
	cmd.Env = append(os.Environ(), "MARGAY_BENCH="+mode, "MARGAY_BENCH_LOAD="+string(args))
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	before := cpuMS(pid)
	if err := b.client.Run(cmd); err != nil {
		t.Fatalf("load: %v %s", err, said.String())
	}
	var s score
	if err := json.Unmarshal([]byte(out.String()), &s); err != nil {
		t.Fatalf("load: %v %q", err, out.String())
	}
	s.ServerMS = cpuMS(pid) - before
	s.LoadMS = float64((cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Milliseconds())
	return s
}

// cpuMS is the CPU time that a process and its children have used.
func cpuMS(pid int) float64 {
	total := 0.0
	for _, p := range append(children(pid), pid) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		f := strings.Fields(rest)
		for _, i := range []int{11, 12, 13, 14} { // own and waited-for children's
			n, _ := strconv.ParseFloat(f[i], 64)
			total += n * 10
		}
	}
	return total
}

func children(pid int) (all []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(text)) {
		n, _ := strconv.Atoi(f)
		all = append(append(all, n), children(n)...)
	}
	return all
}

// compare runs rounds of loads against peers and prints a table of medians, and
// how many times each other's rate the first peer has, with the middle half of
// the rounds. All are asked for one load within
// seconds, as a machine's speed comes and goes, and another is the first of them
// in each round.
func compare(t *testing.T, b *lab, mode string, peers []peer, titles []string, loads []load, wait func(*testing.T, *lab)) {
	rounds := int(benchNumber("BENCH_ROUNDS", 5))
	if only := os.Getenv("BENCH_ONLY"); only != "" {
		peers = slices.DeleteFunc(peers, func(p peer) bool { return !slices.Contains(strings.Split(only, ","), p.name) })
	}
	scores := map[string][][]score{}
	for round := range rounds {
		for i, l := range loads {
			for at := range peers {
				p := peers[(at+round)%len(peers)]
				pid, stop := b.start(t, p)
				if stop == nil {
					continue
				}
				if t.Failed() {
					return
				}
				wait(t, b)
				if t.Failed() {
					t.Fatalf("%s, %s", p.name, titles[i])
				}
				if scores[p.name] == nil {
					scores[p.name] = make([][]score, len(loads))
				}
				scores[p.name][i] = append(scores[p.name][i], b.measure(t, mode, pid, l))
				stop()
			}
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\nmedians of %d rounds: MB/s, CPU of the server and of the load in us per kB, failures\n%-12s", rounds, "")
	for _, title := range titles {
		fmt.Fprintf(&out, "%29s", title)
	}
	out.WriteString("\n")
	for _, p := range peers {
		if scores[p.name] == nil {
			continue
		}
		fmt.Fprintf(&out, "%-12s", p.name)
		for i := range loads {
			rate, cpu, loadCPU, failed, fault := median(scores[p.name][i])
			fmt.Fprintf(&out, "%10.1f %6.3f %6.3f %4d", rate, cpu, loadCPU, failed)
			if fault != "" {
				t.Logf("%s, %s: %s", p.name, titles[i], fault)
			}
		}
		out.WriteString("\n")
	}
	own := scores[peers[0].name]
	for _, p := range peers[1:] {
		if own == nil || scores[p.name] == nil {
			continue
		}
		fmt.Fprintf(&out, "of %-9s", p.name)
		for i := range loads {
			var share []float64
			for round, s := range own[i] {
				share = append(share, s.mbps()/scores[p.name][i][round].mbps())
			}
			slices.Sort(share)
			n := len(share)
			fmt.Fprintf(&out, "%13.3f (%5.3f to %5.3f)", share[n/2], share[n/4], share[n-1-n/4])
		}
		out.WriteString("\n")
	}
	t.Log(out.String())
}

func median(all []score) (rate, cpu, loadCPU float64, failed int, fault string) {
	var rates, cpus, loads []float64
	for _, s := range all {
		rates = append(rates, s.mbps())
		kB := float64(s.Bytes)/1000 + 1
		cpus = append(cpus, s.ServerMS*1000/kB)
		loads = append(loads, s.LoadMS*1000/kB)
		failed += s.Failed
		if s.Fault != "" {
			fault = s.Fault
		}
	}
	slices.Sort(rates)
	slices.Sort(cpus)
	slices.Sort(loads)
	mid := len(all) / 2
	return rates[mid], cpus[mid], loads[mid], failed, fault
}

// waitTFTP waits until a server answers.
func waitTFTP(t *testing.T, b *lab) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		conn, err := listenUDP(b.client)
		if err != nil {
			t.Fatal(err)
		}
		c := TFTPClient{Wait: 50 * time.Millisecond, Tries: 1}
		if _, _, err := c.Fetch(conn, netip.MustParseAddrPort(benchAddr+":69"), "small"); err == nil {
			return
		}
	}
	t.Error("the server does not answer")
}

func benchFiles(t *testing.T, b *lab) {
	t.Helper()
	os.Chmod(b.dir, 0o755)
	os.Chmod(filepath.Dir(b.dir), 0o755)
	for name, size := range map[string]int{"small": 10, "file": 1 << 20} {
		if err := os.WriteFile(filepath.Join(b.dir, name), noise(size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBenchTFTP(t *testing.T) {
	b := newLab(t, nil)
	benchFiles(t, b)
	seconds := benchNumber("BENCH_SECONDS", 1)
	var titles []string
	var loads []load
	for _, window := range []int{1, 4, 16} {
		for _, clients := range []int{1, 16, 128, 512} {
			titles = append(titles, fmt.Sprintf("w%d x %d", window, clients))
			loads = append(loads, load{Clients: clients, Block: 1468, Window: window, Seconds: seconds, File: "file"})
		}
	}
	titles, loads = benchPick(titles, loads)
	compare(t, b, "tftp-load", tftpPeers(), titles, loads, waitTFTP)
}

// benchPick keeps the columns that BENCH_COLUMNS names.
func benchPick(titles []string, loads []load) (ts []string, ls []load) {
	want := os.Getenv("BENCH_COLUMNS")
	for i, title := range titles {
		if want == "" || slices.Contains(strings.Split(want, ","), title) {
			ts, ls = append(ts, title), append(ls, loads[i])
		}
	}
	return ts, ls
}

// One packet in a hundred is lost, either way, on a path of 2 ms.
func TestBenchTFTPLoss(t *testing.T) {
	b := newLab(t, &line{delay: time.Millisecond, loss: 0.01})
	benchFiles(t, b)
	seconds := benchNumber("BENCH_SECONDS", 1)
	compare(t, b, "tftp-load", tftpPeers(), []string{"w1 x 16", "w16 x 16"}, []load{
		{Clients: 16, Block: 1468, Window: 1, Seconds: seconds, File: "file"},
		{Clients: 16, Block: 1468, Window: 16, Seconds: seconds, File: "file"},
	}, waitTFTP)
}
