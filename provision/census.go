package provision

import "margay/nodedb"

// A Standing is what a node boots and how far it is, in xCAT's words.
type Standing struct{ Mode, Status string }

// Census counts nodes by how they stand.
func Census(snap *nodedb.Snapshot) map[Standing]int {
	out := map[Standing]int{}
	for _, n := range snap.Nodes() {
		mode := string(n.Mode)
		if mode == "" {
			mode = "none"
		}
		status := string(n.Status)
		if status == "" {
			status = string(nodedb.StatusDefined)
		}
		out[Standing{mode, status}]++
	}
	return out
}
