package command

// bootCommands are listed here in the order of help.
func bootCommands() []*Command {
	return []*Command{copycdsCmd, mediaCmd, hoststateCmd, nodesetCmd, nodediscoverlsCmd, nodediscoverdefCmd, nodediscoverstartCmd, nodediscoverstopCmd, nodediscoverstatusCmd}
}
