package nodedb

import (
	"fmt"
	"strconv"
	"strings"
)

// helper returns a function that value expressions may call, nil if there is
// none of that name.
func helper(name string) func([]val) (val, error) {
	switch name {
	case "a2idx":
		return func(args []val) (val, error) { return letter(args, 'a'-1) }
	case "a2zidx":
		return func(args []val) (val, error) { return letter(args, 'a') }
	case "mknum":
		return mknum
	case "dim2idx":
		return dim2idx
	case "skip":
		return skip
	case "ipadd":
		return ipadd
	case "sprintf":
		return sprintf
	}
	return nil
}

// letter counts a letter from zero: a2idx("b") is 2, a2zidx("b") is 1.
func letter(args []val, zero byte) (val, error) {
	if len(args) != 1 || args[0].empty() {
		return val{}, fmt.Errorf("a2idx and a2zidx take one letter")
	}
	return number(int64(strings.ToLower(args[0].String())[0]) - int64(zero)), nil
}

// mknum adds up the bytes of a name.
func mknum(args []val) (val, error) {
	if len(args) != 1 {
		return val{}, fmt.Errorf("mknum takes one text")
	}
	var n int64
	for _, c := range []byte(args[0].String()) {
		n += int64(c)
	}
	return number(n), nil
}

// dim2idx counts places in a grid from one: dim2idx(row, racks in a row, rack,
// chassis in a rack, chassis, ...).
func dim2idx(args []val) (val, error) {
	if len(args)%2 == 0 {
		return val{}, fmt.Errorf("dim2idx takes a value, then pairs of a size and a value")
	}
	var n int64
	for i, a := range args {
		v, err := a.int()
		if err != nil {
			return val{}, fmt.Errorf("dim2idx: %v", err)
		}
		if i%2 == 0 {
			n += v - 1
		} else {
			n *= v
		}
	}
	return number(n + 1), nil
}

// skip counts on over places that are left out: skip(10, '3:2,6') is 7. An
// index that is itself left out is -1.
func skip(args []val) (val, error) {
	if len(args) != 2 {
		return val{}, fmt.Errorf("skip takes an index and a list of start:count")
	}
	idx, err := args[0].int()
	if err != nil {
		return val{}, fmt.Errorf("skip: %v", err)
	}
	n := idx
	for s := range strings.SplitSeq(args[1].String(), ",") {
		start, count, err := parseSkip(s)
		if err != nil {
			return val{}, err
		}
		if idx < start {
			break
		}
		if idx < start+count {
			return number(-1), nil
		}
		n -= count
	}
	return number(n), nil
}

// parseSkip reads start[:count].
func parseSkip(s string) (start, count int64, err error) {
	first, second, ok := strings.Cut(s, ":")
	if !ok {
		second = "1"
	}
	if start, err = strconv.ParseInt(first, 10, 64); err == nil {
		count, err = strconv.ParseInt(second, 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("skip: %q is not start:count", s)
	}
	return start, count, nil
}

// ipadd adds to an IPv4 address: ipadd(10,0,0,1, add, skipstart, skipend). The
// last two leave out addresses at the start and the end of every last octet.
func ipadd(args []val) (val, error) {
	var a [7]int64
	if len(args) < 5 || len(args) > len(a) {
		return val{}, fmt.Errorf("ipadd takes four octets, what to add, and how many addresses to leave out at the start and the end of an octet")
	}
	for i := range args {
		n, err := args[i].int()
		if err != nil {
			return val{}, fmt.Errorf("ipadd: %v", err)
		}
		a[i] = n
	}
	size := 256 - a[5] - a[6]
	if a[5] < 0 || a[6] < 0 || size < 1 {
		return val{}, fmt.Errorf("ipadd: %d and %d addresses left out of 256 leave none", a[5], a[6])
	}
	n := max(a[3]-a[5], 0) + a[4]
	if n < 0 {
		return val{}, fmt.Errorf("ipadd cannot go back before the octet's start")
	}
	third := a[2] + n/size
	second := a[1] + third/256
	first := a[0] + second/256
	if first > 255 || min(a[0], a[1], a[2], a[3]) < 0 {
		return val{}, fmt.Errorf("ipadd: there is no such address")
	}
	return str(fmt.Sprintf("%d.%d.%d.%d", first, second%256, third%256, n%size+a[5])), nil
}

// sprintf formats as Perl's does, for the directives that whole numbers and
// texts need.
func sprintf(args []val) (val, error) {
	if len(args) == 0 {
		return val{}, fmt.Errorf("sprintf takes a format")
	}
	format, args := args[0].String(), args[1:]
	var b strings.Builder
	for format != "" {
		plain, rest, ok := strings.Cut(format, "%")
		b.WriteString(plain)
		if !ok {
			break
		}
		m := directive.FindStringSubmatch(rest)
		if m == nil {
			return val{}, fmt.Errorf("sprintf: %%%.8s is not supported", rest)
		}
		format = rest[len(m[0]):]
		if m[2] == "%" {
			b.WriteByte('%')
			continue
		}
		if len(args) == 0 {
			return val{}, fmt.Errorf("sprintf: there is nothing for %%%s", m[0])
		}
		if err := directed(&b, m[1], m[2], args[0]); err != nil {
			return val{}, err
		}
		args = args[1:]
	}
	return str(b.String()), nil
}

// directed writes one value as a directive says.
func directed(b *strings.Builder, flags, verb string, v val) error {
	if verb == "s" {
		if strings.HasPrefix(flags, "0") {
			return fmt.Errorf("sprintf: %%%ss is not supported", flags)
		}
		fmt.Fprintf(b, "%"+flags+"s", v.String())
		return nil
	}
	n, err := v.int()
	if err != nil {
		return fmt.Errorf("sprintf: %v", err)
	}
	if n < 0 && verb != "d" && verb != "i" {
		return fmt.Errorf("sprintf: %d is less than zero", n)
	}
	if verb == "i" || verb == "u" {
		verb = "d"
	}
	fmt.Fprintf(b, "%"+flags+verb, n)
	return nil
}
