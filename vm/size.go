package vm

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Units in KiB, as sizes of disks are kept.
const (
	kib = 1
	mib = 1 << 10
	gib = 1 << 20
	tib = 1 << 30
)

// MaxDiskKB is the largest disk that ESXi makes: 62 TB ("vSphere
// configuration maximums", virtual machine storage).
const MaxDiskKB = 62 * tib

// ParseDiskSize reads a disk's size: a number, perhaps with a fraction, and a
// unit of K, M, G or T, in KiB. Without a unit it is in G, as in xCAT.
func ParseDiskSize(s string) (int64, error) {
	kb, err := parseSize(s, gib)
	if err != nil {
		return 0, err
	}
	if kb > MaxDiskKB {
		return 0, Errorf(ErrInvalid, "disk size %q: over 62T, the largest disk that ESXi makes", s)
	}
	return kb, nil
}

// ParseMemory reads an amount of memory in MiB; without a unit it is in M.
// It is rounded up to a multiple of 4 MiB, which ESXi asks for.
func ParseMemory(s string) (int64, error) {
	kb, err := parseSize(s, mib)
	if err != nil {
		return 0, err
	}
	mb := (kb + mib - 1) / mib
	if mb > 1<<25 {
		return 0, Errorf(ErrInvalid, "memory %q: over 32T", s)
	}
	return (mb + 3) / 4 * 4, nil
}

// RoundedMemory says that an amount of memory, perhaps with a sign, is rounded
// up; "" if it is as it was typed, or none.
func RoundedMemory(s string) string {
	_, rest := cutSign(s)
	kb, err := parseSize(rest, mib)
	mb, err2 := ParseMemory(rest)
	if err != nil || err2 != nil || kb == mb*mib {
		return ""
	}
	return fmt.Sprintf("memory %s is rounded up to %d MB: ESXi takes multiples of 4 MB", strings.TrimSpace(rest), mb)
}

// parseSize reads number[unit] into KiB; a bare number counts unit.
func parseSize(s string, unit float64) (int64, error) {
	t := strings.ToUpper(strings.TrimSpace(s))
	num := strings.TrimRight(t, "KMGTIB")
	switch suffix := t[len(num):]; suffix {
	case "":
	case "K", "KB", "KIB":
		unit = kib
	case "M", "MB", "MIB":
		unit = mib
	case "G", "GB", "GIB":
		unit = gib
	case "T", "TB", "TIB":
		unit = tib
	default:
		return 0, Errorf(ErrInvalid, "size %q: unknown unit %q; use K, M, G or T", s, suffix)
	}
	n, err := strconv.ParseFloat(num, 64)
	if err != nil || !plainNumber(num) {
		return 0, Errorf(ErrInvalid, "size %q: not a number with K, M, G or T", s)
	}
	kb := n * unit
	if kb < 1 || kb > math.MaxInt64/2 {
		return 0, Errorf(ErrInvalid, "size %q: out of range", s)
	}
	return int64(math.Ceil(kb)), nil
}

// plainNumber keeps out what ParseFloat reads besides: signs, exponents, hex.
func plainNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789.") == ""
}

// ParseDiskSizes reads a list of sizes, separated by "," or ":".
func ParseDiskSizes(s string) ([]int64, error) {
	var out []int64
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ':' }) {
		kb, err := ParseDiskSize(f)
		if err != nil {
			return nil, err
		}
		out = append(out, kb)
	}
	if len(out) == 0 {
		return nil, Errorf(ErrInvalid, "disk size is missing; write a size such as 20G")
	}
	return out, nil
}

// An Amount is a new value, or a change to the one there is.
type Amount struct {
	Value int64
	Sign  int // 0: Value itself; +1, -1: Value more or less
}

// Of is the amount that results from what there is now.
func (a Amount) Of(now int64) int64 {
	if a.Sign == 0 {
		return a.Value
	}
	return now + int64(a.Sign)*a.Value
}

// ParseCount reads a number of processors: "2", "+1", "-1".
func ParseCount(s string) (Amount, error) {
	sign, rest := cutSign(s)
	n, err := strconv.ParseUint(rest, 10, 15)
	if err != nil || n == 0 {
		return Amount{}, Errorf(ErrInvalid, "number of cpus %q: not a number above 0", s)
	}
	return Amount{int64(n), sign}, nil
}

// ParseMemoryAmount reads "1024", "2G", "+512M", "-1G" into MiB.
func ParseMemoryAmount(s string) (Amount, error) {
	sign, rest := cutSign(s)
	mb, err := ParseMemory(rest)
	return Amount{mb, sign}, err
}

// ParseDiskAmount reads "8G" or "+2" into KiB; a disk cannot shrink, so there
// is no "-".
func ParseDiskAmount(s string) (Amount, error) {
	sign, rest := cutSign(s)
	if sign < 0 {
		return Amount{}, Errorf(ErrInvalid, "disk size %q: a disk cannot be made smaller", s)
	}
	kb, err := ParseDiskSize(rest)
	return Amount{kb, sign}, err
}

func cutSign(s string) (int, string) {
	s = strings.TrimSpace(s)
	switch {
	case strings.HasPrefix(s, "+"):
		return 1, s[1:]
	case strings.HasPrefix(s, "-"):
		return -1, s[1:]
	}
	return 0, s
}
