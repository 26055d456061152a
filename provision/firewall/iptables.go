package firewall

import (
	"bufio"
	"bytes"
	"strings"
)

// ParseIPTables reads table filter of what iptables-save prints.
func ParseIPTables(text []byte) *Ruleset {
	r := &Ruleset{chains: map[string]*chain{}}
	table := ""
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case table != "filter" || line == "":
		case line[0] == ':':
			w := strings.Fields(line[1:])
			if len(w) < 2 {
				continue
			}
			c := &chain{name: w[0], drop: w[1] == "DROP"}
			r.chains[c.name] = c
			if c.name == "INPUT" {
				r.bases = append(r.bases, c)
			}
		case strings.HasPrefix(line, "-A "):
			name, rest, _ := strings.Cut(line[3:], " ")
			if c := r.chains[name]; c != nil {
				c.rules = append(c.rules, iptablesRule(rest))
			}
		}
	}
	return r
}

// Empty says whether no packet is ever dropped by r, for want of rules.
func (r *Ruleset) Empty() bool {
	for _, c := range r.bases {
		if c.drop || len(c.rules) > 0 {
			return false
		}
	}
	return true
}

// iptablesRule reads a rule's words. An option that it does not know may hold
// or not.
func iptablesRule(text string) rule {
	r := rule{text: text}
	words := strings.Fields(text)
	inverse := false
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "!" {
			inverse = true
			continue
		}
		if !strings.HasPrefix(w, "-") {
			continue // a value of an option that is not known
		}
		arg := ""
		if i+1 < len(words) {
			arg = words[i+1]
		}
		var c cond
		switch w {
		case "-m", "--comment":
			i = skipQuoted(words, i+1)
			continue
		case "-j", "-g":
			r.verdict, r.target = iptablesTarget(w, arg)
			i++
			continue
		case "--reject-with", "--log-prefix", "--log-level":
			i = skipQuoted(words, i+1)
			continue
		case "-p", "--protocol":
			c = protoIs(arg)
			if arg == "all" {
				c = func(Packet) truth { return yes }
			}
		case "-i", "--in-interface":
			c = interfaceIn([]string{strings.Replace(arg, "+", "*", 1)})
		case "--dport", "--dports", "--destination-port", "--destination-ports":
			c = cannotTell
			if ranges, ok := portRanges(strings.Split(strings.ReplaceAll(arg, ":", "-"), ",")); ok {
				c = portIn(ranges)
			}
		case "--state", "--ctstate":
			c = stateIn(strings.Split(strings.ToLower(arg), ","))
		default:
			c = cannotTell
		}
		if inverse {
			c, inverse = not(c), false
		}
		r.conds = append(r.conds, c)
		i++
	}
	return r
}

// skipQuoted is the index of the last word of what begins at i, which may be in
// quotes.
func skipQuoted(words []string, i int) int {
	if i >= len(words) || !strings.HasPrefix(words[i], `"`) {
		return i
	}
	for j := i; j < len(words); j++ {
		if strings.HasSuffix(words[j], `"`) && (j > i || len(words[j]) > 1) {
			return j
		}
	}
	return len(words)
}

func iptablesTarget(option, target string) (action, string) {
	switch target {
	case "ACCEPT":
		return accept, ""
	case "DROP", "REJECT", "TARPIT":
		return drop, ""
	case "RETURN":
		return back, ""
	case "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TRACE", "SET", "CT", "AUDIT":
		return next, ""
	case "QUEUE", "NFQUEUE":
		return unknown, ""
	}
	if option == "-g" {
		return leap, target
	}
	return jump, target
}
