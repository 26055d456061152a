package httpd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program returns the path of a client of the outside world. Where the tests
// are run with MARGAY_TEST_REAL set, as `make test` does, it must be there.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("MARGAY_TEST_REAL") != "" {
		t.Fatalf("%s is not installed, and MARGAY_TEST_REAL is set", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func TestRealClients(t *testing.T) {
	dir := t.TempDir()
	want := noise(5_000_001)
	if err := os.WriteFile(filepath.Join(dir, "mod"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{dir: dir}
	at := serve(t, &Server{Opener: w, Receiver: w})
	tests := []struct {
		program string
		args    []string
		want    []byte
	}{
		{"curl", []string{"-sSf", "-o", "out", at + "/mod"}, want},
		{"curl", []string{"-sSf", "-0", "-o", "out", at + "//mod"}, want},
		{"curl", []string{"-sSf", "--path-as-is", "-r", "100-1099", "-o", "out", at + "/x/../mod"}, want[100:1100]},
		{"curl", []string{"-sSf", "-d", "log", "-o", "out", at + "/callback/t/installed"}, []byte("ok\n")},
		{"wget", []string{"-q", "-O", "out", at + "/mod"}, want},
		{"busybox", []string{"wget", "-q", "-O", "out", at + "/mod"}, want},
		{"busybox", []string{"wget", "-q", "--post-data", "x=1", "-O", "out", at + "/callback/t/booted"}, []byte("ok\n")},
	}
	for _, tt := range tests {
		t.Run(tt.program, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program(t, tt.program), tt.args...)
			cmd.Dir = t.TempDir()
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", cmd, err, said)
			}
			got, err := os.ReadFile(filepath.Join(cmd.Dir, "out"))
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("%s: %d bytes, want %d; %v", cmd, len(got), len(tt.want), err)
			}
		})
	}
}
