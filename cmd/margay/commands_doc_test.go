package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"margay/cmd/command"
)

var updateDocs = flag.Bool("update-docs", false, "rewrite the list of commands in docs/commands.md")

const (
	commandsDoc = "../../docs/commands.md"
	docBegin    = "<!-- commands: written by go test ./cmd/margay -run TestCommandsDoc -update-docs -->\n"
	docEnd      = "<!-- end of commands -->\n"
)

// TestCommandsDoc holds the list of commands in docs/commands.md against what
// the commands say of themselves. A command that is missing there fails it;
// words that have changed are written anew by -update-docs.
func TestCommandsDoc(t *testing.T) {
	b, err := os.ReadFile(commandsDoc)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), docBegin)
	list, tail, ok2 := strings.Cut(rest, docEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the list: it stands between %s and %s", commandsDoc, docBegin, docEnd)
	}
	want := describeCommands()
	if !*updateDocs {
		for line := range strings.SplitSeq(want, "\n") {
			if strings.HasPrefix(line, "### ") && !strings.Contains(list, "\n"+line+"\n") {
				t.Errorf("%s lacks %s; run go test ./cmd/margay -run TestCommandsDoc -update-docs", commandsDoc, line[4:])
			}
		}
		return
	}
	if err := os.WriteFile(commandsDoc, []byte(head+docBegin+want+docEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// describeCommands is every command under its heading: its usage, what it
// does, and its flags.
func describeCommands() string {
	c := &cli{stdin: strings.NewReader("")}
	root := command.Root(nil, c.localCommands()...)
	var b strings.Builder
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", g.ID)
		for _, cc := range root.Commands() {
			if cc.GroupID == g.ID && !cc.Hidden {
				describeCommand(&b, cc)
			}
		}
	}
	b.WriteByte('\n')
	return b.String()
}

func describeCommand(b *strings.Builder, cc *cobra.Command) {
	fmt.Fprintf(b, "\n### %s\n\n", cc.Name())
	fmt.Fprintf(b, "    %s\n\n", strings.TrimPrefix(cc.UseLine(), "margay "))
	text := cc.Long
	if text == "" {
		text = strings.ToUpper(cc.Short[:1]) + cc.Short[1:] + "."
	}
	b.WriteString(docText(text))
	if len(cc.Aliases) > 0 {
		fmt.Fprintf(b, "\nAlso called %s.\n", strings.Join(cc.Aliases, ", "))
	}
	var flags strings.Builder
	cc.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Usage == "" || f.Name == "help" || f.Name == "version" && f.Usage == "show the version" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		fmt.Fprintf(&flags, "| %s | %s |\n", name, strings.ReplaceAll(f.Usage, "|", "\\|"))
	})
	if flags.Len() > 0 {
		b.WriteString("\n| flag | |\n|---|---|\n" + flags.String())
	}
	for _, sub := range cc.Commands() {
		fmt.Fprintf(b, "\n`%s %s`: %s\n", cc.Name(), strings.TrimPrefix(sub.UseLine(), "margay "+cc.Name()+" "), sub.Short)
	}
}

// docText makes Markdown of help: what is indented stays as it is typed.
func docText(text string) string {
	var b strings.Builder
	block := false
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		indented := strings.HasPrefix(line, "  ")
		if indented != block && line != "" {
			if block = indented; indented {
				b.WriteByte('\n')
			}
		}
		if indented {
			line = "    " + strings.TrimPrefix(line, "  ")
		} else {
			line = strings.NewReplacer("<", "&lt;", "*", "\\*", "_", "\\_").Replace(line)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
