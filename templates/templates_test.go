package templates

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOperatorsTemplateStandsOverTheBuiltIn(t *testing.T) {
	dir := t.TempDir()
	s := New(dir)
	first, err := s.Find("esxi/none.tmpl", "esxi/base.tmpl")
	if err != nil || !strings.HasPrefix(first.Source, "built-in") {
		t.Fatalf("got %v, %v, want the built-in one", first, err)
	}
	put(t, dir, "esxi/base.tmpl", "one {{.Node}}")
	check := func(want string) {
		t.Helper()
		tmpl, err := s.Find("esxi/none.tmpl", "esxi/base.tmpl")
		if err != nil {
			t.Fatal(err)
		}
		b, err := tmpl.Render(struct{ Node string }{"esx1"})
		if err != nil || string(b) != want {
			t.Errorf("got %q, %v, want %q", b, err, want)
		}
	}
	check("one esx1")
	put(t, dir, "esxi/base.tmpl", "two {{.Node}}") // edited while we run
	check("two esx1")
}

func TestAGeneralTemplateOfTheOperatorsBeatsASpecialBuiltInOne(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "esxi/general.tmpl", "mine")
	tmpl, err := New(dir).Find("esxi/base.tmpl", "esxi/general.tmpl")
	if err != nil || tmpl.Text != "mine" {
		t.Errorf("got %v, %v, want the operator's", tmpl, err)
	}
}

func TestAbsoluteNamesAreFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "x.tmpl", "x")
	for _, s := range []*Set{New(""), New("/nonexistent")} {
		if tmpl, err := s.Find(filepath.Join(dir, "x.tmpl")); err != nil || tmpl.Text != "x" {
			t.Errorf("got %v, %v", tmpl, err)
		}
	}
}

func TestWhatIsLookedForIsNoted(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "ipxe/a.tmpl", `{{include "b.tmpl" .}}`)
	put(t, dir, "b.tmpl", "b")
	s := New(dir)
	for range 2 { // the second time they are parsed already
		var noted []string
		tmpl, err := s.Noting(func(file string) { noted = append(noted, strings.TrimPrefix(file, dir+"/")) }).Find("ipxe/none.tmpl", "ipxe/a.tmpl")
		if err != nil {
			t.Fatal(err)
		}
		if b, err := tmpl.Render(nil); err != nil || string(b) != "b" {
			t.Fatalf("got %q, %v", b, err)
		}
		if got := strings.Join(noted, " "); got != "ipxe/none.tmpl ipxe/a.tmpl ipxe/b.tmpl b.tmpl" {
			t.Errorf("noted %s", got)
		}
		if tmpl, err = s.Find("ipxe/a.tmpl"); err != nil {
			t.Fatal(err)
		}
		if tmpl.Render(nil); len(noted) != 4 {
			t.Error("what others look for is noted")
		}
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "field.tmpl", "line\n{{.Nonsense}}")
	put(t, dir, "map.tmpl", "{{.M.missing}}")
	put(t, dir, "syntax.tmpl", "{{if}}")
	put(t, dir, "loop.tmpl", `{{include "loop.tmpl" .}}`)
	s := New(dir)
	for name, want := range map[string]string{
		"field.tmpl":  "field.tmpl:2",
		"map.tmpl":    "missing",
		"syntax.tmpl": "syntax.tmpl:1",
		"loop.tmpl":   "includes itself",
	} {
		tmpl, err := s.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tmpl.Render(struct{ M map[string]string }{map[string]string{}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", name, err, want)
		}
	}
	if _, err := s.Find("a", "../b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

func TestFunctions(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "d/a", `{{quote .W}} {{join "," .L}} {{include "b" .}}`)
	put(t, dir, "d/b", "({{indent 2 .W}})")
	tmpl, err := New(dir).Find("d/a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := tmpl.Render(struct {
		W string
		L []string
	}{"it's", []string{"x", "y"}})
	if want := `'it'\''s' x,y (  it's)`; err != nil || string(b) != want {
		t.Errorf("got %q, %v, want %q", b, err, want)
	}
}

func TestBuiltInTemplatesParse(t *testing.T) {
	s := New("")
	err := fs.WalkDir(builtin, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		tmpl, err := s.Find(p)
		if err != nil {
			return err
		}
		_, err = tmpl.parse()
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFilesOfADirectory(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "esxi/overlay/b/c", "c")
	put(t, dir, "esxi/overlay/a.tmpl", "{{.X}}")
	if err := os.Chmod(filepath.Join(dir, "esxi/overlay/b/c"), 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := New(dir).Files("esxi/overlay")
	if err != nil || len(files) != 2 || files[0].Name != "esxi/overlay/a.tmpl" || files[1].Name != "esxi/overlay/b/c" {
		t.Fatalf("got %v, %v", files, err)
	}
	if files[0].Mode != 0o644 || files[1].Mode != 0o700 {
		t.Errorf("modes %o, %o", files[0].Mode, files[1].Mode)
	}
	for _, s := range []*Set{New(""), New(dir), New("/nonexistent")} {
		if files, err := s.Files("esxi/nosuch"); err != nil || len(files) != 0 {
			t.Errorf("got %v, %v, want nothing", files, err)
		}
	}
}
