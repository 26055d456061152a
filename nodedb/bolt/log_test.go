package bolt_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"margay/nodedb"
	"margay/nodedb/bolt"
)

// crash copies a table's files as they would be if its process were killed
// now, and returns the copy's name. Nobody may be folding.
func crash(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "table.db")
	for _, suffix := range []string{"", "-log1", "-log2"} {
		b, err := os.ReadFile(path + suffix)
		if os.IsNotExist(err) {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// What is in logs only is there after a crash, however the records were
// changed, and a file that was closed has no logs.
func TestLogReplayed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.db")
	store := open(t, path)
	db, err := nodedb.New(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	want := map[string]map[string]string{}
	for step := range 300 {
		before := maps.Clone(want)
		err := db.Update(t.Context(), func(tx *nodedb.Tx) error {
			want = maps.Clone(before)
			for range 1 + rng.IntN(4) {
				name, column, value := fmt.Sprint("n", rng.IntN(20)), fmt.Sprint("t.c", rng.IntN(5)), fmt.Sprint(rng.IntN(1000))
				k := nodedb.Key{Kind: "margay.test", Name: name}
				switch rng.IntN(8) {
				case 0:
					tx.Delete(k)
					delete(want, name)
					continue
				case 1:
					tx.Put(k, map[string]string{column: value, "t.": ""})
					want[name] = map[string]string{column: value, "t.": ""}
					continue
				case 2:
					value = ""
				}
				tx.Set(k, column, value)
				attrs := maps.Clone(want[name])
				if attrs == nil {
					attrs = map[string]string{}
				}
				if attrs[column] = value; value == "" {
					delete(attrs, column)
				}
				want[name] = attrs
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if step%50 == 30 { // folds all
			if err := store.Backup(io.Discard); err != nil {
				t.Fatal(err)
			}
		}
		if step%7 != 0 {
			continue
		}
		copied := crash(t, path)
		got := map[string]map[string]string{}
		for _, r := range loadAll(t, copied) {
			got[r.Name] = r.Attrs
		}
		if !maps.EqualFunc(got, want, maps.Equal) {
			t.Fatalf("step %d: after a crash\n%v\nwant\n%v", step, got, want)
		}
		if logs := bolt.Logs(copied); len(logs) > 0 {
			t.Fatalf("a closed table has %v", logs)
		}
	}
	db.Close()
	if logs := bolt.Logs(path); len(logs) > 0 {
		t.Errorf("a closed table has %v", logs)
	}
}

// A log that is cut off or damaged makes an error or loses what was not
// acknowledged: the last frame alone.
func TestDamagedLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.db")
	s := open(t, path)
	const commits = 12
	at := int64(0)
	for i := range commits {
		at = commit(t, s, record("r", fmt.Sprintf("v%02d-%s", i, strings.Repeat("x", 300)), at))
	}
	whole := crash(t, path)
	logs := bolt.Logs(whole)
	if len(logs) != 1 {
		t.Fatalf("logs are %v", logs)
	}
	b, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(b, "\x00"))
	last := bytes.Index(b, []byte("v11-"))
	noticed := 0
	check := func(what string, damaged []byte, losable bool) {
		t.Helper()
		bad := crash(t, whole)
		if err := os.WriteFile(bolt.Logs(bad)[0], damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(bad)
		if err != nil {
			noticed++
			if !strings.Contains(err.Error(), bad) {
				t.Errorf("%s: %v, want the table's name", what, err)
			}
			return
		}
		defer s.Close()
		recs, _, err := s.Load(context.Background())
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		got := ""
		if len(recs) == 1 {
			got, _, _ = strings.Cut(recs[0].Attrs["t.v"], "-")
		}
		if got != "v11" && !(losable && got == "v10") {
			t.Errorf("%s: the record has %q, and nobody says so", what, got)
		}
	}
	rng := rand.New(rand.NewPCG(7, 8))
	flip := func(i int) {
		d := bytes.Clone(b)
		d[i] ^= byte(1 + rng.IntN(255))
		check(fmt.Sprint("byte ", i), d, i >= last-100)
	}
	head := bytes.Index(b[64:], []byte("v00-")) + 64 // and 64 bytes are no frame's yet
	for i := range head {
		if i < 40 || i >= 64 {
			flip(i)
		}
	}
	if noticed < head-24-8 {
		t.Errorf("%d of %d damages at the beginning were noticed", noticed, head-24)
	}
	for i := head; i < used; i += 17 {
		flip(i)
	}
	for i := 512; i+512 < last; i += 512 { // a sector of zeros
		d := bytes.Clone(b)
		clear(d[i : i+512])
		check(fmt.Sprint("zeros at ", i), d, false)
	}
	d := bytes.Clone(b)
	clear(d[:64])
	check("no head", d, false)
	for range 20 { // the last frame is torn
		cut := last + rng.IntN(used-last)
		check(fmt.Sprint("cut at ", cut), b[:cut], true)
		check(fmt.Sprint("zeros from ", cut), append(bytes.Clone(b[:cut]), make([]byte, 4096)...), true)
	}
}

// A log is not taken for another table's, nor for one of another time.
func TestForeignLog(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db")
	one, two := open(t, a), open(t, b)
	at := commit(t, one, record("r", "1", 0))
	early := filepath.Join(dir, "early.db")
	f, err := os.Create(early)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Backup(f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for i := range 3 { // each in a log of its own, of which two are kept
		at = commit(t, one, record("r", fmt.Sprint(2+i), at))
		if err := one.Backup(io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, one, record("r", "last", at))
	commit(t, two, record("r", "x", 0))
	crashed, other := crash(t, a), crash(t, b)
	for what, file := range map[string]string{"another table": other, "an older copy": early} {
		bytes, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mixed := crash(t, crashed)
		if err := os.WriteFile(mixed, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := bolt.Open(mixed); err == nil || !strings.Contains(err.Error(), "-log") {
			t.Errorf("%s's file beside the log: %v", what, err)
		}
		if len(bolt.Logs(mixed)) == 0 {
			t.Errorf("%s's file beside the log: it is gone", what)
		}
	}
}

// Opening a table with anything for a log is an error at worst.
func FuzzLog(f *testing.F) {
	path := filepath.Join(f.TempDir(), "table.db")
	s, err := bolt.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	at := int64(0)
	for i := range 3 {
		at, err = s.Commit(context.Background(), []nodedb.Change{{Key: nodedb.Key{Kind: "k", Name: "n"}, Attrs: map[string]string{"t.a": fmt.Sprint(i), "t.b": "x"}, If: at, Touched: []string{"t.a"}}})
		if err != nil {
			f.Fatal(err)
		}
	}
	table, _ := os.ReadFile(path)
	log, err := os.ReadFile(bolt.Logs(path)[0])
	if err != nil {
		f.Fatal(err)
	}
	s.Close()
	body := bytes.TrimRight(log, "\x00")[64:]
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		name := filepath.Join(t.TempDir(), "table.db")
		os.WriteFile(name, table, 0o600)
		os.WriteFile(name+"-log1", bolt.Frames(log[:64], body), 0o600)
		s, err := bolt.Open(name)
		if err != nil {
			return
		}
		if _, _, err := s.Load(context.Background()); err != nil {
			t.Error(err)
		}
		s.Close()
	})
}
