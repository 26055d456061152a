package e2e

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A console is what a machine writes on its serial port, line by line and with
// the time of each.
type console struct {
	began time.Time

	mu      sync.Mutex // guards what follows
	lines   []string
	read    int // lines that wait has passed over
	ended   bool
	changed chan struct{} // closed at the next line
}

func newConsole(r io.Reader) *console {
	c := &console{began: time.Now(), changed: make(chan struct{})}
	go c.feed(r)
	return c
}

// escapes are the terminal sequences that firmware draws its screens with.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?=]*[a-zA-Z]|\x1bc|.\x08`)

func (c *console) feed(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c.add(escapes.ReplaceAllString(strings.TrimRight(lines.Text(), "\r"), ""), false)
	}
	c.add("machine is off", true)
}

func (c *console) add(line string, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A firmware's progress bar writes over itself: the last state counts.
	line = line[strings.LastIndexByte(line, '\r')+1:]
	c.lines = append(c.lines, fmt.Sprintf("%6.2f %s", time.Since(c.began).Seconds(), line))
	c.ended = last
	close(c.changed)
	c.changed = make(chan struct{})
}

// fatal are the words of our boot programs for what should never be.
var fatal = regexp.MustCompile(`MBOOT-(FATAL|BADOPT|TOOLONG|NOTGZIP|CHUNKED|NOHEAD|NOCALLBACK)|Secure Boot|UiApp`)

// wait returns the next line that matches, and all lines before it since the
// last wait. Words that should never be end the test at once.
func (c *console) wait(t *testing.T, limit time.Duration, pattern string) (match string, before []string) {
	t.Helper()
	want := regexp.MustCompile(pattern)
	timeout := time.After(limit)
	for {
		line, ended, changed := c.next()
		switch {
		case line != "" && want.MatchString(line):
			return line, before
		case line != "" && fatal.MatchString(line):
			t.Fatalf("waiting for %s: %s\n%s", pattern, line, c.tail())
		case line != "":
			before = append(before, line)
			continue
		case ended:
			t.Fatalf("waiting for %s: the machine ended\n%s", pattern, c.tail())
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("no %s in %v\n%s", pattern, limit, c.tail())
		}
	}
}

// next is the next line not yet read, or "" and what tells of a new one.
func (c *console) next() (string, bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read < len(c.lines) {
		c.read++
		return c.lines[c.read-1], false, nil
	}
	return "", c.ended, c.changed
}

// tail is the end of the log, for a failing test.
func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return "serial port:\n" + strings.Join(c.lines[max(0, len(c.lines)-80):], "\n")
}

// marked are the lines that a boot program wrote under a mark, without it:
// "FILE" gives what follows "MBOOT-FILE: ".
func marked(lines []string, mark string) []string {
	var out []string
	for _, line := range lines {
		if _, text, ok := strings.Cut(line, "MBOOT-"+mark+": "); ok {
			out = append(out, text)
		}
	}
	return out
}
