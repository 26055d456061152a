package esxi

import (
	"fmt"
	"path/filepath"

	"margay/provision"
	"margay/templates"
)

// oldTemplate fills in a template that was written for xCAT.
func (h *host) oldTemplate(t *templates.Template) ([]byte, error) {
	d := &provision.Directives{
		Boot: h.Boot, Hash: h.hash, Domain: h.set.search,
		Words: map[string]string{"KICKSTARTNET": h.networkLine(), "ESXIPV6SETUP": ""},
	}
	text, err := d.Expand(t.Text, filepath.Dir(t.Source))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Source, err)
	}
	return []byte(text), nil
}
