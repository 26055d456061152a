package command

import "slices"

// commands is every command, in the order of help.
func commands() []*Command {
	return slices.Concat(tableCommands(), networkCommands(), bootCommands(), powerCommands(), guestCommands(), margayCommands())
}
