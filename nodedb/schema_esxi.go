package nodedb

// esxiTables are ours, not xCAT's: how ESXi is to be installed on a host.
func esxiTables() []*Table {
	return []*Table{
		byNode("esxi", "how ESXi is installed and set up on a host", nil,
			col("bootproto", "esxibootproto", "how the management interface gets its address: dhcp (default) or static, which is the node's ip unless esxi.ip says another"),
			col("ip", "esxiip", "fixed address of the management interface, with its mask as 10.2.0.5/24 if it is in no network of the table"),
			col("gateway", "esxigateway", "gateway of the management network; that of its networks row if empty"),
			col("vlan", "esxivlan", "VLAN of the management interface"),
			col("device", "esxidevice", "its uplink: a MAC or vmnicN; the interface that boots if empty"),
			col("nameservers", "esxinameservers", "name servers, separated by commas; noderes.nameservers, the network's or the site's if empty"),
			col("ntpservers", "esxintpservers", "time servers, separated by commas; the network's if empty"),
			col("syslog", "esxisyslog", "where logs are sent, as udp://10.1.0.1:514, several separated by commas"),
			col("disk", "esxidisk", "disk to install to: firstdisk (default), firstdisk=FILTERS, a disk's name, or what to look for: vendor= model= serial= size=100G-500G ssd= local= usb= pick=first|smallest|largest"),
			col("vmfs", "esxivmfs", "datastores on that disk: preserve (default), overwrite, or none to make none"),
			col("method", "esximethod", "install (default), upgrade or installorupgrade"),
			col("keyboard", "esxikeyboard", "keyboard layout, as German or US Default"),
			col("sshkeys", "esxisshkeys", "public keys that may log in as root, separated by |, beside those of site sshkeys"),
			col("ssh", "esxissh", "yes (default) or no: root may log in by SSH"),
			col("shell", "esxishell", "yes (default) or no: ESXi's own shell is on"),
			col("secureboot", "esxisecureboot", "yes: the host boots with Secure Boot, under which nothing runs at the first boot"),
			col("datastore", "esxidatastore", "name for the local datastore, in place of datastore1"),
			col("vswitches", "esxivswitches", "further switches and port groups: vSwitch1:vmnic1+vmnic2:prod=10+test=20, several separated by ;"),
			col("nfs", "esxinfs", "NFS datastores: name=server:/path, several separated by commas"),
			col("certificate", "esxicertificate", "what the host's API shows: its own (default), made by this server's authority, or given, from hostcerts/NODE.crt and .key in the state directory"),
			col("services", "esxiservices", "services to turn on or, with a - before them, off: ntpd,-slpd"),
			col("firewall", "esxifirewall", "rule sets of the host's firewall to open or, with a - before them, to close: snmp,-CIMSLP"),
			col("mediasize", "esximediasize", "room for ESXi on its disk, from 7.0U1: min, small, default or max"),
			col("httpmethod", "esxihttpmethod", "http or https: how the host is sent its kickstart and, where its firmware boots by HTTP, all else; site httpmethod if empty"),
			col("legacycpu", "esxilegacycpu", "yes: install on processors that the release no longer supports"),
		),
	}
}
