package command

var nodepurgeCmd = &Command{
	Name:  "nodepurge",
	Usage: nodermUsage,
	Short: "remove nodes, and all that is kept of them",
	Long: `Remove nodes from every table. What DHCP, DNS and HTTP answer comes from the
tables, so that nothing of a removed node is left there; nodepurge and noderm do
the same.`,
	Group: GroupTable,
	Flags: nodermCmd.Flags,
	Run:   noderm,
}
