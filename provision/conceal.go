package provision

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// conceal is a file as it may be shown: without crypt(3) hashes and private
// keys. Those of a gzip tar come one by one, under name/path.
func conceal(name string, text []byte) map[string][]byte {
	out := map[string][]byte{}
	files, err := tarFiles(text)
	if err != nil {
		out[name] = hideSecrets(text)
		return out
	}
	for n, t := range files {
		out[name+"/"+n] = hideSecrets(t)
	}
	return out
}

// concealed is conceal as one text.
func concealed(name string, text []byte) []byte {
	files := conceal(name, text)
	if whole, ok := files[name]; ok {
		return whole
	}
	var b bytes.Buffer
	for _, n := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "--- %s\n", n)
		if !isText(files[n]) {
			fmt.Fprintf(&b, "(%d bytes)\n", len(files[n]))
			continue
		}
		b.Write(bytes.TrimRight(files[n], "\n"))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func hideSecrets(text []byte) []byte {
	return privateKey.ReplaceAll(hideHashes(text), []byte("${1}******${2}"))
}

// privateKey is a private key in PEM (RFC 7468), or a part of one.
var privateKey = regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)

// hideHashes blanks crypt(3) hashes.
func hideHashes(text []byte) []byte {
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		for _, scheme := range []string{"$6$", "$5$", "$1$"} {
			if at := strings.Index(line, scheme); at >= 0 {
				end := at + strings.IndexAny(line[at:]+" ", " '\":\t")
				lines[i] = line[:at] + scheme + "******" + line[end:]
			}
		}
	}
	return []byte(strings.Join(lines, "\n"))
}
