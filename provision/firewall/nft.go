package firewall

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ParseNFT reads what `nft -j list ruleset` prints. Tables that skip names
// ("ip filter") are left out: those that iptables keeps, which has words for
// them that nft has not.
func ParseNFT(text []byte, skip ...string) (*Ruleset, error) {
	var doc struct {
		Items []struct {
			Chain *nftChain `json:"chain"`
			Rule  *nftRule  `json:"rule"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("nft: %v", err)
	}
	r := &Ruleset{chains: map[string]*chain{}}
	for _, it := range doc.Items {
		if c := it.Chain; c != nil && !slices.Contains(skip, c.Family+" "+c.Table) {
			r.addNFT(c)
		}
	}
	for _, it := range doc.Items {
		if it.Rule == nil {
			continue
		}
		prefix := it.Rule.Family + " " + it.Rule.Table + " "
		if c := r.chains[prefix+it.Rule.Chain]; c != nil {
			c.rules = append(c.rules, it.Rule.rules(prefix)...)
		}
	}
	return r, nil
}

type nftChain struct {
	Family, Table, Name, Type, Hook, Policy string
}

func (r *Ruleset) addNFT(n *nftChain) {
	if n.Family != "ip" && n.Family != "inet" {
		return
	}
	c := &chain{name: n.Family + " " + n.Table + " " + n.Name, drop: n.Policy == "drop"}
	r.chains[c.name] = c
	if n.Type == "filter" && (n.Hook == "input" || n.Hook == "prerouting") {
		r.bases = append(r.bases, c)
	}
}

type nftRule struct {
	Family, Table, Chain string
	Expr                 []map[string]json.RawMessage
}

// rules are one rule, or several where a verdict map decides.
func (n *nftRule) rules(prefix string) []rule {
	r := rule{text: n.text()}
	for _, e := range n.Expr {
		for kind, arg := range e {
			switch kind {
			case "match":
				r.conds = append(r.conds, nftMatch(arg))
			case "accept":
				r.verdict = accept
			case "drop", "reject":
				r.verdict = drop
			case "return":
				r.verdict = back
			case "jump", "goto":
				var to struct{ Target string }
				_ = json.Unmarshal(arg, &to)
				r.verdict, r.target = jump, prefix+to.Target
				if kind == "goto" {
					r.verdict = leap
				}
			case "vmap":
				return nftMap(r, arg, prefix)
			case "limit", "quota", "connlimit", "xt":
				r.conds = append(r.conds, cannotTell)
				if kind == "xt" {
					r.verdict = unknown
				}
			case "counter", "log", "comment", "mangle", "meter", "set", "notrack", "ct helper":
			default:
				r.verdict = unknown
			}
		}
	}
	return []rule{r}
}

// text is a rule as short as its JSON allows: what it does is the last word.
func (n *nftRule) text() string {
	var words []string
	for _, e := range n.Expr {
		for kind, arg := range e {
			switch kind {
			case "match":
				var m nftMatching
				_ = json.Unmarshal(arg, &m)
				words = append(words, m.name(), strings.Trim(string(m.Right), `"`))
			case "counter", "comment":
			default:
				words = append(words, kind)
			}
		}
	}
	return strings.Join(words, " ")
}

type nftMatching struct {
	Op   string
	Left struct {
		Payload *struct{ Protocol, Field string }
		Meta    *struct{ Key string }
		CT      *struct{ Key string }
	}
	Right json.RawMessage
}

func (m *nftMatching) name() string {
	switch {
	case m.Left.Payload != nil:
		return m.Left.Payload.Protocol + " " + m.Left.Payload.Field
	case m.Left.Meta != nil:
		return m.Left.Meta.Key
	case m.Left.CT != nil:
		return "ct " + m.Left.CT.Key
	}
	return "?"
}

func nftMatch(arg json.RawMessage) cond {
	var m nftMatching
	if json.Unmarshal(arg, &m) != nil {
		return cannotTell
	}
	c := m.cond()
	switch m.Op {
	case "==", "in", "":
		return c
	case "!=":
		return not(c)
	}
	return cannotTell
}

func (m *nftMatching) cond() cond {
	values, ok := nftValues(m.Right)
	if !ok {
		return cannotTell
	}
	switch name := m.name(); name {
	case "udp dport", "tcp dport", "th dport":
		ranges, ok := portRanges(values)
		if !ok {
			return cannotTell
		}
		in := portIn(ranges)
		if name == "th dport" {
			return in
		}
		proto := name[:3]
		return func(p Packet) truth {
			if p.Proto != proto {
				return no
			}
			return in(p)
		}
	case "l4proto", "ip protocol":
		return func(p Packet) truth {
			number := map[string]string{"udp": "17", "tcp": "6"}[p.Proto]
			return is(slices.Contains(values, p.Proto) || slices.Contains(values, number))
		}
	case "nfproto":
		return func(Packet) truth { return is(slices.Contains(values, "ipv4")) }
	case "iifname", "iif":
		return interfaceIn(values)
	case "ct state":
		return stateIn(values)
	}
	if m.Left.Payload != nil && otherProtocol(m.Left.Payload.Protocol) {
		return func(p Packet) truth {
			if m.Left.Payload.Protocol != p.Proto {
				return no
			}
			return maybe
		}
	}
	return cannotTell
}

// otherProtocol: a match on a field of it holds for its packets only.
func otherProtocol(p string) bool {
	return slices.Contains([]string{"icmp", "icmpv6", "ip6", "udp", "tcp", "sctp", "dccp", "ah", "esp"}, p)
}

func interfaceIn(names []string) cond {
	return func(p Packet) truth {
		if p.Interface == "" {
			return maybe
		}
		for _, n := range names {
			if n == p.Interface || strings.HasSuffix(n, "*") && strings.HasPrefix(p.Interface, n[:len(n)-1]) {
				return yes
			}
		}
		return no
	}
}

// nftValues are the alternatives of a match: a word, a number, a range "a-b",
// or a set of them. A set by name is not looked up.
func nftValues(right json.RawMessage) ([]string, bool) {
	var v any
	if json.Unmarshal(right, &v) != nil {
		return nil, false
	}
	return flatten(v)
}

func flatten(v any) ([]string, bool) {
	switch x := v.(type) {
	case string:
		return []string{x}, !strings.HasPrefix(x, "@")
	case float64:
		return []string{strconv.Itoa(int(x))}, true
	case []any:
		var out []string
		for _, e := range x {
			words, ok := flatten(e)
			if !ok {
				return nil, false
			}
			out = append(out, words...)
		}
		return out, true
	case map[string]any:
		if set, ok := x["set"]; ok {
			return flatten(set)
		}
		if elem, ok := x["elem"].(map[string]any); ok {
			return flatten(elem["val"])
		}
		if r, ok := x["range"].([]any); ok && len(r) == 2 {
			ends, ok := flatten(r)
			if ok && len(ends) == 2 {
				return []string{ends[0] + "-" + ends[1]}, true
			}
		}
	}
	return nil, false
}

// services are the names that nft prints in place of ports unless it is told
// not to.
var services = map[string]int{"bootps": 67, "bootpc": 68, "tftp": 69, "domain": 53, "http": 80, "https": 443, "ssh": 22}

func portRanges(words []string) ([][2]int, bool) {
	var out [][2]int
	for _, w := range words {
		from, to, isRange := strings.Cut(w, "-")
		a, ok := portNumber(from)
		b, ok2 := a, true
		if isRange {
			b, ok2 = portNumber(to)
		}
		if !ok || !ok2 {
			return nil, false
		}
		out = append(out, [2]int{a, b})
	}
	return out, true
}

func portNumber(s string) (int, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, true
	}
	n, ok := services[s]
	return n, ok
}

// nftMap makes a rule of each entry of a verdict map.
func nftMap(base rule, arg json.RawMessage, prefix string) []rule {
	open := base
	open.verdict, open.conds = unknown, append(slices.Clone(base.conds), cannotTell)
	var m struct {
		Key  json.RawMessage
		Data struct {
			Set [][2]json.RawMessage
		}
	}
	if json.Unmarshal(arg, &m) != nil || len(m.Data.Set) == 0 {
		return []rule{open}
	}
	var out []rule
	for _, entry := range m.Data.Set {
		match, _ := json.Marshal(map[string]json.RawMessage{"op": json.RawMessage(`"=="`), "left": m.Key, "right": entry[0]})
		one := &nftRule{Expr: []map[string]json.RawMessage{{"match": match}}}
		var does map[string]json.RawMessage
		if json.Unmarshal(entry[1], &does) != nil {
			return []rule{open}
		}
		one.Expr = append(one.Expr, does)
		for _, r := range one.rules(prefix) {
			r.conds = append(slices.Clone(base.conds), r.conds...)
			out = append(out, r)
		}
	}
	return out
}
