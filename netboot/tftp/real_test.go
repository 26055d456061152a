package tftp

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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

// fetch runs a client in an empty directory, and returns what it wrote to out.
func fetch(t *testing.T, stdin, path string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, said)
	}
	data, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, said)
	}
	return data
}

func TestRealClients(t *testing.T) {
	f := files{"empty": {}, "block": noise(1024), "some": noise(3_000_001)}
	addr := serve(t, &Server{Opener: f}, "127.0.0.1:0")
	host, port := addr.Addr().String(), addr.Port()
	clients := []struct {
		program string
		args    func(name string) []string
	}{
		{"tftp", func(name string) []string { // tftp-hpa
			return []string{"-m", "binary", host, itoa(port), "-c", "get", "/" + name, "out"}
		}},
		{"curl", func(name string) []string {
			return []string{"-sS", "--tftp-blksize", "1468", "-o", "out", "tftp://" + addr.String() + "/" + name}
		}},
		{"curl", func(name string) []string {
			return []string{"-sS", "--tftp-no-options", "-o", "out", "tftp://" + addr.String() + "/" + name}
		}},
		{"atftp", func(name string) []string {
			return []string{"--option", "blksize 1468", "--option", "windowsize 8", "--get", "-r", name, "-l", "out", host, itoa(port)}
		}},
		{"busybox", func(name string) []string {
			return []string{"tftp", "-b", "1400", "-g", "-r", name, "-l", "out", host, itoa(port)}
		}},
	}
	for _, c := range clients {
		for name, want := range f {
			if c.program == "curl" && name == "empty" {
				continue // curl before 8 takes tsize 0 for an error
			}
			t.Run(c.program+"/"+name, func(t *testing.T) {
				if got := fetch(t, "", program(t, c.program), c.args(name)...); !bytes.Equal(got, want) {
					t.Errorf("%d bytes, want %d", len(got), len(want))
				}
			})
		}
	}
}

func itoa(n uint16) string { return strconv.Itoa(int(n)) }
