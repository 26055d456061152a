package command

// tableCommands are listed here in the order of help.
func tableCommands() []*Command { return []*Command{} }
