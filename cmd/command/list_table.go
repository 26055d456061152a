package command

// tableCommands are listed here in the order of help.
func tableCommands() []*Command {
	return []*Command{
		mkdefCmd, chdefCmd, lsdefCmd, rmdefCmd,
		nodelsCmd, nodechCmd, nodegrpchCmd, nodeaddCmd, nodermCmd, nodepurgeCmd, nodestatCmd, lsxcatdCmd,
		tabdumpCmd, tabrestoreCmd, tabeditCmd, chtabCmd, gettabCmd, tabgrepCmd, tabpruneCmd,
		dumpxCATdbCmd, restorexCATdbCmd,
	}
}
