package tftp

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
)

// A request is a parsed RRQ.
type request struct {
	name     string // as openers want it: no leading slash, no way out of the root
	netascii bool
	options  []option // in the order asked
}

// An option is a name and a value of RFC 2347, as sent.
type option struct{ name, value string }

// maxName bounds file names; mboot's own limit for a path is 256.
const maxName = 1024

var (
	errMalformed = errors.New("malformed request")
	errMode      = errors.New("mode not supported; use octet or netascii")
	errName      = errors.New("file name") // and what is wrong with it
	errOut       = fmt.Errorf("%w leads out of what is served", errName)
)

// parseRequest reads what follows the packet type of an RRQ: name, mode, then
// pairs of option and value, each ended by a zero byte (RFC 2347). An option
// without its value is ignored, as is one given twice.
func parseRequest(p []byte) (*request, error) {
	words, err := words(p)
	if err != nil {
		return nil, err
	}
	r := &request{}
	switch strings.ToLower(words[1]) {
	case "octet":
	case "netascii":
		r.netascii = true
	default:
		return nil, errMode
	}
	for i := 2; i+1 < len(words); i += 2 {
		o := option{words[i], words[i+1]}
		if !r.has(o.name) {
			r.options = append(r.options, o)
		}
	}
	if r.name, err = cleanName(words[0]); err != nil {
		return nil, err
	}
	return r, nil
}

// words cuts p at its zero bytes. There are at least two. Some ROMs pad the
// packet with zeros after the last one: empty words at the end are no options.
func words(p []byte) ([]string, error) {
	i := bytes.LastIndexByte(p, 0)
	if i < 0 {
		return nil, errMalformed
	}
	all := strings.Split(string(bytes.TrimRight(p[:i], "\x00")), "\x00")
	if len(all) < 2 || len(all) > 64 {
		return nil, errMalformed
	}
	return all, nil
}

func (r *request) has(name string) bool {
	for _, o := range r.options {
		if strings.EqualFold(o.name, name) {
			return true
		}
	}
	return false
}

// cleanName turns what firmware sends into a name below the root. Leading
// slashes mean the root, backslashes are slashes (Windows and mboot write
// them), and bytes 0xff at the end come from ROMs that take the end mark of the
// DHCP options for a part of the file name.
func cleanName(name string) (string, error) {
	for len(name) > 0 && name[len(name)-1] == 0xff {
		name = name[:len(name)-1]
	}
	if len(name) > maxName {
		return "", fmt.Errorf("%w of %d bytes: %d are the most", errName, len(name), maxName)
	}
	for _, c := range []byte(name) {
		if c < ' ' || c == 0x7f {
			return "", fmt.Errorf("%w has characters that none has", errName)
		}
	}
	name = strings.TrimLeft(strings.ReplaceAll(name, `\`, "/"), "/")
	name = path.Clean(name)
	if name == ".." || strings.HasPrefix(name, "../") {
		return "", errOut
	}
	return name, nil
}
