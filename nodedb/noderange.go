package nodedb

// Expand returns the nodes of a noderange, sorted by name. Names that do not
// exist make an error; an empty result does not.
func (s *Snapshot) Expand(noderange string) ([]*Node, error) { return nil, nil }

// ExpandNames expands a noderange to names without asking whether they exist:
// what mkdef does. Groups that exist stand for their members.
func (s *Snapshot) ExpandNames(noderange string) ([]string, error) { return nil, nil }
