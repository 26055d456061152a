package ssh_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"margay/provision/ssh"
)

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ssh", "id_ecdsa")
	_, line, err := ssh.LoadKey(path)
	if err != nil || !strings.HasPrefix(line, "ecdsa-sha2-nistp256 ") || !strings.HasSuffix(line, " margay") {
		t.Fatalf("%q %v", line, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v, want mode 0600", fi.Mode(), err)
	}
	if _, again, err := ssh.LoadKey(path); err != nil || again != line {
		t.Errorf("the second time %q %v, want the same key", again, err)
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ssh.LoadKey(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that is no key: %v", err)
	}
}
