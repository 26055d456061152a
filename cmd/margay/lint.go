package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"margay/cmd/command"
	"margay/provision/esxi"
)

func (c *cli) lintCommand() *command.Command {
	var version string
	return &command.Command{
		Name:  "lint",
		Usage: "ks file... [--esxi version]",
		Short: "check kickstarts against the grammar of a release of ESXi",
		Long: `Check kickstarts against the grammar of a release of ESXi: unknown and withdrawn
options, what excludes what, a missing accepteula, what does not run under Secure
Boot. Exit status 1 if the installer would stop.`,
		Group: command.GroupMargay,
		Flags: func(f *pflag.FlagSet) {
			f.StringVar(&version, "esxi", "8.0", "the release that is to read it")
		},
		Local: func(_ context.Context, _ *pflag.FlagSet, args []string) error {
			if len(args) < 2 || args[0] != "ks" {
				return command.Usagef("ks and a file are wanted")
			}
			stops := false
			for _, name := range args[1:] {
				text, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				for _, f := range esxi.Lint(string(text), version) {
					fmt.Fprintf(c.stdout, "%s: %s\n", name, f)
					stops = stops || f.Error
				}
			}
			if stops {
				return errors.New("the installer would stop")
			}
			return nil
		},
	}
}
