package nodedb

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

func TestExpression(t *testing.T) {
	tests := []struct{ value, node, want string }{
		{`plain`, "n1", `plain`},
		{`/\z/-bmc/`, "n1", `n1-bmc`},
		{`/n(\d+)/rack$1/`, "n07", `rack07`},
		{`/n/($1+1)/`, "n1", ``}, // refused below: no group 1
		{`|node(\d+)|10.0.0.($1+0)|`, "node007", `10.0.0.7`},
		{`|node(\d+)|10.0.($1/250).($1%250+1)|`, "node1020", `10.0.4.21`},
		{`|\D+(\d+)\D+(\d+)\D+(\d+)\D+(\d+)|c($1)f($2)x($3)|`, "c01f02x03v04", `c01f02x03`},
		{`|\D+(\d+)\D+(\d+)\D+(\d+)\D+(\d+)|dir:///install/vms/vm($4+0)|`, "c01f02x03v04", `dir:///install/vms/vm4`},
		{`|\D+(\d+)|cmm(sprintf('%02d',($1-1)/14+1))|`, "node20", `cmm02`},
		{`|\D+(\d+)|(($1-1)%14+1)|`, "node20", `6`},
		{`|10.0.0.($1+0)|`, "node1", `10.0.0.1`},
		{`|10.($1).($2).1|`, "r010n3", `10.10.3.1`},
		{`|x($1)|`, "r0n5", `x5`},
		{`|x($1)y($2)|`, "r5n00", `x5y0`},
		{`|^.*$||`, "n1", ``},
		{`||`, "n1", ``},
		{`|n(\d+)|m($1)|`, "login", ``}, // no match: no value
		{`|n(\d+)|10.0.0.($1+0)|`, "n5-ib", `10.0.0.5-ib`},
		{`|n(\d+)|a${1}b|`, "n5", `a5b`},
		{`|n(\d+)|($1*-2)|`, "n5", `-10`},
		{`|n(\d+)|(-$1/2)|`, "n5", `-2`}, // towards zero
		{`|n(\d+)|(-$1%3)|`, "n5", `-2`},
		{`|(\w)(\d+)|(a2idx($1)*100+$2)|`, "c7", `307`},
		{`|(\w)(\d+)|(a2zidx($1))-(a2idx('A'))|`, "c7", `2-1`},
		{`|row(\d+)-col(\d+)|(dim2idx($1, 4, $2))|`, "row2-col3", `7`},
		{`|r(\d+)k(\d+)c(\d+)n(\d+)|(dim2idx($1,10,$2,8,$3,8,$4))|`, "r2k3c4n5", `797`},
		{`|n(\d+)|(skip($1,'3'))|`, "n10", `9`},
		{`|n(\d+)|(skip($1,'3:2'))|`, "n10", `8`},
		{`|n(\d+)|(skip($1,'3:2,6'))|`, "n10", `7`},
		{`|n(\d+)|(skip($1,'3:2'))|`, "n4", `-1`},
		{`|n(\d+)|(ipadd(10,10,10,10,$1,0,0))|`, "n245", `10.10.10.255`},
		{`|n(\d+)|(ipadd(10,10,10,10,$1,0,0))|`, "n246", `10.10.11.0`},
		{`|n(\d+)|(ipadd(10,0,0,0,$1,1,1))|`, "n253", `10.0.0.254`},
		{`|n(\d+)|(ipadd(10,0,0,0,$1,1,1))|`, "n254", `10.0.1.1`},
		{`|n(\d+)|(ipadd(10,0,255,0,$1,0,0))|`, "n256", `10.1.0.0`},
		{`|n(\d+)|(sprintf("%03d-%x",$1,$1*16))|`, "n7", `007-70`},
		{`|n(\d+)|(mknum('ab'))|`, "n7", `195`},
		{`/install/custom/x/`, "n1", `/install/custom/x/`}, // too many slashes
		{`00:11:22:33:44:55|00:11:22:33:44:56!*NOIP*`, "n1", `00:11:22:33:44:55|00:11:22:33:44:56!*NOIP*`},
		{`|`, "n1", `|`},
		{`/`, "n1", `/`},
	}
	c := new(exprCache)
	for _, tt := range tests {
		got, err := c.eval(tt.value, tt.node)
		if got != tt.want {
			t.Errorf("%s for %s is %q (%v), want %q", tt.value, tt.node, got, err, tt.want)
		}
	}
}

func TestExpressionRefused(t *testing.T) {
	tests := []struct{ value, node, err string }{
		{`/n/($1+1)/`, "n1", "no $1"},
		{`|(n)|$2|`, "n1", "no $2: the pattern has 1 groups"},
		{`|a($3)|`, "n1r2", "no $3: the name has 2 numbers"},
		{`||x|`, "n1", "pattern is empty"},
		{`|n|(1+|`, "n1", "not closed"},
		{`|n|(1+)|`, "n1", "ends too early"},
		{`|n|(foo)|`, "n1", "no function foo"},
		{`|n|(system('x'))|`, "n1", "no function system"},
		{`|n|(2**3)|`, "n1", "** is not supported"},
		{`|n|(2--3)|`, "n1", "-- is not supported"},
		{`|n|(010)|`, "n1", "octal"},
		{`|n(\d)|(1/$1)|`, "n0", "division by zero"},
		{`|(.)|($1+1)|`, "n1", `"n" is not a number`},
		{`|n|(sprintf('%n',1))|`, "n1", "%n',1"},
		{`|(a|b)|x|`, "n1", "missing closing"},
		{`|n(?=1)|x|`, "n1", "(?=1 is not supported"},
		{`|(n)\1|x|`, "n1", "back-reference"},
		{`|n|(` + strings.Repeat("(", 100) + `|`, "n1", "not closed"},
		{`|n|` + strings.Repeat("(", 100) + "1" + strings.Repeat(")", 100) + `|`, "n1", "nested deeper"},
	}
	for _, tt := range tests {
		got, err := new(exprCache).eval(tt.value, tt.node)
		if err == nil || got != "" {
			t.Errorf("%s for %s is %q, want it refused", tt.value, tt.node, got)
			continue
		}
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v is not ErrInvalid", tt.value, err)
		}
		if !strings.Contains(err.Error(), strings.TrimSuffix(tt.err, "',1")) {
			t.Errorf("%s: %v, want it to say %q", tt.value, err, tt.err)
		}
	}
}

func TestPerlRegexpRefused(t *testing.T) {
	for _, p := range []string{
		`a++`, `(a*)*`, `(|n)+`, `(a?)*?`, `(a|b?){2,}`, `a*+`, `a{2}+`, `(?>a)`, `(?=a)`, `(?!a)`, `(?<=a)`, `(?<!a)`, `(?|a|b)`, `(?#x)`, `(?i-x:a)`, `(?x)a b`, `(?U)a+`,
		`(?1)`, `(?R)`, `(?&x)`, `(?{1})`, `(*FAIL)`, `\1`, `\g1`, `\k<a>`, `\Qa\E`, `\G`, `\K`, `\R`, `\X`, `\N`, `\v`, `\V`, `\b{wb}`, `\cA`, `\o{1}`, `\012`,
		`$x`, `${x}`, `@x`, `a$b`, `[$x]`, `a{,3}`, `[z-a]`, `(a`, `a)`, `[a`, `\`, `[\`, `[\S]`, `(?P=a)`, `\C`, `(?^a)`, `\u`, `\l`, `\U`,
	} {
		if re, err := perlRegexp(p); err == nil {
			t.Errorf("%s is taken, as %s", p, re)
		} else if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v is not ErrInvalid", p, err)
		}
	}
}

// What is taken matches what Perl itself matches, and takes the same groups.
func TestPerlAgrees(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Skip("no perl here to compare with")
	}
	patterns := []string{
		`^n(\d+)$`, `n(\d+?)`, `(n|no|node)(\d*)`, `(\D+)(\d+)`, `\z`, `\Z`, `\An`, `\bn\b`, `[]a]n`, `[^]a]+`, `[a-c\d_-]+`, `[[:alpha:]]+`, `[[:^digit:]]+`,
		`\h+`, `[\h\s]`, `\s\S`, `[\b]`, `\e`, `\_`, `\-`, `n{2}`, `n{1,2}?`, `x{`, `(?i)NODE`, `(?i:N)ode`, `(?:n)(o)?`, `(?<a>n)`, `(?P<a>n)`, `((a)|b)+`, `(a|ab)(c|bcd)(d*)`,
		`.*`, `.`, `$`, `^`, `n$|1`, `[.]`, `[[:]+`, `\.`, `[[a]`, `a[]]`, `\x41`, `\x{41}`, `[\w.-]+`, `\t`, `[^\n]`, `(?s).`, `(?m)^b`, `\p{L}`, `\d+\D*\d*`, `[$]`, `a|$`, `(n)($)`,
	}
	subjects := []string{"", "n", "n1", "node12", "nn", "noon", "abcd", "ab-c_d.e1", "a b\tc", "NODE7", "b", "aab", "x{", "a]n", "[a", "a\nb", "A", "12n34", "_", "-", "\x08", "\x1b", "\v", "n1$"}
	var script strings.Builder
	script.WriteString("use strict; no warnings;\n")
	for _, p := range patterns {
		for _, s := range subjects {
			fmt.Fprintf(&script, "{ my $p = pack('H*','%x'); my $s = pack('H*','%x'); if ($s =~ /$p/) { print join('|', map { defined $_ ? unpack('H*',$_) : '' } ($&, map { no strict; substr($s, $-[$_] // 0, ($+[$_] // 0) - ($-[$_] // 0)) } 1..$#+)), qq{\\n} } else { print qq{-\\n} } }\n", p, s)
		}
	}
	cmd := exec.Command(perl)
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("perl: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(patterns)*len(subjects) {
		t.Fatalf("perl gave %d lines for %d matches", len(lines), len(patterns)*len(subjects))
	}
	for i, p := range patterns {
		re, err := perlRegexp(p)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for j, s := range subjects {
			got := "-"
			if m := re.FindStringSubmatch(s); m != nil {
				for k := range m {
					m[k] = fmt.Sprintf("%x", m[k])
				}
				got = strings.Join(m, "|")
			}
			if want := lines[i*len(subjects)+j]; got != want {
				t.Errorf("%s in %q: %s, Perl has %s", p, s, got, want)
			}
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{`/\z/-bmc/`, `|node(\d+)|10.0.($1/250).($1%250+1)|`, `|10.0.0.($1+0)|`, `|(sprintf('%02d',skip($1,'3:2')))|`, `|[[:alpha:]](?:x)|${1}|`} {
		f.Add(s, "node12r3")
	}
	f.Fuzz(func(t *testing.T, value, node string) {
		v, err := new(exprCache).eval(value, node)
		if err != nil && (v != "" || !errors.Is(err, ErrInvalid)) {
			t.Errorf("%q for %q: %q and %v", value, node, v, err)
		}
		if err == nil && !isExpr(value) && v != value {
			t.Errorf("%q is no expression and became %q", value, v)
		}
	})
}
