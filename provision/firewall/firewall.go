// Package firewall says whether the host's packet filter lets in what a server
// is sent. It reads the rules of nftables and of iptables as their own programs
// print them, and plays packets through them; a rule that it does not know
// leaves the answer open, and never makes it wrong.
package firewall

import "fmt"

// A Packet is what is played: to the host itself, by IPv4.
type Packet struct {
	Proto     string // udp, tcp
	Port      int    // it is sent to
	Interface string // it comes in by
	Answer    bool   // it answers what the host sent before
}

// A Verdict is what becomes of a packet.
type Verdict int

// The verdicts. Open: a rule decides that is not understood.
const (
	Accept Verdict = iota
	Drop
	Open
)

func (v Verdict) String() string { return [...]string{"let in", "dropped", "not known"}[v] }

// A Ruleset is what a packet meets on its way in: every base chain.
type Ruleset struct {
	chains map[string]*chain
	bases  []*chain
}

type chain struct {
	name  string // "inet filter input"
	rules []rule
	drop  bool // policy
}

// A rule holds if all of its conditions do.
type rule struct {
	text    string
	conds   []cond
	verdict action
	target  string // of jump and go-to, as chains has it
}

// An action is what a rule does with a packet for which it holds.
type action int

const (
	next action = iota // nothing: counted, logged
	accept
	drop
	jump
	leap // go to: without coming back
	back
	unknown
)

// A cond says whether it holds for a packet.
type cond func(Packet) truth

type truth int

const (
	no truth = iota
	yes
	maybe
)

// Judge says what becomes of a packet, and of a dropped one which chain or rule
// does it.
func (r *Ruleset) Judge(p Packet) (Verdict, string) {
	worst, why := Accept, ""
	for _, c := range r.bases {
		w := &walk{r: r, p: p}
		v, at := w.chain(c, 0)
		if v == fell {
			v, at = accept, ""
			if c.drop {
				v, at = drop, fmt.Sprintf("chain %s: policy drop", c.name)
			}
		}
		if v == drop && !w.mayAccept {
			return Drop, at
		}
		if v == unknown || v == drop || w.mayDrop {
			worst, why = Open, at
		}
	}
	return worst, why
}

// fell is a chain's end without a decision.
const fell = next

// A walk is one packet's through one base chain, with what rules that may or
// may not hold would have done with it.
type walk struct {
	r                  *Ruleset
	p                  Packet
	mayAccept, mayDrop bool
}

// deepest is how far chains may call one another (NFT_JUMP_STACK_SIZE).
const deepest = 16

func (w *walk) chain(c *chain, depth int) (action, string) {
	for _, r := range c.rules {
		holds := yes
		for _, cond := range r.conds {
			if t := cond(w.p); t == no {
				holds = no
				break
			} else if t == maybe {
				holds = maybe
			}
		}
		if holds == no || r.verdict == next {
			continue
		}
		v, at := r.verdict, fmt.Sprintf("chain %s: %s", c.name, r.text)
		if v == jump || v == leap {
			to := w.r.chains[r.target]
			if to == nil || depth >= deepest {
				v = unknown
			} else if v, at = w.chain(to, depth+1); v == fell && r.verdict == jump {
				continue
			}
		}
		if holds == yes && v != unknown {
			if v == back {
				return fell, ""
			}
			return v, at
		}
		w.mayAccept = w.mayAccept || v == accept || v == unknown || v == back
		w.mayDrop = w.mayDrop || v == drop || v == unknown
	}
	return fell, ""
}

func is(ok bool) truth {
	if ok {
		return yes
	}
	return no
}

func not(c cond) cond {
	return func(p Packet) truth {
		switch c(p) {
		case yes:
			return no
		case no:
			return yes
		}
		return maybe
	}
}

func cannotTell(Packet) truth { return maybe }

func protoIs(name string) cond {
	return func(p Packet) truth { return is(p.Proto == name) }
}

func portIn(ranges [][2]int) cond {
	return func(p Packet) truth {
		for _, r := range ranges {
			if r[0] <= p.Port && p.Port <= r[1] {
				return yes
			}
		}
		return no
	}
}

// stateIn: packets of ours are new, or answers to what was sent before.
func stateIn(states []string) cond {
	return func(p Packet) truth {
		want := "new"
		if p.Answer {
			want = "established"
		}
		for _, s := range states {
			if s == want {
				return yes
			}
		}
		return no
	}
}
