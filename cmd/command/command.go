// Package command has every command, one a file, named as it is typed. A
// command parses, calls and prints; what it calls lives in nodedb, provision
// and vm.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Command is one word at the prompt. Commands run in the daemon; those with
// Local run in the client.
type Command struct {
	Name    string
	Aliases []string
	Usage   string // operands, as usage shows them after the name
	Short   string // a line for the list of commands
	Long    string // for --help
	Group   string // heading in the list of commands
	Flags   func(*pflag.FlagSet)
	Sub     []*Command
	// Verbatim stops flags at the first operand: xdsh n1 ls -la.
	Verbatim bool
	// Complete offers words for the operand that follows args. Nil: noderanges.
	Complete func(s *Session, args []string, word string) []string
	// Input names a file of the client's that is sent as standard input; empty,
	// or nil: none.
	Input func(flags *pflag.FlagSet, args []string) string
	// Run does it. An error is printed as "Error: text" and makes the exit
	// status 1; s.Fail and the like do so without ending the command.
	Run func(ctx context.Context, s *Session, args []string) error
	// Local runs it in the client instead.
	Local func(ctx context.Context, flags *pflag.FlagSet, args []string) error
}

// Groups are the headings under which help lists commands.
const (
	GroupTable   = "Node table"
	GroupNetwork = "Network services"
	GroupBoot    = "Provisioning"
	GroupPower   = "Hardware"
	GroupGuest   = "Guests"
	GroupMargay  = "margay itself"
)

// ErrUsage marks an error after which the usage line helps.
var ErrUsage = errors.New("usage")

// ErrRemote is what a tree without a session returns for a well-formed
// command: it is to be run in the daemon.
var ErrRemote = errors.New("to be run in the daemon")

// A RemoteError is an ErrRemote whose command wants a file of the client's as
// its standard input; none if Input is empty.
type RemoteError struct{ Input string }

func (e *RemoteError) Error() string { return ErrRemote.Error() }
func (e *RemoteError) Unwrap() error { return ErrRemote }

// Usagef is an error about how the command was typed.
func Usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }
func (e *usageError) Unwrap() error { return ErrUsage }

// Names are all words that `margay links` makes links for: xCAT's commands and
// their aliases, not margay's own.
func Names() []string {
	var names []string
	for _, c := range commands() {
		if c.Group == GroupMargay {
			continue
		}
		names = append(names, c.Name)
		names = append(names, c.Aliases...)
	}
	return names
}

// Root is the tree of all commands for one session, which may be nil where
// only names, flags and help are wanted. An extra command takes the place of
// the one that has its name.
func Root(s *Session, extra ...*Command) *cobra.Command {
	return tree(s, merged(commands(), extra))
}

// rootFor is the tree for one call: of a command that there is, that alone,
// since a tree of all costs more than most commands.
func rootFor(s *Session, args []string) *cobra.Command {
	if c := named(args); c != nil {
		root := tree(s, []*Command{c})
		root.CompletionOptions.DisableDefaultCmd = true
		return root
	}
	return Root(s)
}

// named is the command that the first word names; nil: there is none.
func named(args []string) *Command {
	if len(args) > 0 {
		for _, c := range commands() {
			if c.Name == args[0] || slices.Contains(c.Aliases, args[0]) {
				return c
			}
		}
	}
	return nil
}

// execute runs the command that args are. One that is well-formed is run as it
// is; for all else, help and what to say of mistakes, there is the tree, which
// costs as much as a short command.
func execute(ctx context.Context, s *Session, args []string) error {
	c := named(args)
	if c != nil && c.Run != nil && c.Local == nil && len(c.Sub) == 0 {
		if flags := c.parse(args[1:]); flags != nil {
			s.Flags = flags
			return usageAfter(c.use(), withHooks(ctx, s, c.Name, flags.Args(), c.Run))
		}
	}
	return executeTree(ctx, s, args)
}

// executeTree runs whatever args are.
func executeTree(ctx context.Context, s *Session, args []string) error {
	root := rootFor(s, args)
	root.SetArgs(args)
	root.SetOut(rawWriter{s})
	root.SetErr(errWriter{s})
	return root.ExecuteContext(ctx)
}

// parse reads the words behind a command; nil: they are not well-formed, or ask
// for help.
func (c *Command) parse(words []string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(c.Name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if c.Flags != nil {
		c.Flags(flags)
	}
	flags.SetInterspersed(!c.Verbatim)
	if flags.Lookup("help") == nil {
		flags.BoolP("help", "h", false, "help for "+c.Name)
	}
	if flags.Parse(words) != nil {
		return nil
	}
	if help, err := flags.GetBool("help"); help || err != nil {
		return nil
	}
	return flags
}

// use is the command's usage line.
func (c *Command) use() string { return strings.TrimSpace(c.Name + " " + c.Usage) }

// tree is a tree of some commands.
func tree(s *Session, list []*Command) *cobra.Command {
	root := &cobra.Command{
		Use:               "margay",
		Short:             "bring up VMware ESXi from bare metal and run guests on it",
		Long:              "margay brings up VMware ESXi hosts from bare metal and runs guests on them.\nCommands are xCAT's; margay's own are listed last. Start with: margay serve",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	seen := map[string]bool{}
	for _, c := range list {
		if !seen[c.Group] && c.Group != "" {
			seen[c.Group] = true
			root.AddGroup(&cobra.Group{ID: c.Group, Title: c.Group + ":"})
		}
		root.AddCommand(build(c, s))
	}
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "help-", RunE: root.RunE})
	return root
}

// merged are the commands with the extra ones, each in the place of the one of
// its name or behind all.
func merged(list, extra []*Command) []*Command {
	for _, x := range extra {
		i := slices.IndexFunc(list, func(c *Command) bool { return c.Name == x.Name })
		if i < 0 {
			list = append(list, x)
			continue
		}
		list[i] = x
	}
	return list
}

func build(c *Command, s *Session) *cobra.Command {
	cc := &cobra.Command{
		Use:                   c.use(),
		Aliases:               c.Aliases,
		Short:                 c.Short,
		Long:                  c.Long,
		GroupID:               c.Group,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completion(c, s),
	}
	if c.Flags != nil {
		c.Flags(cc.Flags())
	}
	if c.Verbatim {
		cc.Flags().SetInterspersed(false)
	}
	for _, sub := range c.Sub {
		sub := build(sub, s)
		sub.GroupID = ""
		cc.AddCommand(sub)
	}
	if c.Run != nil || c.Local != nil {
		cc.RunE = func(cc *cobra.Command, args []string) error {
			if c.Local != nil {
				return withUsage(cc, c.Local(cc.Context(), cc.Flags(), args))
			}
			if s == nil && c.Input != nil {
				return &RemoteError{c.Input(cc.Flags(), args)}
			}
			if s == nil {
				return ErrRemote
			}
			s.Flags = cc.Flags()
			return withUsage(cc, withHooks(cc.Context(), s, c.Name, args, c.Run))
		}
	}
	return cc
}

// withUsage adds the usage line to an error about usage.
func withUsage(cc *cobra.Command, err error) error {
	return usageAfter(strings.TrimPrefix(cc.UseLine(), "margay "), err)
}

func usageAfter(use string, err error) error {
	if errors.Is(err, ErrUsage) {
		return fmt.Errorf("%v\nUsage: %s", err, use)
	}
	return err
}

func completion(c *Command, s *Session) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if s == nil || s.DB == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if c.Complete != nil {
			return c.Complete(s, args, word), cobra.ShellCompDirectiveNoFileComp
		}
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.completeRange(word), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}
