package nodedb

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// drawArith makes an expression that both we and Perl take.
func drawArith(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(4) == 0 {
		return []string{"$1", "$2", "${3}", fmt.Sprint(r.IntN(300)), "7", "-$1", "+4"}[r.IntN(7)]
	}
	x, y := drawArith(r, depth-1), drawArith(r, depth-1)
	switch r.IntN(9) {
	case 0:
		return "(" + x + ")"
	case 1:
		return "-(" + x + ")"
	case 2:
		return "sprintf('%03d', " + x + ")"
	case 3:
		return "sprintf(\"%x-%-4d|%5s|%o\", 255, " + x + ", 'ab', 8)"
	}
	op := []string{"+", "-", "*", "/", "%"}[r.IntN(5)]
	if strings.HasPrefix(y, "-") || strings.HasPrefix(y, "+") {
		y = "(" + y + ")"
	}
	return x + " " + op + " " + y
}

// Arithmetic comes to what Perl makes of it under "use integer".
func TestArithmeticAgreesWithPerl(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Skip("no perl here to compare with")
	}
	r := rand.New(rand.NewPCG(7, 11))
	var exprs []string
	script := "use integer; no warnings;\n"
	for range 800 {
		e := drawArith(r, 4)
		exprs = append(exprs, e)
		script += fmt.Sprintf("{ '7-010-3' =~ /(\\d+)-(\\d+)-(\\d+)/; my $v = eval { (%s) }; print defined $v ? $v : 'undefined', qq{\\n}; }\n", e)
	}
	cmd := exec.Command(perl)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("perl: %v\n%.500s", err, out)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	agreed := 0
	for i, e := range exprs {
		got := "undefined"
		x, err := parseArith(e, 3)
		if err != nil {
			t.Errorf("%s: %v", e, err)
			continue
		}
		v, err := x.eval(match{"", "7", "010", "3"})
		if err == nil {
			got = v.String()
		}
		if err != nil && strings.Contains(err.Error(), "is not a number") {
			continue // we refuse what Perl guesses at
		}
		if got != lines[i] {
			t.Errorf("%s is %s (%v), Perl has %s", e, got, err, lines[i])
		}
		agreed++
	}
	if agreed < len(exprs)/2 {
		t.Errorf("only %d of %d could be compared", agreed, len(exprs))
	}
}
