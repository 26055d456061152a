package rom

import (
	"errors"
	"fmt"
	"strings"
)

// A script is an iPXE script, line by line. It is run as iPXE does: settings
// are put in, the line is cut at blanks (there are no quotes), and `||`, `&&`
// and `;` join commands. A command that fails ends the script unless its line
// goes on after it.
type script struct {
	lines  []string
	labels map[string]int
}

const (
	maxLines = 10_000
	maxSteps = 100_000 // commands run; a script may go round in circles
)

// parseScript cuts a script into lines. A backslash at the end of a line joins
// it to the next.
func parseScript(data []byte) (*script, error) {
	if !isScript(data) {
		return nil, errors.New("no script: it does not begin with #!ipxe")
	}
	s := &script{labels: map[string]int{}}
	text := strings.ReplaceAll(string(data), "\\\r\n", " ")
	text = strings.ReplaceAll(text, "\\\n", " ")
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if label, ok := strings.CutPrefix(line, ":"); ok {
			label, _, _ = strings.Cut(label, " ")
			if _, twice := s.labels[label]; !twice {
				s.labels[label] = len(s.lines)
			}
			line = ""
		}
		s.lines = append(s.lines, line)
	}
	if len(s.lines) > maxLines {
		return nil, errors.New("script too long")
	}
	return s, nil
}

// A word that ends or branches a script, rather than failing.
type (
	gotoLabel  string
	exitScript int
)

func (g gotoLabel) Error() string  { return "goto " + string(g) }
func (e exitScript) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// errDone ends everything: a program has been started that does not return.
var errDone = errors.New("started")

// A stop is an error that `||` does not catch: the machine would wait for a
// person, or does what is not played.
type stop struct{ error }

func (s stop) Unwrap() error { return s.error }

// An interpreter is what runs the commands of a script.
type interpreter interface {
	command(args []string) error
}

// run runs the script until its end, an exit, or something that does not
// return. The error names the line.
func (s *script) run(set settings, in interpreter) error {
	at := 0
	for steps := 0; at < len(s.lines); steps++ {
		if steps > maxSteps {
			return errors.New("the script runs in a circle")
		}
		line := s.lines[at]
		at++
		if line == "" || line[0] == '#' {
			continue
		}
		err := runLine(line, set, in)
		var label gotoLabel
		if errors.As(err, &label) {
			to, ok := s.labels[string(label)]
			if !ok {
				return fmt.Errorf("line %d: no label %q", at, string(label))
			}
			at = to
			continue
		}
		var exit exitScript
		switch {
		case errors.As(err, &exit):
			if exit == 0 {
				return nil
			}
			return err
		case errors.Is(err, errDone):
			return err
		case err != nil:
			return fmt.Errorf("line %d: %w", at, err)
		}
	}
	return nil
}

// runLine runs the commands of one line.
func runLine(line string, set settings, in interpreter) error {
	line, err := set.expand(line)
	if err != nil {
		return err
	}
	words := strings.Fields(line)
	var result error
	for join := ";"; ; {
		n := 0
		for n < len(words) && words[n] != "||" && words[n] != "&&" && words[n] != ";" {
			n++
		}
		if join == ";" || join == "||" && result != nil || join == "&&" && result == nil {
			result = runCommand(words[:n], in)
			if final(result) {
				return result
			}
		}
		if n == len(words) {
			return result
		}
		join, words = words[n], words[n+1:]
	}
}

// runCommand runs one command; none at all is one that does well, which is what
// a `||` at the end of a line is for.
func runCommand(words []string, in interpreter) error {
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	return in.command(words)
}

// final says whether err leaves the line at once.
func final(err error) bool {
	var label gotoLabel
	var exit exitScript
	var halt stop
	return errors.As(err, &label) || errors.As(err, &exit) || errors.As(err, &halt) || errors.Is(err, errDone)
}
