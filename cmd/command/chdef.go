package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

const chdefUsage = "[-t type] [-o] names [-p | -m] [-d -w attr==val ...] attr=val ... | [-t type] [-o] name -n newname | -z < file"

var chdefCmd = &Command{
	Name:  "chdef",
	Usage: chdefUsage,
	Short: "change definitions, or make them",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		defFlags(fs)
		xmlFlag(fs)
		fs.BoolP("stanza", "z", false, "read definitions in stanza form from standard input")
		fs.BoolP("dynamic", "d", false, "make a group whose members meet the conditions of -w")
		fs.StringArrayP("where", "w", nil, "condition that the objects meet, as attr==val, attr!=val, attr=~regexp, attr!~regexp")
		fs.BoolP("plus", "p", false, "add the values to lists")
		fs.BoolP("minus", "m", false, "take the values out of lists")
		fs.StringP("newname", "n", "", "give the object another name")
		fs.BoolP("use", "u", false, "an osimage: fill in what follows from provmethod=, profile=, osvers= and osarch=")
		safetyFlags(fs)
		fs.BoolP("force", "f", false, "")
		fs.MarkHidden("force")
	},
	Run: chdef,
}

func chdef(ctx context.Context, s *Session, args []string) error {
	if describes(s, args) {
		return describe(s)
	}
	if answered(s, "chdef "+chdefUsage, "Changes objects; attr= takes an attribute away. An object that is not there is made.\nWith -h -t TYPE, the attributes of a type.") {
		return nil
	}
	op, err := chdefOp(s)
	if err != nil {
		return err
	}
	if len(args) == 0 && !s.Bool("stanza") && !s.Flags.Changed("objects") {
		return Usagef("what to change is missing")
	}
	s.settleAudit(ctx, s.String("types"))
	d, err := parseDef(s, args, op)
	if err != nil {
		return errors.New(defError(err))
	}
	items, unknown, err := chdefItems(s, d)
	if err != nil {
		return errors.New(defError(err))
	}
	if s.Flags.Changed("newname") {
		return rename(ctx, s, d, items, s.String("newname"))
	}
	if items, err = d.choose(s, items, op); err != nil {
		return err
	}
	given := slices.ContainsFunc(items, func(i defItem) bool { return len(i.assigns) > 0 })
	if !given && len(unknown) == 0 && len(d.wheres) == 0 && !s.Bool("stanza") {
		s.Line("No object definitions have been created or modified.")
		return Usagef("no attributes were specified")
	}
	if err := confirmClearing(s, items); err != nil {
		return err
	}
	for _, err := range unknown {
		s.Error("%s", defError(err))
		s.Error("Skipping to the next attribute.")
	}
	items = slices.DeleteFunc(items, func(i defItem) bool { return len(i.assigns) == 0 && len(unknown) > 0 })
	return chdefWrite(ctx, s, items, op, len(unknown) > 0)
}

// chdefItems are what is to be changed, without the attributes that their type
// does not have, and what is wrong with those. As in xCAT, whose mkdef does
// nothing then, the others are set.
func chdefItems(s *Session, d *defArgs) ([]defItem, []error, error) {
	unknown := d.known(s)
	if s.Bool("use") {
		items, err := imageItem(s, d)
		return items, unknown, err
	}
	items, more, err := d.items(s)
	return items, append(unknown, more...), err
}

// choose looks at -d and -w: they make dynamic groups, say who is in static
// ones, or choose among the objects.
func (d *defArgs) choose(s *Session, items []defItem, op nodedb.Op) ([]defItem, error) {
	switch {
	case s.Bool("dynamic"):
		return items, d.dynamic(items, op)
	case len(d.wheres) == 0:
		return items, nil
	case d.named && d.types[0].Name == "group":
		return items, d.members(items, op)
	}
	return chosen(d, items), nil
}

// confirmClearing asks before values are taken from many nodes.
func confirmClearing(s *Session, items []defItem) error {
	n := 0
	for _, item := range items {
		takes := slices.ContainsFunc(item.assigns, func(a nodedb.Assign) bool { return a.Op == nodedb.Minus || a.Op == nodedb.Set && a.Value == "" })
		if takes && item.t.Name == "node" {
			n++
		}
	}
	return s.Confirm(n, "take values from nodes")
}

func chdefOp(s *Session) (nodedb.Op, error) {
	switch {
	case s.Bool("force"):
		return 0, errors.New("The '-f' option is not valid for the chdef command.")
	case s.Bool("plus") && s.Bool("minus"):
		return 0, errors.New("The flags '-p' and '-m' cannot be used together.")
	case s.Bool("plus"):
		return nodedb.Plus, nil
	case s.Bool("minus"):
		return nodedb.Minus, nil
	}
	return nodedb.Set, nil
}

// chosen are the items that are there and meet the conditions.
func chosen(d *defArgs, items []defItem) []defItem {
	view := nodedb.NewView(d.snap)
	return slices.DeleteFunc(items, func(i defItem) bool {
		o, ok := view.Object(i.t, i.name)
		return !ok || !meets(o, d.wheres)
	})
}

// chdefWrite writes the items. Something was left out before, if skipped.
func chdefWrite(ctx context.Context, s *Session, items []defItem, op nodedb.Op, skipped bool) error {
	r, err := write(ctx, s, items, func(e *nodedb.Editor, r *defResult, item defItem) {
		if op == nodedb.Minus && !e.Has(item.t, item.name) {
			r.fail(errors.New("The '-m' option is not valid since the '" + item.name + "' definition does not exist."))
			return
		}
		result, err := e.Change(item.t, item.name, item.assigns)
		if err != nil {
			r.fail(err)
			return
		}
		for _, note := range result.Notes {
			r.fail(note)
		}
		if result.Created {
			r.created = append(r.created, item.name)
		}
		if result.Changed || len(result.Notes) == 0 {
			r.did(item)
		}
	})
	if err != nil {
		return err
	}
	if len(r.done) == 0 {
		s.Line("No object definitions have been created or modified.")
	} else {
		printDone(s, r)
	}
	if len(r.created) > 0 {
		s.Line("New object definitions '%s' have been created.", strings.Join(r.created, ","))
	}
	if r.refused || skipped {
		return errSomeFailed
	}
	return nil
}

// errSomeFailed is what mkdef and chdef end with if not all could be done.
var errSomeFailed = errors.New("One or more errors occured when attempting to create or modify xCAT object definitions.")

// rename gives one object another name.
func rename(ctx context.Context, s *Session, d *defArgs, items []defItem, to string) error {
	for _, flag := range []string{"dynamic", "plus", "minus", "stanza", "where"} {
		if s.Flags.Changed(flag) {
			return errors.New("Cannot combine '-n' and '-d','-p','-m','-z','-w' options.")
		}
	}
	if len(items) != 1 {
		return errors.New("The '-n' option (changing object name) can only work on one object.")
	}
	if len(d.assigns) > 0 || to == "" {
		return Usagef("-n takes a name, and no attributes")
	}
	item := items[0]
	if !nodedb.NewView(d.snap).Has(item.t, item.name) {
		return fmt.Errorf("The %s is not a valid object.", item.name)
	}
	err := s.Update(ctx, func(tx *nodedb.Tx) error {
		return nodedb.Edit(tx).Rename(item.t, item.name, to)
	})
	if errors.Is(err, nodedb.ErrExists) {
		return fmt.Errorf("Object %s already exists.", to)
	}
	if err != nil {
		return plain(err)
	}
	s.Line("Changed the object name from %s to %s.", item.name, to)
	return nil
}
