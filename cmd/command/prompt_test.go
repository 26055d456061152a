package command

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"margay/nodedb/nodedbtest"
	"margay/provision/api"
)

var update = flag.Bool("update", false, "rewrite the sessions in testdata/prompt")

// TestPrompt runs the sessions in testdata/prompt. A line that begins with $
// is typed, lines that begin with > after it are its standard input; then come
// its standard output, an empty line of which is written as a dot, its standard
// error behind "2> ", and its exit status in brackets unless it is 0. Lines that
// begin with -- are remarks, as are empty ones. Each session has a table of
// its own and the directory $DIR.
func TestPrompt(t *testing.T) {
	files, err := filepath.Glob("testdata/prompt/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { session(t, file) })
	}
}

func session(t *testing.T, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := newPrompt(t)
	var got strings.Builder
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(line, "-- ") || line == "" {
			got.WriteString(line + "\n")
			continue
		}
		if !strings.HasPrefix(line, "$ ") {
			continue // output of before
		}
		got.WriteString(line + "\n")
		var stdin strings.Builder
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], ">") {
			i++
			got.WriteString(lines[i] + "\n")
			stdin.WriteString(strings.TrimPrefix(strings.TrimPrefix(lines[i], ">"), " ") + "\n")
		}
		got.WriteString(p.run(t, line[2:], stdin.String()))
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(b) {
		t.Errorf("%s: %s", file, firstDifference(got.String(), string(b)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			from := max(0, i-6)
			return "got\n" + strings.Join(g[from:min(len(g), i+8)], "\n") + "\nwant\n" + strings.Join(w[from:min(len(w), i+8)], "\n")
		}
	}
	return "the end is missing:\n" + strings.Join(w[len(g):], "\n")
}

// A prompt runs commands as a client of a daemon with a table of its own.
type prompt struct {
	deps   *Deps
	client *api.Client
	dir    string
}

func newPrompt(t testing.TB) *prompt {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	p := &prompt{deps: &Deps{DB: nodedbtest.New(t), Log: log, Version: "test"}, dir: dir}
	socket := filepath.Join(dir, "s")
	l, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&api.Server{Run: p.deps.Run, Log: log}).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	p.client = &api.Client{Socket: socket}
	return p
}

// run runs a line and returns what it printed.
func (p *prompt) run(t testing.TB, line, stdin string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	req := &api.Request{Args: words(strings.ReplaceAll(line, "$DIR", p.dir)), Dir: p.dir}
	code, err := p.client.Run(t.Context(), req, strings.NewReader(stdin), &stdout, &stderr)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	out := strings.ReplaceAll("\n"+stdout.String(), "\n\n", "\n.\n")
	out = strings.ReplaceAll(out, "\n\n", "\n.\n")[1:]
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "\\\n"
	}
	if stderr.Len() > 0 {
		out += "2> " + strings.ReplaceAll(strings.TrimSuffix(stderr.String(), "\n"), "\n", "\n2> ") + "\n"
	}
	if code != 0 {
		out += "[" + string(rune('0'+code)) + "]\n"
	}
	return strings.ReplaceAll(out, p.dir, "$DIR")
}

// words splits a line as a shell would, with single and double quotes.
func words(line string) []string {
	var list []string
	var word strings.Builder
	var quote rune
	in := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, in = r, true
		case quote == 0 && r == ' ':
			if in {
				list = append(list, word.String())
			}
			word.Reset()
			in = false
		default:
			word.WriteRune(r)
			in = true
		}
	}
	if in {
		list = append(list, word.String())
	}
	return list
}
