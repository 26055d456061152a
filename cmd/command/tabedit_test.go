package command

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"margay/provision/api"
)

func TestTabedit(t *testing.T) {
	tests := []struct {
		name, editor, stdin string
		fails               bool
		out, err, site      string
	}{
		{"left alone", `true`, "", false, "No file modifications detected, not restoring.\n", "", `"a","1",,`},
		{"changed", `sed -i 's/"1"/"2"/'`, "", false, "", "", `"a","2",,`},
		{"broken and given up", `sed -i 's/"1"/"2/'`, "n\n", true, "", "CSV unmatched quote in line 2", `"a","1",,`},
		{"broken and mended", `sed -i -e 's/"3,/"3",/' -e 's/"1"/"3/'`, "y\n", false, "", "CSV unmatched quote in line 2", `"a","3",,`},
		{"no editor", `nosuch-editor`, "", true, "", "nosuch-editor", `"a","1",,`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("EDITOR", "false")
			t.Setenv("TABEDITOR", tt.editor)
			p := newPrompt(t)
			p.run(t, "chtab key=a site.value=1", "")
			var out, errs bytes.Buffer
			remote := func(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) (int, error) {
				return p.client.Run(ctx, &api.Request{Args: args, Dir: "/"}, stdin, stdout, &errs)
			}
			// A file, as a terminal is: the editor takes of it only what it reads.
			stdin, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			io.WriteString(w, tt.stdin)
			w.Close()
			cmd := Tabedit(remote, stdin, &out, &errs)
			err = cmd.Local(t.Context(), pflag.NewFlagSet("tabedit", pflag.ContinueOnError), []string{"site"})
			if (err != nil) != tt.fails || out.String() != tt.out || !strings.Contains(errs.String(), tt.err) {
				t.Errorf("%v\n%s\n%s", err, out.String(), errs.String())
			}
			if got := p.run(t, "tabdump site", ""); !strings.Contains(got, tt.site) {
				t.Errorf("site is %s, want %s", got, tt.site)
			}
			if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "tabedit*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
