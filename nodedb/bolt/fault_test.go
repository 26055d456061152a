package bolt_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"margay/nodedb"
	"margay/nodedb/bolt"
)

func open(t testing.TB, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func record(name, value string, at int64) nodedb.Change {
	return nodedb.Change{Key: nodedb.Key{Kind: "margay.test", Name: name}, Attrs: map[string]string{"t.v": value}, If: at}
}

func commit(t testing.TB, s *bolt.Store, changes ...nodedb.Change) int64 {
	t.Helper()
	rev, err := s.Commit(context.Background(), changes)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func TestFileIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.db")
	first := open(t, path)
	_, err := bolt.Open(path)
	if err == nil || !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("a second process: %v", err)
	}
	first.Close()
	open(t, path)
}

func TestFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.db")
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v (%v)", info.Mode(), err)
	}
	if _, err := bolt.Open(filepath.Join(t.TempDir(), "no", "dir")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// fill makes a file with several hundred records and closes it.
func fill(t testing.TB, path string) {
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		var changes []nodedb.Change
		for j := range 200 {
			changes = append(changes, record(fmt.Sprintf("r%d-%03d", i, j), strings.Repeat("v", 100), 0))
		}
		commit(t, s, changes...)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A damaged file makes an error that says so, wherever the damage is: it is
// never a panic, and never silently other records.
func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.db")
	fill(t, path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	good := loadAll(t, path)
	rng := rand.New(rand.NewPCG(3, 4))
	damages := []func() []byte{
		func() []byte { return []byte("this is not a table\n") },
		func() []byte { return bytes.Repeat([]byte{0}, len(whole)) },
		func() []byte { return whole[:len(whole)/2] },
		func() []byte { return whole[:4096] },
		func() []byte { return append(bytes.Repeat([]byte{0xff}, 8192), whole[8192:]...) },
	}
	for page := range len(whole) / 4096 { // each page: noise, and none
		damages = append(damages, func() []byte {
			b := bytes.Clone(whole)
			for i := range 4096 {
				b[page*4096+i] = byte(rng.Uint32())
			}
			return b
		}, func() []byte {
			b := bytes.Clone(whole)
			clear(b[page*4096 : (page+1)*4096])
			return b
		})
	}
	for at := range 160 { // each byte of the two heads
		damages = append(damages, func() []byte {
			b := bytes.Clone(whole)
			b[at/80*4096+at%80] ^= 0x41
			return b
		})
	}
	for range 60 { // a page of noise, or of another page
		damages = append(damages, func() []byte {
			b := bytes.Clone(whole)
			at := (2 + rng.IntN(len(b)/4096-2)) * 4096
			if rng.IntN(2) == 0 {
				from := rng.IntN(len(b)/4096) * 4096
				copy(b[at:at+4096], whole[from:from+4096])
				return b
			}
			for i := range 4096 {
				b[at+i] = byte(rng.Uint32())
			}
			return b
		})
	}
	for range 60 { // a few bytes
		damages = append(damages, func() []byte {
			b := bytes.Clone(whole)
			for range 3 {
				b[8192+rng.IntN(len(b)-8192)] ^= byte(1 + rng.IntN(255))
			}
			return b
		})
	}
	noticed := 0
	for i, damage := range damages {
		bad := filepath.Join(t.TempDir(), "bad.db")
		if err := os.WriteFile(bad, damage(), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(bad)
		var recs []nodedb.Record
		if err == nil {
			recs, _, err = s.Load(context.Background())
			if err == nil && !sameRecords(recs, good) {
				t.Errorf("damage %d: other records, and no error", i)
			}
			s.Close()
		}
		if err != nil {
			noticed++
			if !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("damage %d: %v, want the file's name and the way out", i, err)
			}
		}
	}
	if noticed < len(damages)/4 {
		t.Errorf("%d of %d damages were noticed", noticed, len(damages))
	}
}

func loadAll(t testing.TB, path string) []nodedb.Record {
	t.Helper()
	s := open(t, path)
	defer s.Close()
	recs, _, err := s.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

func sameRecords(a, b []nodedb.Record) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func TestLaterFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.db")
	fill(t, path)
	bolt.SetFormat(t, path, 99)
	if _, err := bolt.Open(path); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("%v", err)
	}
}

// A backup taken while commits go on is a table of one moment.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "table.db"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		at := int64(0)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			at = commit(t, s, record("a", fmt.Sprint(i), at), record("b", fmt.Sprint(i), at))
		}
	})
	for i := range 10 {
		path := filepath.Join(dir, fmt.Sprint("backup", i))
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Backup(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if recs := loadAll(t, path); len(recs) == 2 && recs[0].Attrs["t.v"] != recs[1].Attrs["t.v"] || len(recs) == 1 {
			t.Errorf("the backup has half a commit: %v", recs)
		}
	}
	close(stop)
	wg.Wait()
}

// Commits that fail for want of room change nothing, and those after them,
// when there is room again, go through.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		asRoot(t)
		return
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatalf("no tmpfs here, and MARGAY_TEST_REAL is set: %v", err)
		}
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	path := filepath.Join(dir, "table.db")
	s := open(t, path)
	at := commit(t, s, record("small", "before", 0))
	big := strings.Repeat("x", 64<<10)
	kept := 0
	var fault error
	for i := range 100 {
		if _, fault = s.Commit(context.Background(), []nodedb.Change{record(fmt.Sprint("big", i), big, 0)}); fault != nil {
			break
		}
		kept++
	}
	if fault == nil || !errors.Is(fault, syscall.ENOSPC) || !strings.Contains(fault.Error(), "not written") {
		t.Fatalf("after %d commits: %v", kept, fault)
	}
	recs, _, err := s.Load(context.Background())
	if err != nil || len(recs) != kept+1 {
		t.Fatalf("%d records (%v), want %d", len(recs), err, kept+1)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	commit(t, s, record("small", "after", at), record("more", big, 0))
	s.Close()
	if recs := loadAll(t, path); len(recs) != kept+2 {
		t.Errorf("%d records after there was room again, want %d", len(recs), kept+2)
	}
}

// asRoot runs a test again as root of a user namespace with mounts of its own,
// so that it may mount. Where there are no such namespaces it is skipped.
func asRoot(t *testing.T) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "5m")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		if os.Getenv("MARGAY_TEST_REAL") != "" {
			t.Fatalf("neither root nor a user namespace, and MARGAY_TEST_REAL is set: %v", err)
		}
		t.Skipf("needs root or a user namespace, to mount a small file system: %v", err)
	}
	err := cmd.Wait()
	t.Logf("in a user namespace:\n%s", out.String())
	switch {
	case err != nil:
		t.Fail()
	case strings.Contains(out.String(), "--- SKIP"):
		t.Skip("skipped in a user namespace too")
	case !strings.Contains(out.String(), "--- PASS: "+t.Name()):
		t.Error("it did not run")
	}
}

// The child commits as fast as it can, by few records and by many, folds its
// log every now and then, and says what was acknowledged, until it is killed at
// any moment, while it starts too. Afterwards everything acknowledged is there,
// and of what was not, all or nothing. MARGAY_KILLS is how many times.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.db")
	kills := 6
	if n, err := strconv.Atoi(os.Getenv("MARGAY_KILLS")); err == nil {
		kills = n
	}
	acked := map[string]int{} // by writer: the last round that was acknowledged
	var total, early, withLogs, folded int
	for kill := range kills {
		commits := 1 + rand.IntN(200)
		if kill%5 == 4 {
			commits = 0 // as soon as it has begun, or before
		}
		news := runChild(t, path, commits, []int{0, 20_000, 100_000, 1_000_000}[kill%4])
		for writer, round := range news {
			if round <= acked[writer] {
				t.Errorf("writer %s acknowledged %d after %d", writer, round, acked[writer])
			}
			total += round - acked[writer]
			acked[writer] = round
		}
		if len(news) == 0 {
			early++
		}
		switch len(bolt.Logs(path)) {
		case 1:
			withLogs++
		case 2:
			withLogs++
			folded++
		}
		if kill%3 == 2 {
			continue // the next child is the one that finds the logs
		}
		checkKilled(t, path, kill, acked)
	}
	checkKilled(t, path, kills, acked)
	t.Logf("%d kills: %d commits acknowledged; %d left logs, %d of them two; %d before a commit", kills, total, withLogs, folded, early)
	if total < 5*kills {
		t.Errorf("%d commits in %d kills: the test shows nothing", total, kills)
	}
}

// checkKilled looks whether a table has what was acknowledged, and no commit in
// part.
func checkKilled(t *testing.T, path string, kill int, acked map[string]int) {
	t.Helper()
	seen := map[string][]int{}
	for _, r := range loadAll(t, path) {
		writer, _, _ := strings.Cut(r.Name, "-")
		n, _ := strconv.Atoi(r.Attrs["t.v"])
		seen[writer] = append(seen[writer], n)
	}
	for writer, round := range acked {
		for _, n := range seen[writer] {
			if n != seen[writer][0] || n < round {
				t.Fatalf("kill %d: writer %s has records of rounds %v, acknowledged was %d", kill, writer, seen[writer], round)
			}
		}
		if len(seen[writer]) != childRecords(writer) {
			t.Fatalf("kill %d: writer %s has %d records, want %d", kill, writer, len(seen[writer]), childRecords(writer))
		}
		// At most one commit of each life was there without its word.
		acked[writer] = seen[writer][0]
	}
}

const (
	childEnv     = "MARGAY_TEST_BOLT_CHILD"
	childFoldEnv = "MARGAY_TEST_BOLT_FOLD"
	childWriters = 5
)

// childRecords is how many records a writer sets in a commit. The first sets
// many, and yet more where time does not matter.
func childRecords(writer string) int {
	switch {
	case writer != "w0":
		return 20
	case os.Getenv("MARGAY_KILLS") != "":
		return 2000
	}
	return 200
}

// runChild runs a child, kills it a moment after it has acknowledged so many
// commits, and returns the last round that each writer acknowledged. The child
// folds its log when that has foldAt bytes, unless that is 0.
func runChild(t *testing.T, path string, commits, foldAt int) map[string]int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path, childFoldEnv+"="+strconv.Itoa(foldAt))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	soon := func() {
		time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { cmd.Process.Kill() })
	}
	if commits == 0 {
		soon()
	}
	acked := map[string]int{}
	lines := bufio.NewScanner(out)
	for n := 1; lines.Scan(); n++ {
		if n == commits {
			soon()
		}
		var writer string
		var round int
		if _, err := fmt.Sscan(lines.Text(), &writer, &round); err == nil {
			acked[writer] = round
		}
	}
	io.Copy(io.Discard, out)
	if err := cmd.Wait(); err == nil || !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		t.Fatal("the child ended by itself")
	}
	return acked
}

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		child(path)
	}
	os.Exit(m.Run())
}

// child has several writers each set all their records to the next round.
func child(path string) {
	s, err := bolt.Open(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if n, _ := strconv.ParseInt(os.Getenv(childFoldEnv), 10, 64); n > 0 {
		bolt.FoldAt(s, n)
	}
	recs, _, err := s.Load(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	at, round := map[string]int64{}, map[string]int{}
	for _, r := range recs {
		writer, _, _ := strings.Cut(r.Name, "-")
		at[writer] = r.Rev
		round[writer], _ = strconv.Atoi(r.Attrs["t.v"])
	}
	var mu sync.Mutex
	for w := range childWriters {
		writer := fmt.Sprint("w", w)
		rev, n := at[writer], round[writer]
		go func() {
			for {
				n++
				var changes []nodedb.Change
				for i := range childRecords(writer) {
					changes = append(changes, record(fmt.Sprintf("%s-%d", writer, i), fmt.Sprint(n), rev))
				}
				var err error
				if rev, err = s.Commit(context.Background(), changes); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(writer, n)
				mu.Unlock()
			}
		}()
	}
	select {}
}
