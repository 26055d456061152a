package command

// guestCommands are listed here in the order of help.
func guestCommands() []*Command { return []*Command{} }
