package command

// powerCommands are listed here in the order of help.
func powerCommands() []*Command { return []*Command{} }
