package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// A Remote runs a command in the daemon and returns its exit status.
type Remote func(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) (int, error)

// tabeditCmd stands for Tabedit in the daemon, which runs no editor.
var tabeditCmd = Tabedit(func(context.Context, []string, io.Reader, io.Writer) (int, error) {
	return 1, errors.New("tabedit runs where the terminal is: call it through margay")
}, strings.NewReader(""), io.Discard, io.Discard)

// Tabedit is the tabedit command. It runs in the client, where the editor and
// the terminal are: the table is dumped, edited and restored through run.
// Without a terminal's answer on stdin it does not ask twice.
func Tabedit(run Remote, stdin io.Reader, stdout, stderr io.Writer) *Command {
	return &Command{
		Name:  "tabedit",
		Usage: "table [--reveal]",
		Short: "edit a table with $TABEDITOR, $EDITOR or vi",
		Long: `Edit a table with $TABEDITOR, $EDITOR or vi. What was written is asked about again
until it is right or given up; then the table stays as it was. Passwords are
shown as ******, and a row that keeps that keeps its password.`,
		Group: GroupTable,
		Flags: revealFlag,
		Local: func(ctx context.Context, flags *pflag.FlagSet, args []string) error {
			if len(args) != 1 {
				return Usagef("one table")
			}
			e := &tableEditor{run: run, in: bufio.NewReader(stdin), out: stdout, err: stderr, table: args[0]}
			e.reveal, _ = flags.GetBool("reveal")
			return e.edit(ctx, stdin)
		},
		Complete: completeTable,
	}
}

// errShown says that the daemon has already said what is wrong.
var errShown = errors.New("nothing was changed")

type tableEditor struct {
	run      Remote
	in       *bufio.Reader
	out, err io.Writer
	table    string
	reveal   bool
}

// edit edits until the table is taken, left as it was, or given up.
func (e *tableEditor) edit(ctx context.Context, tty io.Reader) error {
	var before bytes.Buffer
	dump := []string{"tabdump", e.table}
	if e.reveal {
		dump = append(dump, "--reveal")
	}
	if code, err := e.run(ctx, dump, nil, &before); err != nil || code != 0 {
		return errors.Join(err, errShown)
	}
	dir, err := os.MkdirTemp("", "tabedit") // mode 0700: the table may hold secrets
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, e.table+".csv")
	if err := os.WriteFile(file, before.Bytes(), 0o600); err != nil {
		return err
	}
	for {
		if err := e.editor(ctx, file, tty); err != nil {
			return err
		}
		after, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if bytes.Equal(after, before.Bytes()) {
			fmt.Fprintln(e.out, "No file modifications detected, not restoring.")
			return nil
		}
		code, err := e.run(ctx, []string{"tabrestore", "--yes", "-t", e.table}, bytes.NewReader(after), e.out)
		if err != nil || code == 0 {
			return err
		}
		if !e.again() {
			return errShown
		}
	}
}

// editor runs the operator's editor.
func (e *tableEditor) editor(ctx context.Context, file string, tty io.Reader) error {
	name := "vi"
	for _, v := range []string{"EDITOR", "TABEDITOR"} {
		if s := os.Getenv(v); s != "" {
			name = s
		}
	}
	// Through a shell: the variable may hold arguments.
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", name+` "$1"`, "tabedit", file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, e.out, e.err
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("editor %s: %w; set TABEDITOR or EDITOR", name, err)
	}
	return nil
}

// again asks whether to edit once more.
func (e *tableEditor) again() bool {
	fmt.Fprint(e.err, "Edit again? (y/n) ")
	answer, err := e.in.ReadString('\n')
	return err == nil && (answer == "y\n" || answer == "\n" || answer == "yes\n")
}
