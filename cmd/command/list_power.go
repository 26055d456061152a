package command

// powerCommands are listed here in the order of help.
func powerCommands() []*Command {
	return []*Command{rpowerCmd, rsetbootCmd, rinvCmd, rvitalsCmd, reventlogCmd, rbeaconCmd, rspconfigCmd, getmacsCmd, rmediaCmd, rconsCmd,
		ppingCmd, pshCmd, xdshCmd, xdcpCmd, makeknownhostsCmd}
}
