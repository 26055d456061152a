package command

import (
	"context"
	"errors"
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
		fs.BoolP("stanza", "z", false, "read definitions in stanza form from standard input")
		fs.BoolP("dynamic", "d", false, "make a group whose members meet the conditions of -w")
		fs.StringArrayP("where", "w", nil, "condition that the objects meet, as attr==val, attr!=val, attr=~regexp, attr!~regexp")
		fs.BoolP("plus", "p", false, "add the values to lists")
		fs.BoolP("minus", "m", false, "take the values out of lists")
		fs.StringP("newname", "n", "", "give the object another name")
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
	d, err := parseDef(s, args, op)
	if err != nil {
		return errors.New(defError(err))
	}
	items, err := d.items(s)
	if err != nil {
		return errors.New(defError(err))
	}
	if to := s.String("newname"); to != "" {
		return rename(ctx, s, d, items, to)
	}
	if s.Bool("dynamic") {
		if err := d.dynamic(items, op); err != nil {
			return err
		}
	} else if len(d.wheres) > 0 {
		items = chosen(d, items)
	}
	if len(d.assigns) == 0 && !s.Bool("stanza") && !s.Bool("dynamic") {
		s.Line("No object definitions have been created or modified.")
		return Usagef("no attributes were specified")
	}
	if err := confirmClearing(s, items); err != nil {
		return err
	}
	return chdefWrite(ctx, s, items, op)
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

func chdefWrite(ctx context.Context, s *Session, items []defItem, op nodedb.Op) error {
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
		return nil
	}
	printDone(s, r)
	if len(r.created) > 0 {
		s.Line("New object definitions '%s' have been created.", strings.Join(r.created, ","))
	}
	return nil
}

// rename gives one object another name.
func rename(ctx context.Context, s *Session, d *defArgs, items []defItem, to string) error {
	if len(items) != 1 || len(d.assigns) > 0 || s.Bool("stanza") {
		return Usagef("-n takes one object and no attributes")
	}
	item := items[0]
	if !nodedb.NewView(d.snap).Has(item.t, item.name) {
		notFound(s, item.t, item.name)
		return nil
	}
	err := s.Update(ctx, func(tx *nodedb.Tx) error {
		return nodedb.Edit(tx).Rename(item.t, item.name, to)
	})
	if err != nil {
		return plain(err)
	}
	s.Line("Changed the object name from %s to %s.", item.name, to)
	return nil
}
