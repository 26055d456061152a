package command

// guestCommands are listed here in the order of help.
func guestCommands() []*Command {
	return []*Command{
		mkvmCmd, chvmCmd, lsvmCmd, rmvmCmd, clonevmCmd, rmigrateCmd,
		mkhypervisorCmd, lshypervisorCmd, chhypervisorCmd, rmhypervisorCmd, rshutdownCmd, rescansanCmd, formatdiskCmd, datastoreCmd, ovfCmd, imageCmd, domxmlCmd,
		rscanCmd, wvidCmd, screenshotCmd, snapshotCmd, autostartCmd, createvclusterCmd, lsvclusterCmd, rmvclusterCmd,
	}
}
