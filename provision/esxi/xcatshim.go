package esxi

import (
	"fmt"
	"strings"

	"margay/templates"
)

// IsOldTemplate says whether a template holds xCAT's #...# directives.
func IsOldTemplate(text string) bool {
	for _, word := range []string{"#TABLE:", "#TABLEBLANKOKAY:", "#CRYPT:", "#CRYPTORLOCKED:", "#XCATVAR:", "#INCLUDE:", "#ENV:", "#COMMAND:", "#HOSTNAME#", "#SHORTNAME#", "#ESXIPV6SETUP#", "#COLONHTTPPORT#"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

func (h *host) oldDirectives(f *Family, t *templates.Template, text []byte, d *KickstartData) ([]byte, error) {
	return nil, fmt.Errorf("%s: xCAT's directives are not known yet", t.Source)
}
