package command

// margayCommands are margay's own, listed here in the order of help.
func margayCommands() []*Command {
	return []*Command{watchCmd, checkCmd, historyCmd, undoCmd, importCmd, backupCmd, probeCmd, doctorCmd, renderCmd, showCmd, versionCmd}
}
