package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"margay/cmd/command"
)

// localCommands run in the client: they need no daemon, or are it.
func (c *cli) localCommands() []*command.Command {
	return []*command.Command{command.Tabedit(c.remote, c.stdin, c.stdout, c.stderr),
		c.serveCommand(), c.linksCommand(), c.storeCommand(), c.restoreCommand(), c.lintCommand(), c.completionCommand()}
}

func (c *cli) linksCommand() *command.Command {
	return &command.Command{
		Name:  "links",
		Usage: "directory",
		Short: "make a link to margay for every xCAT command name",
		Group: command.GroupMargay,
		Local: func(_ context.Context, _ *pflag.FlagSet, args []string) error {
			if len(args) != 1 {
				return command.Usagef("one directory is wanted")
			}
			return c.links(args[0])
		},
	}
}

// links makes the links. A file that is no link of ours stays, and is named.
func (c *cli) links(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	made := 0
	for _, name := range command.Names() {
		path := filepath.Join(dir, name)
		old, err := os.Readlink(path)
		switch {
		case err == nil && old == self:
			made++
			continue
		case err == nil && filepath.Base(old) == filepath.Base(self):
			os.Remove(path)
		case err == nil || !errors.Is(err, os.ErrNotExist):
			fmt.Fprintf(c.stderr, "Warning: %s is not a link to margay; left as it is\n", path)
			continue
		}
		if err := os.Symlink(self, path); err != nil {
			return err
		}
		made++
	}
	fmt.Fprintf(c.stdout, "%d links in %s\n", made, dir)
	return nil
}

func (c *cli) completionCommand() *command.Command {
	return &command.Command{
		Name:  "completion",
		Usage: "bash|zsh|fish",
		Short: "print a completion script for a shell",
		Long:  "Print a completion script for a shell. For bash, and all linked command names:\n\n  source <(margay completion bash)",
		Group: command.GroupMargay,
		Local: func(_ context.Context, _ *pflag.FlagSet, args []string) error {
			if len(args) != 1 {
				return command.Usagef("one of bash, zsh, fish is wanted")
			}
			root := command.Root(nil, c.localCommands()...)
			switch args[0] {
			case "bash":
				if err := root.GenBashCompletionV2(c.stdout, true); err != nil {
					return err
				}
				for _, name := range command.Names() {
					fmt.Fprintf(c.stdout, "complete -o default -o nospace -F __start_margay %s\n", name)
				}
				return nil
			case "zsh":
				return root.GenZshCompletion(c.stdout)
			case "fish":
				return root.GenFishCompletion(c.stdout, true)
			}
			return command.Usagef("%s: one of bash, zsh, fish is wanted", args[0])
		},
	}
}
