package nodedb

// ProductKey is the key that prodkey has of a product for a node: that of the
// node's own row, or else of its first group that has one. A row that names no
// product is for any.
func (s *Snapshot) ProductKey(n *Node, product string) string {
	t := TableByName("prodkey")
	for _, name := range append([]string{n.Name}, n.Groups...) {
		for _, of := range []string{product, ""} {
			r, _ := s.Record(Key{t.Kind, t.KeyName(name, of)})
			if key := r.Attrs["prodkey.key"]; key != "" && !isDisabled(r.Attrs["prodkey.disable"]) {
				return key
			}
		}
	}
	return ""
}
