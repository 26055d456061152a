package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"margay/nodedb/bolt"
)

// margay runs a command that needs no daemon, and returns what it says.
func margay(t *testing.T, args ...string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), runAsMargay+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// killed returns the state directory of a daemon that was killed when its last
// commits were in the log alone, and a backup from before the very last one.
// It has the nodes n1 and n2 and a password; n2 is not in the backup.
func killed(t *testing.T) (state, backup string) {
	t.Helper()
	s := startServer(t, t.TempDir())
	s.must("mkdef", "n1", "groups=all")
	s.must("chtab", "key=vmware", "passwd.username=root", "passwd.password=Secret-1")
	backup = filepath.Join(s.dir, "table.backup")
	s.must("backup", backup)
	s.must("mkdef", "n2", "groups=all")
	s.kill()
	state = filepath.Join(s.dir, "state")
	if len(bolt.Logs(filepath.Join(state, "margay.db"))) == 0 {
		t.Fatal("no log is left: the test shows nothing")
	}
	return state, backup
}

// nodesOf starts a daemon on a state directory and returns its nodes and the
// password of killed.
func nodesOf(t *testing.T, state string) string {
	t.Helper()
	s := startServer(t, filepath.Dir(state))
	defer s.kill()
	return strings.Join(strings.Fields(s.must("nodels")+s.must("gettab", "--reveal", "key=vmware", "passwd.password")), " ")
}

// A backup has what is in the log alone, and is what the table is after
// restore: what the old table's log has is not done to it, and stays with the
// old table.
func TestRestoreBesideLogs(t *testing.T) {
	state, backup := killed(t)
	if out, err := margay(t, "restore", backup, "--state", state); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("without --force: %s", out)
	}
	// Folded by that look at it; what was in the log is there.
	if out := nodesOf(t, state); out != "n1 n2 Secret-1" {
		t.Fatalf("after a look: %s", out)
	}
	state, backup = killed(t)
	if out, err := margay(t, "restore", backup, "--state", state, "--force"); err != nil {
		t.Fatalf("restore: %s", out)
	}
	if out := nodesOf(t, state); out != "n1 Secret-1" {
		t.Errorf("restored: %s", out)
	}
	old, _ := filepath.Glob(filepath.Join(state, "margay.db.before-restore-*"))
	if len(old) != 1 {
		t.Fatalf("the old table is %v", old)
	}
	other := filepath.Join(t.TempDir(), "state")
	move(t, old[0], filepath.Join(other, "margay.db"))
	move(t, filepath.Join(state, "seal.key"), filepath.Join(other, "seal.key"))
	if out := nodesOf(t, other); out != "n1 n2 Secret-1" {
		t.Errorf("the old table: %s", out)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// A daemon refuses a table whose log is damaged, or whose file is another's or
// gone; restore is the way out of each.
func TestRestoreOfDamaged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(db, log string) error
		says   string
	}{
		{"the log's beginning", func(_, log string) error { return flip(log, 20) }, "put a backup in its place"},
		{"the log's middle", func(_, log string) error { return flip(log, 100) }, "put a backup in its place"},
		{"the file", func(db, _ string) error { return flip(db, 4096+30, 30, 8192, 12288, 16384) }, "put a backup in its place"},
		{"another's file", func(db, _ string) error {
			other := filepath.Join(filepath.Dir(db), "other.db")
			s, err := bolt.Open(other)
			if err != nil {
				return err
			}
			s.Close()
			return os.Rename(other, db)
		}, "is another table's log"},
		{"no file", func(db, _ string) error { return os.Remove(db) }, "is another table's log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state, backup := killed(t)
			db := filepath.Join(state, "margay.db")
			if err := tt.damage(db, bolt.Logs(db)[0]); err != nil {
				t.Fatal(err)
			}
			if tt.name == "no file" {
				if out, err := margay(t, "restore", backup, "--state", state); err == nil || !strings.Contains(out, "is its log; --force") {
					t.Errorf("without --force: %s", out)
				}
			}
			out, err := margay(t, "serve", "--state", state, "--socket", filepath.Join(state, "s"), "--interface", "lo",
				"--dhcp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tftp", "127.0.0.1:0", "--dns", "127.0.0.1:0")
			if err == nil || !strings.Contains(out, tt.says) || strings.Contains(out, "goroutine") {
				t.Errorf("serve: %v %s", err, out)
			}
			if out, err := margay(t, "restore", backup, "--state", state, "--force"); err != nil {
				t.Fatalf("restore: %s", out)
			}
			if out := nodesOf(t, state); out != "n1 Secret-1" {
				t.Errorf("restored: %s", out)
			}
		})
	}
}

// flip changes bytes of a file.
func flip(name string, at ...int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, i := range at {
		var b [1]byte
		if _, err := f.ReadAt(b[:], i); err != nil {
			return err
		}
		b[0] ^= 0x55
		if _, err := f.WriteAt(b[:], i); err != nil {
			return err
		}
	}
	return nil
}

// A table goes from its file to etcd and back with what its log has, and is the
// same there.
func TestStoreCopyBesideLogs(t *testing.T) {
	url := "etcd://" + startEtcd(t) + "/margay"
	state, _ := killed(t)
	back := filepath.Join(t.TempDir(), "state")
	if err := os.MkdirAll(back, 0o700); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(state, "margay.db")
	for _, way := range [][2]string{{"bolt:" + db, url}, {url, "bolt:" + filepath.Join(back, "margay.db")}} {
		if out, err := margay(t, "store", "copy", way[0], way[1]); err != nil {
			t.Fatalf("copy to %s: %s", way[1], out)
		}
	}
	move(t, filepath.Join(state, "seal.key"), filepath.Join(back, "seal.key"))
	if out := nodesOf(t, back); out != "n1 n2 Secret-1" {
		t.Errorf("from etcd: %s", out)
	}
}
