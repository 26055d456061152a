package command

// bootCommands are listed here in the order of help.
func bootCommands() []*Command {
	return []*Command{copycdsCmd, mediaCmd, genimageCmd, mknbCmd, hoststateCmd, nodesetCmd, holdCmd, rinstallCmd, nodediscoverlsCmd, nodediscoverdefCmd, nodediscoverstartCmd, nodediscoverstopCmd, nodediscoverstatusCmd}
}
