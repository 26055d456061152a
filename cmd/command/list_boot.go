package command

// bootCommands are listed here in the order of help.
func bootCommands() []*Command {
	return []*Command{copycdsCmd, mediaCmd, nodesetCmd, nodediscoverlsCmd, nodediscoverdefCmd, nodediscoverstartCmd, nodediscoverstopCmd, nodediscoverstatusCmd}
}
