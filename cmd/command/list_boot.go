package command

// bootCommands are listed here in the order of help.
func bootCommands() []*Command {
	return []*Command{copycdsCmd, mediaCmd, genimageCmd, hoststateCmd, nodesetCmd, nodediscoverlsCmd, nodediscoverdefCmd, nodediscoverstartCmd, nodediscoverstopCmd, nodediscoverstatusCmd}
}
