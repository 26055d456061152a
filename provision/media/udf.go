package media

import "errors"

func (s *scan) hasUDF() bool            { return false }
func (s *scan) openUDF(im *Image) error { return errors.New("no") }
