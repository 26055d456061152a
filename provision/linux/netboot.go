package linux

// disklessArguments tell the initial RAM disk that genimage makes where all
// else is. Addresses hold the token: they are only in this node's script.
func (n *node) disklessArguments() []string {
	root := n.Base + "/install/" + imageDir(n.OS, n.Arch, n.Profile) + "/" + imageRoot
	return []string{
		"margay.root=" + root,
		"margay.boot=" + n.URL("t/"+n.token()),
		"margay.say=" + n.CallbackURL("")[:len(n.CallbackURL(""))-1],
		bootif,
		"panic=60",
	}
}
