package command

// networkCommands are listed here in the order of help.
func networkCommands() []*Command {
	return []*Command{makedhcpCmd, makednsCmd, makehostsCmd, makenetworksCmd, leasesCmd, releaseCmd}
}
