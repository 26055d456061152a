package e2e

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strings"
	"testing"

	"margay/provision/provisiontest"
)

// A medium is an installer ISO whose boot loaders are ours.
type medium struct {
	iso   string
	files map[string]string // "size hash" of each file, by its path in lower case
	load  []string          // kernel and modules in the order of its boot.cfg
}

func newMedium(t *testing.T, k kit) medium {
	t.Helper()
	spec := provisiontest.ESXi{
		Version: "8.0.2",
		Mixed:   true,
		Files: map[string][]byte{
			"mboot.c32":            k.mboot,
			"efi/boot/bootx64.efi": k.bootx64,
		},
	}
	m := medium{iso: filepath.Join(t.TempDir(), spec.FileName()), files: map[string]string{}}
	if err := provisiontest.WriteESXi(m.iso, spec); err != nil {
		t.Fatal(err)
	}
	for _, f := range spec.Tree() {
		var data bytes.Buffer
		if err := f.Write(&data); err != nil {
			t.Fatal(err)
		}
		hash := fnv.New32a()
		hash.Write(data.Bytes())
		m.files[strings.ToLower(f.Path)] = fmt.Sprintf("%d %08x", data.Len(), hash.Sum32())
		if f.Path == "boot.cfg" {
			m.load = bootOrder(data.String())
		}
	}
	if len(m.load) < 50 {
		t.Fatalf("the medium's boot.cfg names %d files only", len(m.load))
	}
	return m
}

// bootOrder is what a boot.cfg has its loader fetch, in that order.
func bootOrder(cfg string) []string {
	var kernel, modules string
	for line := range strings.Lines(cfg) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "kernel":
			kernel = value
		case "modules":
			modules = value
		}
	}
	var out []string
	for _, item := range append([]string{kernel}, strings.Split(modules, "---")...) {
		out = append(out, strings.TrimPrefix(strings.TrimSpace(item), "/"))
	}
	return out
}

// fetched are the lines, in lower case, that a loader prints when it has loaded
// all of the medium from an install tree, byte for byte.
func (m medium) fetched(tree string) []string {
	var out []string
	for _, name := range m.load {
		name = strings.ToLower(name)
		out = append(out, tree+"/"+name+" "+m.files[name])
	}
	return out
}

// checkFetched compares what a loader printed with that.
func (m medium) checkFetched(t *testing.T, tree string, got []string) {
	t.Helper()
	want := m.fetched(tree)
	if len(got) != len(want) {
		t.Errorf("the loader fetched %d files, the medium's boot.cfg names %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if strings.ToLower(got[i]) != want[i] {
			t.Fatalf("file %d: got %s, want %s", i+1, got[i], want[i])
		}
	}
}
