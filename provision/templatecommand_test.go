package provision

import (
	"strings"
	"testing"

	"margay/nodedb/nodedbtest"
)

// TestSiteSecret: a setting of the site that is a secret is put in no file.
func TestSiteSecret(t *testing.T) {
	snap := nodedbtest.New(t, nodedbtest.Site("snmpc", "tiger"), nodedbtest.Site("domain", "cluster.test")).Snapshot()
	d := &Directives{Boot: &Boot{Snap: snap}}
	if got, err := d.Expand("#TABLE:site:key=domain:value#", ""); got != "cluster.test" || err != nil {
		t.Errorf("domain: %q, %v", got, err)
	}
	if got, err := d.Expand("#TABLE:site:key=snmpc:value#", ""); strings.Contains(got, "tiger") || err == nil || !strings.Contains(err.Error(), "would put a secret") {
		t.Errorf("snmpc: %q, %v", got, err)
	}
}

// TestTemplateCommand: a command of a template runs if the site says so, and
// its output stands in the file.
func TestTemplateCommand(t *testing.T) {
	for _, tt := range []struct{ allowed, text, want, err string }{
		{"yes", "a #COMMAND:echo one; echo two# b", "a one\ntwo b", ""},
		{"yes", "#COMMAND:echo why >&2; exit 3#", "", "exit status 3: why"},
		{"yes", "#COMMAND:yes | head -c 70000#", "", "more than 65536 bytes"},
		{"", "#COMMAND:echo one#", "", "may only after chtab key=templatecommands"},
		{"no", "#COMMAND:echo one#", "", "may only after"},
	} {
		snap := nodedbtest.New(t, nodedbtest.Site("templatecommands", tt.allowed)).Snapshot()
		got, err := (&Directives{Boot: &Boot{Snap: snap}}).Expand(tt.text, "")
		if tt.err == "" && (err != nil || got != tt.want) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q, allowed %q: %q %v; want %q %q", tt.text, tt.allowed, got, err, tt.want, tt.err)
		}
	}
}
