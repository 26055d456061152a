package nodedb

import "slices"

// A SiteKey is a setting of the site table. Default is what a new cluster's
// table is given; keys without one are not written.
type SiteKey struct{ Name, Default, Desc string }

// SiteKeys returns the settings that are known, sorted by name. The table may
// hold others.
func SiteKeys() []SiteKey { return slices.Clone(siteKeys) }

func siteDesc(key string) string {
	for _, k := range siteKeys {
		if k.Name == key {
			return k.Desc
		}
	}
	return "a setting of the cluster"
}

// siteKeys is sorted by name. The defaults are those that xCAT's own set-up
// writes.
var siteKeys = []SiteKey{
	{"FQDNfirst", "", "1: in hosts, the name with the domain stands first"},
	{"SNsyncfiledir", "/var/xcat/syncfiles", "directory on service nodes for files on their way to nodes"},
	{"auditlogmax", "", "how many entries of commands that change something auditlog keeps, the newest; 10000 if empty, all if 0"},
	{"auditnosyslog", "0", "1: commands are not told to syslog"},
	{"auditreadsmax", "", "how many entries of commands that only look auditlog keeps, the newest; 10000 if empty, all if 0"},
	{"auditskipcmds", "", "commands that are not kept in auditlog, separated by commas: names, clienttype:cli, or ALL; none if empty"},
	{"blademaxp", "64", "management modules that are talked to at once"},
	{"checkneighbors", "", "no: a node's secrets are sent to its address whichever interface answers for that, as behind a proxy of ARP"},
	{"cleanupxcatpost", "no", "whether postscripts are removed from a node when done"},
	{"consoleondemand", "no", "whether consoles are connected only while somebody looks"},
	{"dhcpbackend", "", "which DHCP server of other products is used; has no effect here"},
	{"dhcpforeigncheck", "300", "seconds between looks for other DHCP servers on the interfaces that are served; 0: none"},
	{"dhcpinterfaces", "", "interfaces to serve DHCP on: eth0,eth1 or mn|eth0;sn|eth1; all that have a network if empty"},
	{"dhcplease", "43200", "seconds that an address is leased for"},
	{"dhcppingcheck", "", "no: addresses of dynamic ranges are given without asking the network first whether somebody has them"},
	{"dhcpsetup", "", "n: nodeset and mkvm do not touch DHCP"},
	{"dhcpstatements", "", "what all machines are told further by DHCP, in dhcpd's syntax: option 150 10.1.0.9; with .NETWORK behind the key, those of one network"},
	{"disablenodesetwarning", "", "1: nodeset does not warn of its old forms"},
	{"discoverywait", "", "seconds that a machine which is no node waits to become one before it boots from its disk; 60 if empty"},
	{"disjointdhcps", "", "1: each service node serves only its own nodes"},
	{"dnshandler", "ddns", "how DNS is kept up to date"},
	{"dnsinterfaces", "", "interfaces to serve DNS on; all if empty"},
	{"domain", "", "DNS domain of the cluster"},
	{"emptyzonesenable", "", "whether DNS answers for the empty zones of RFC 6303 itself"},
	{"enableASMI", "no", "whether the service processors' old interface is used"},
	{"excludenodes", "", "noderange that is left out of every other"},
	{"externaldhcpservers", "", "DHCP servers outside that serve the cluster's networks"},
	{"externaldns", "", "whether names are kept by a DNS server outside"},
	{"forwarders", "", "DNS servers that are asked for names outside the cluster, separated by commas"},
	{"fsptimeout", "0", "seconds to wait for a service processor"},
	{"genmacprefix", "", "first three bytes of the MAC addresses that guests are given, as 00:50:56"},
	{"hierarchicalattrs", "", "columns whose values of node and groups are joined in place of the first being taken, separated by commas"},
	{"hooktimeout", "", "seconds that a program of the hooks directory may take; 300 if empty"},
	{"hostsfile", "", "file that makehosts keeps nodes' lines in, as /etc/hosts; none if empty, since DNS answers from the table"},
	{"httpmethod", "", "http or https: how ESXi hosts fetch what their installer or firmware can fetch either way (esxi.httpmethod)"},
	{"httpport", "", "port that nodes fetch files from; 80 if empty"},
	{"installdir", "/install", "directory with what nodes install from"},
	{"ipmimaxp", "64", "BMCs that are talked to at once"},
	{"ipmiretries", "3", "how often a BMC is asked again"},
	{"ipmitimeout", "2", "seconds to wait for a BMC"},
	{"managedaddressmode", "", "where nodes have their address from: dhcp, static or autoula"},
	{"master", "", "address of this server as nodes know it"},
	{"maxssh", "8", "ssh connections at once"},
	{"maxwithoutyes", "", "how many nodes a command takes something from without --yes; 100 if empty, any number if 0"},
	{"nameservers", "", "name servers of nodes, separated by commas, or <xcatmaster>"},
	{"nodestatus", "", "0: reports of nodes do not change their status"},
	{"nodesyncfiledir", "/var/xcat/node/syncfiles", "directory on nodes for files that are merged"},
	{"ntpservers", "", "time servers of nodes, separated by commas, or <xcatmaster>"},
	{"osimagerequired", "", "1: nodeset takes osimages only"},
	{"powerinterval", "0", "seconds between nodes when rpower turns on many"},
	{"ppcmaxp", "64", "System p machines that are talked to at once"},
	{"ppcretry", "3", "how often a System p machine is asked again"},
	{"ppctimeout", "0", "seconds to wait for a System p machine"},
	{"precreatemypostscripts", "", "1: postscripts are made beforehand"},
	{"pruneservices", "", "whether DHCP forgets a node that is removed"},
	{"secureroot", "", "1: root's password is not sent to nodes"},
	{"sharedtftp", "1", "whether all servers share one TFTP directory"},
	{"sshbetweennodes", "ALLGROUPS", "groups whose nodes reach each other without a password, ALLGROUPS or NOGROUPS"},
	{"syspowerinterval", "0", "seconds between systems when rpower turns on many"},
	{"templatecommands", "", "yes: #COMMAND:...# in xCAT's templates runs on this server; refused otherwise"},
	{"tftpdir", "/tftpboot", "directory of files for TFTP"},
	{"timezone", "", "time zone of nodes, as Europe/Berlin"},
	{"useNmapfromMN", "no", "whether the state of nodes is looked up from this server"},
	{"usehostnamesforvcenter", "", "whether hosts join a vCenter by name in place of address"},
	{"vcenterautojoin", "", "n or dis...: hosts do not join their vCenter by themselves"},
	{"vmimagedir", "", "directory of the images that guests are made of; <installdir>/images if empty"},
	{"vmimageexport", "", "NFS export under which hosts may have vmimagedir mounted, as nfs://server/path"},
	{"vmimagemode", "", "dedicated: images on hosts' datastores make room for others, if no guest uses them; if empty, they are shared and stay"},
	{"vmwareanswers", "", "answers to guests' questions, as msg.id=answer;msg.id2=answer"},
	{"vmwaredatastoreautomount", "", "n or dis...: datastores are not mounted by themselves"},
	{"vmwaredatastores", "", "exports that hosts have under names of datastores, as work=nfs://server/work/$host,masters=nfs://server/masters"},
	{"vmwarefixednetworks", "", "1: mkvm and chvm make no networks, they must be there"},
	{"vmwarereconfigonpower", "", "n or dis...: rpower does not fit a guest to its definition"},
	{"vsftp", "n", "whether an FTP server is set up"},
	{"xcatconfdir", "/etc/xcat", "directory of the configuration"},
	{"xcatdport", "3001", "port that clients reach the daemon on"},
	{"xcatesximoddisable", "", "1: stateless ESXi hosts are given no overlay"},
	{"xcatiport", "3002", "port that installing nodes report to"},
	{"xcattlspolicy", "modern", "which TLS clients may speak"},
}
