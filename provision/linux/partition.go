package linux

import (
	"fmt"
	"strings"

	"margay/nodedb"
)

// partition reads the image's partition file: the installer's own words for
// how disks are parted, or with s: a script that writes them to
// /tmp/partitionfile, as xCAT has it.
func (n *node) partition(f *Family, d *AnswerData) error {
	if n.Image == nil {
		return nil
	}
	value := strings.TrimSpace(n.Image.Attr("linuximage.partitionfile"))
	if value == "" {
		return nil
	}
	name, script := strings.CutPrefix(value, "s:")
	if script && n.distro.installer != kickstart {
		return fmt.Errorf("partitionfile %s: scripts are for Red Hat's installer; give %s a file in its own words: %w", value, n.OS, nodedb.ErrInvalid)
	}
	if len(name) > 1 && name[1] == ':' {
		return fmt.Errorf("partitionfile %s: a file, or s: and a script, are known: %w", value, nodedb.ErrInvalid)
	}
	texts, err := f.listed(n, name)
	if err != nil {
		return err
	}
	for _, t := range texts {
		d.Partition += strings.TrimRight(t.text, "\n") + "\n"
	}
	d.Partition = strings.TrimRight(d.Partition, "\n")
	d.DiskTool = script
	return nil
}
