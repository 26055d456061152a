package esxi

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// A Version is an ESXi version's numbers: 8, 0, 2.
type Version []int

// ParseVersion reads the numbers that text begins with, "8.0.2-0.35.24280767"
// as 8.0.2; nil if it begins with none.
func ParseVersion(text string) Version {
	var v Version
	for part := range strings.SplitSeq(leading.FindString(text), ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		v = append(v, n)
	}
	return v
}

var leading = regexp.MustCompile(`^[0-9]{1,4}(\.[0-9]{1,4}){0,5}`)

// OSVersion reads the version in an xCAT os name: esxi8.0.2 as 8.0.2; nil for
// a name of another family.
func OSVersion(os string) Version {
	rest, ok := strings.CutPrefix(strings.ToLower(os), "esxi")
	if !ok {
		return nil
	}
	return ParseVersion(rest)
}

// At is the i-th number, 0 if there is none.
func (v Version) At(i int) int {
	if i < len(v) {
		return v[i]
	}
	return 0
}

// Compare orders versions; what one of them lacks counts as 0.
func (v Version) Compare(w Version) int {
	for i := range max(len(v), len(w)) {
		if c := cmp.Compare(v.At(i), w.At(i)); c != 0 {
			return c
		}
	}
	return 0
}

// AtLeast says whether v is the version of the numbers given, or newer.
func (v Version) AtLeast(w ...int) bool { return v.Compare(w) >= 0 }

// String is all of the numbers: "8.0.2".
func (v Version) String() string {
	parts := make([]string, len(v))
	for i, n := range v {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ".")
}

// trim leaves out groups of .0 at the end, as xCAT's names do: 5.0.0 is "5",
// 5.1.0 "5.1", 8.0.2 "8.0.2".
func trim(version string) string {
	for strings.HasSuffix(version, ".0") {
		version = strings.TrimSuffix(version, ".0")
	}
	return version
}
