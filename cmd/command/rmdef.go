package command

import (
	"context"
	"errors"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

const rmdefUsage = "[-t types] [-o] names | -a -f"

var rmdefCmd = &Command{
	Name:  "rmdef",
	Usage: rmdefUsage,
	Short: "remove definitions",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		defFlags(fs)
		fs.BoolP("all", "a", false, "remove every definition; needs -f")
		fs.BoolP("force", "f", false, "do not ask; -a needs it")
		safetyFlags(fs)
		fs.BoolP("cleanup", "C", false, "accepted: what a removed node had is cleaned up in any case")
		fs.StringArrayP("where", "w", nil, "")
		fs.MarkHidden("where")
		for short, name := range rmdefTakesNot {
			fs.BoolP(name, short, false, "")
			fs.MarkHidden(name)
		}
	},
	Run: rmdef,
}

// rmdefTakesNot are flags of the other object commands.
var rmdefTakesNot = map[string]string{"d": "dynamic", "i": "attributes", "l": "long", "m": "minus", "p": "plus", "s": "short", "x": "xml", "z": "stanza"}

func rmdef(ctx context.Context, s *Session, args []string) error {
	if describes(s, args) {
		return describe(s)
	}
	if answered(s, "rmdef "+rmdefUsage, "Removes objects with all their rows. A running machine is left alone.") {
		return nil
	}
	if s.Flags.Changed("where") {
		return errors.New("The '-w' option is not supported for the rmdef command.")
	}
	for _, name := range rmdefTakesNot {
		if s.Flags.Changed(name) {
			return errors.New("Invalid flag specified, see rmdef manpage for details.")
		}
	}
	all := s.Bool("all")
	if all && s.Flags.Changed("types") {
		return errors.New("Cannot combine '-t' and '-a', '-z', or '-x' options.")
	}
	if all && !s.Bool("force") {
		return errors.New("You must use the '-f' option when using the '-a' option.")
	}
	if len(args) == 0 && !all && !s.Flags.Changed("objects") {
		return Usagef("what to remove is missing")
	}
	s.settleAudit(ctx, s.String("types"))
	d, err := parseDef(s, args, nodedb.Set)
	if err != nil {
		return errors.New(defError(err))
	}
	if len(d.assigns) > 0 {
		return Usagef("rmdef takes no attributes")
	}
	if all {
		return rmdefWrite(ctx, s, everything(d.snap))
	}
	var items []defItem
	for _, t := range d.types {
		names, err := d.names(s, t)
		if err != nil {
			return errors.New(defError(err))
		}
		for _, name := range names {
			items = append(items, defItem{t: t, name: name})
		}
	}
	return rmdefWrite(ctx, s, items)
}

// everything is every object but those of types that -a leaves out.
func everything(snap *nodedb.Snapshot) []defItem {
	var items []defItem
	view := nodedb.NewView(snap)
	for _, t := range nodedb.Types() {
		if t.Aside {
			continue
		}
		for _, name := range view.Names(t) {
			items = append(items, defItem{t: t, name: name})
		}
	}
	return items
}

func rmdefWrite(ctx context.Context, s *Session, items []defItem) error {
	var missing []defItem
	var removed int
	var found map[string]bool // names that one of several types has
	if !s.Bool("force") {
		if err := s.Confirm(len(items), "remove definitions"); err != nil {
			return err
		}
	}
	err := s.Update(ctx, func(tx *nodedb.Tx) error {
		missing, removed, found = nil, 0, make(map[string]bool)
		e := nodedb.Edit(tx)
		for _, item := range items {
			if err := e.Remove(item.t, item.name); err != nil {
				missing = append(missing, item)
				continue
			}
			found[item.name] = true
			removed++
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDry) {
		return err
	}
	for _, item := range missing {
		if !found[item.name] {
			notFound(s, item.t, item.name)
		}
	}
	if err != nil {
		return err
	}
	if removed == 0 {
		s.Line("No objects have been removed from the xCAT database.")
		s.Fail()
		return nil
	}
	s.Line("%d object definitions have been removed.", removed)
	return nil
}
