package media

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// udfTree is a directory for genisoimage's UDF, which has no links and names
// in UCS-2 only.
func udfTree(t testing.TB) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"README.TXT":                          "read me",
		"sources/install.wim":                 strings.Repeat("wim", 700_000),
		"sources/A long name that is kept.md": "x",
		"sources/" + strings.Repeat("n", 120): "long",
		"日本語/資料.txt":                          "japanese",
		"empty":                               "",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestUDF: images that have no Rock Ridge, such as Windows' own, whose ISO 9660
// tree is a stub.
func TestUDF(t *testing.T) {
	dir := udfTree(t)
	for name, args := range map[string][]string{
		"bridge": {"-udf", "-input-charset", "utf-8"},
		"stub":   {"-udf", "-input-charset", "utf-8", "-hide", "sources", "-hide", "empty", "-hide", "日本語"},
	} {
		t.Run(name, func(t *testing.T) {
			iso := filepath.Join(t.TempDir(), "x.iso")
			run(t, "genisoimage", append(args, "-quiet", "-o", iso, dir)...)
			im := open(t, iso)
			if im.Format != "udf" {
				t.Errorf("format %s, want udf", im.Format)
			}
			compare(t, name, listing(t, im), listing(t, os.DirFS(dir)))
			unpackAndCompare(t, im, listing(t, im))
		})
	}
}

func TestUDFThatIsCut(t *testing.T) {
	iso := filepath.Join(t.TempDir(), "x.iso")
	run(t, "genisoimage", "-quiet", "-udf", "-o", iso, udfTree(t))
	b, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	b = b[:len(b)-1<<20]
	if _, err := New(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("got %v", err)
	}
}

// TestUDFDeletedEntries are passed over (ECMA-167 4/14.4.3).
func TestUDFDeletedEntries(t *testing.T) {
	iso := filepath.Join(t.TempDir(), "x.iso")
	run(t, "genisoimage", "-quiet", "-udf", "-input-charset", "utf-8", "-o", iso, udfTree(t))
	b, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("\x08empty")) // compressed Unicode, 38 bytes into the entry
	if at < 0 || b[at-38] != 1 || b[at-37] != 1 {
		t.Fatal("no entry to patch")
	}
	b[at-38+18] |= 4
	im, err := New(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.Stat("empty"); err == nil {
		t.Error("a deleted file is there")
	}
}
