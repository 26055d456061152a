package nodedb

import "maps"

// With is the snapshot as it would be if records were other ones: each takes
// the place of the one of its key, or is added. It costs by the whole table
// and is for what only wants to be looked at.
func (s *Snapshot) With(records ...Record) *Snapshot {
	other := map[Key]Record{}
	for _, r := range records {
		other[r.Key] = r
	}
	var all []Record
	for _, k := range s.Kinds() {
		for _, r := range s.Records(k) {
			if o, ok := other[r.Key]; ok {
				r.Attrs = maps.Clone(o.Attrs)
				delete(other, r.Key)
			}
			all = append(all, r)
		}
	}
	for _, r := range other {
		all = append(all, r)
	}
	return newBuilder().load(all, s.rev)
}
