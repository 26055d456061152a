package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest   = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z0-9][A-Za-z0-9_]*)")
	namedScript = regexp.MustCompile("`([A-Za-z0-9_./-]+\\.txtar)`")
	testFunc    = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z0-9][A-Za-z0-9_]*)\(`)
)

// TestCoverageDoc holds docs/coverage.md against the tree: every test and
// script that it names is there.
func TestCoverageDoc(t *testing.T) {
	const doc = "../../docs/coverage.md"
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	tests, scripts := map[string]bool{}, map[string]bool{}
	err = filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return fs.SkipDir
		case strings.HasSuffix(p, ".txtar"):
			scripts[d.Name()] = true
			scripts[filepath.Base(filepath.Dir(p))+"/"+d.Name()] = true
		case strings.HasSuffix(p, "_test.go"):
			src, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			for _, m := range testFunc.FindAllSubmatch(src, -1) {
				tests[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for i, line := range strings.Split(string(b), "\n") {
		for _, m := range namedTest.FindAllStringSubmatch(line, -1) {
			if named++; !tests[m[1]] {
				t.Errorf("%s:%d names %s, which is in no _test.go", doc, i+1, m[1])
			}
		}
		for _, m := range namedScript.FindAllStringSubmatch(line, -1) {
			if named++; !scripts[m[1]] {
				t.Errorf("%s:%d names %s, which is in no testdata", doc, i+1, m[1])
			}
		}
	}
	if named < 100 {
		t.Errorf("%s names %d tests: is it read at all?", doc, named)
	}
}
