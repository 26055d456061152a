package provision

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"margay/netboot"
)

func tgz(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for i := 0; i < len(files); i += 2 {
		w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o600, Size: int64(len(files[i+1]))})
		w.Write([]byte(files[i+1]))
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

// TestHostState: what a stateless host posts comes back at its next boot, an
// older version can be gone back to, and nothing but a gzip tar is taken.
func TestHostState(t *testing.T) {
	s, c := newService(t)
	s.mustSet(t, "esx1", "netboot")
	s.get(from1, "boot/esx1/script")
	cfg, _ := s.get(from1, "boot/esx1/boot.cfg")
	tok := token(cfg)
	post := func(data []byte) error {
		c.tick(time.Second)
		return s.Receive(t.Context(), from1, "callback/"+tok+"/state", bytes.NewReader(data))
	}
	one := tgz(t, "local.tgz", string(tgz(t, "etc/ntp.conf", "server a\n", "etc/key", "\x00\x01")))
	two := tgz(t, "local.tgz", string(tgz(t, "etc/ntp.conf", "server b\n", "etc/key", "\x00\x02")))
	for _, data := range [][]byte{one, one, two} {
		if err := post(data); err != nil {
			t.Fatal(err)
		}
	}
	versions, err := s.States("esx1")
	if err != nil || len(versions) != 2 {
		t.Fatalf("versions %v, %v; want two", versions, err)
	}
	n, _ := s.DB.Snapshot().Node("esx1")
	b, _, err := s.boot(s.DB.Snapshot(), n, current(s.DB.Snapshot(), n), server)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.State(); err != nil || !bytes.Equal(got, two) {
		t.Errorf("the host gets %d bytes, %v; want the newest", len(got), err)
	}
	text, err := s.DiffStates("esx1", versions[0].ID, versions[1].ID)
	if err != nil || !strings.Contains(text, "-server a\n+server b") || !strings.Contains(text, "local.tgz/etc/key: differs") {
		t.Errorf("diff %q, %v", text, err)
	}
	c.tick(time.Second)
	if err := s.RollbackState("esx1", versions[0].ID); err != nil {
		t.Fatal(err)
	}
	if got, _ := b.State(); !bytes.Equal(got, one) {
		t.Error("after going back the host does not get the older one")
	}
	var r *netboot.Refusal
	if err := post([]byte("no tar")); !errors.As(err, &r) {
		t.Errorf("text: %v, want a refusal", err)
	}
	if err := s.RollbackState("esx1", "../../seal.key"); err == nil {
		t.Error("a path is taken for a version")
	}
	for i := range keepStates + 3 {
		if err := post(tgz(t, "f", strings.Repeat("x", i))); err != nil {
			t.Fatal(err)
		}
	}
	if versions, _ := s.States("esx1"); len(versions) != keepStates {
		t.Errorf("%d versions are kept, want %d", len(versions), keepStates)
	}
	fi, err := os.Stat(filepath.Join(s.State, "hoststate", "esx1"))
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("directory %v %v, want mode 0700", fi, err)
	}
}

// TestPreview: a dry run shows what would change and changes nothing.
func TestPreview(t *testing.T) {
	s, _ := newService(t)
	s.mustSet(t, "esx1", "boot")
	before := s.DB.Snapshot().Rev()
	act, _ := ParseAction("install")
	p := s.Preview(s.DB.Snapshot(), []string{"esx1", "nosuch"}, act)
	if p[0].Err != nil || p[0].State != "install esxi8-x86_64-base" || !strings.Contains(p[0].Diff, "+boot.cfg esx1") || !strings.Contains(p[0].Diff, "-currstate=boot\n+currstate=install") {
		t.Errorf("%+v", p[0])
	}
	if p[1].Err == nil {
		t.Error("a node that is not there has no error")
	}
	if s.DB.Snapshot().Rev() != before {
		t.Error("the table changed")
	}
	s.mustSet(t, "esx1", "install")
	if p := s.Preview(s.DB.Snapshot(), []string{"esx1"}, act); p[0].Diff != "" {
		t.Errorf("nothing changes, and the diff is %q", p[0].Diff)
	}
}
