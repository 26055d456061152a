package httpd

import (
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"
)

// maxURL bounds path and query; mboot's limit for a path is 256 bytes.
const maxURL = 4096

var errName = errors.New("path leads out of what is served")

// cleanPath turns the path of a URL into a name below the root. Double slashes
// and dots are cleaned here rather than by a redirect, which loaders do not
// follow. A path that climbs above the root, and one with characters that no
// file of ours has and that could pass for something else, is refused.
func cleanPath(u *url.URL) (string, error) {
	p := strings.TrimLeft(u.Path, "/")
	if len(u.Path)+len(u.RawQuery) > maxURL || strings.ContainsFunc(p, odd) {
		return "", errName
	}
	p = path.Clean(p)
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", errName
	}
	return p, nil
}

func odd(r rune) bool {
	return r < ' ' || r == 0x7f || r == '\\' || r == '?' || r == '#'
}

// withQuery is the name that openers and receivers are asked for.
func withQuery(name string, u *url.URL) string {
	if u.RawQuery == "" {
		return name
	}
	return name + "?" + u.RawQuery
}

// shown is what may be told of a name: neither its query, which holds the
// attempt's token, nor the token of a callback.
func shown(name string) string {
	name, _, _ = strings.Cut(name, "?")
	first, rest, _ := strings.Cut(name, "/")
	if first != callbacks {
		return name
	}
	_, step, ok := strings.Cut(rest, "/")
	if !ok {
		return callbacks
	}
	return callbacks + "/" + step
}

// callbacks is the first element of what goes to the receiver.
const callbacks = "callback"

// ours says whether a name belongs to machines rather than to the fallback.
func (s *Server) ours(name string) bool {
	if s.Fallback == nil {
		return true
	}
	first, _, _ := strings.Cut(name, "/")
	if s.Prefixes == nil {
		return first == "boot" || first == "install" || first == "tftpboot"
	}
	return slices.Contains(s.Prefixes, first)
}
