package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"margay/nodedb"
)

// TestSiteKeysHaveEffect holds what is said of the site's settings against the
// tree: one that nothing reads is said to have no effect.
func TestSiteKeysHaveEffect(t *testing.T) {
	var code bytes.Buffer
	err := filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(name, ".") && name != "..":
			return fs.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "schema_") || name == "setup.go":
			return nil
		}
		src, err := os.ReadFile(p)
		code.Write(src)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range nodedb.SiteKeys() {
		read := bytes.Contains(code.Bytes(), []byte(`"`+k.Name+`"`))
		if !read && !strings.Contains(k.Desc, "no effect here") {
			t.Errorf("site.%s: nothing reads it, and it is said: %s", k.Name, k.Desc)
		}
	}
}
