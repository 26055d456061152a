package rom

import (
	"net/url"
	"regexp"
	"strings"
)

// Redact takes secrets out of an address: the token of a query, and that of a
// callback.
func Redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		s, _, _ = strings.Cut(s, "?")
		return s
	}
	if q := u.Query(); q.Has("t") {
		q.Del("t")
		u.RawQuery = q.Encode()
	}
	parts := strings.Split(u.Path, "/")
	for i, p := range parts {
		if p == "callback" && i+1 < len(parts) {
			parts[i+1] = "-"
		}
	}
	u.Path, u.RawPath = strings.Join(parts, "/"), ""
	return u.String()
}

// secret finds tokens in text.
var secret = regexp.MustCompile(`([?&]t=|/callback/)[^\s&/"']+`)

// RedactText takes secrets out of a text with addresses in it.
func RedactText(s string) string { return secret.ReplaceAllString(s, "${1}-") }

func isURL(s string) bool { return strings.Contains(s, "://") }

// resolve reads ref as iPXE does: relative to where the running script or
// program came from.
func resolve(base, ref string) string {
	if isURL(ref) || base == "" {
		return ref
	}
	b, err := url.Parse(base)
	if err != nil {
		return ref
	}
	r, err := url.Parse(ref)
	if err != nil {
		return ref
	}
	return b.ResolveReference(r).String()
}
