package command

import (
	"os"

	"margay/nodedb"
)

// expandOptions are what a noderange of this client may lean on: its
// environment and, for ^file, files named from its directory.
func (s *Session) expandOptions() nodedb.ExpandOptions {
	return nodedb.ExpandOptions{
		Prefix:   s.Req.Env["XCAT_NODE_PREFIX"],
		Suffix:   s.Req.Env["XCAT_NODE_SUFFIX"],
		ReadFile: func(name string) ([]byte, error) { return os.ReadFile(s.Path(name)) },
	}
}
