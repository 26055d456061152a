package esxi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lintFiles calls fn for each file of a directory; the version is in its first
// line: "# esxi 8.0.2".
func lintFiles(t *testing.T, dir string, fn func(rule, version, text string)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.cfg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		version, ok := strings.CutPrefix(lineOf(string(b), "# esxi "), "# esxi ")
		if !ok {
			t.Fatalf("%s does not say for which version", file)
		}
		fn(strings.TrimSuffix(filepath.Base(file), ".cfg"), version, string(b))
	}
}

// isRule says whether a file's name is a rule's, or one with more behind it.
func isRule(file, rule string) bool { return file == rule || strings.HasPrefix(file, rule+"-") }

// TestLintRejectsOneFilePerRule: each file breaks the rule it is called by, and
// no other.
func TestLintRejectsOneFilePerRule(t *testing.T) {
	aliases := map[string]string{
		"installorupgrade-ignoressd": "unknown-option", "dhcp-with-ip": "dhcp", "static-without-ip": "static",
		"keyboard-words": "keyboard", "withdrawn-install-url": "withdrawn-option", "withdrawn-unsupported": "withdrawn-option",
	}
	lintFiles(t, "lint", func(name, version, text string) {
		want := name
		if a, ok := aliases[name]; ok {
			want = a
		}
		l := Linter{Version: ParseVersion(version), SecureBoot: name == "secure-boot"}
		found := false
		for _, f := range l.Lint(text) {
			switch {
			case f.Error && isRule(want, f.Rule):
				found = true
			case f.Error:
				t.Errorf("%s: found also %s", name, f)
			}
		}
		if !found {
			t.Errorf("%s: not found, got %v", name, l.Lint(text))
		}
	})
}

func TestLintWarnings(t *testing.T) {
	aliases := map[string]string{"no-interpreter": "interpreter"}
	lintFiles(t, "lint-warnings", func(name, version, text string) {
		want := name
		if a, ok := aliases[name]; ok {
			want = a
		}
		list := Lint(text, version)
		if len(list) == 0 || list[0].Error || !isRule(want, list[0].Rule) {
			t.Errorf("%s: got %v", name, list)
		}
	})
}

func TestLintFindsNothingInGoodFiles(t *testing.T) {
	lintFiles(t, "lint-good", func(name, version, text string) {
		for _, f := range Lint(text, version) {
			if f.Error {
				t.Errorf("%s: %s", name, f)
			}
		}
	})
}

func TestFindingSaysWhere(t *testing.T) {
	list := Lint("vmaccepteula\nrootpw --iscrypted x\ninstall --firstdisk\nreboot\n", "8.0")
	want := "line 2: error: --iscrypted wants a $6$ or $1$ hash, or DES's 13 characters (rootpw)"
	if len(list) != 1 || list[0].String() != want {
		t.Errorf("got %v, want %s", list, want)
	}
}

func TestSplitWords(t *testing.T) {
	for text, want := range map[string]string{
		"a b  c":          "a|b|c",
		"a 'b c' \"d e\"": "a|b c|d e",
		`a\ b`:            "a b",
		"a # b":           "a",
		"a#b":             "a#b",
		"''":              "",
		"--x='y z'":       "--x=y z",
		"a 'b":            "!",
		`a \`:             "!",
	} {
		words, ok := splitWords(text)
		got := strings.Join(words, "|")
		if !ok {
			got = "!"
		}
		if got != want {
			t.Errorf("splitWords(%q) = %q, want %q", text, got, want)
		}
	}
}

// FuzzLint: any text is read to its end, and findings point into it.
func FuzzLint(f *testing.F) {
	f.Add("vmaccepteula\nrootpw x\n%post\n", "8.0")
	f.Add("install --firstdisk= --disk\n%include\nnetwork --ip=\n'", "4.1")
	f.Fuzz(func(t *testing.T, text, version string) {
		lines := strings.Count(text, "\n") + 1
		for _, finding := range Lint(text, version) {
			if finding.Line < 0 || finding.Line > lines || finding.Rule == "" || finding.Text == "" {
				t.Fatalf("%+v in a text of %d lines", finding, lines)
			}
		}
	})
}
