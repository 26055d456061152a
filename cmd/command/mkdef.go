package command

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"margay/nodedb"
)

const mkdefUsage = "[-t type] [-o] names [-f] [-d -w attr==val ...] [--template name] [attr=val ...] | -z < file | -t osimage -u provmethod= profile= osvers= osarch="

var mkdefCmd = &Command{
	Name:  "mkdef",
	Usage: mkdefUsage,
	Short: "define nodes, groups, networks, images and other objects",
	Group: GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		defFlags(fs)
		xmlFlag(fs)
		fs.BoolP("stanza", "z", false, "read definitions in stanza form from standard input")
		fs.BoolP("dynamic", "d", false, "make a group whose members meet the conditions of -w")
		fs.BoolP("force", "f", false, "replace definitions that exist")
		fs.StringArrayP("where", "w", nil, "condition, as attr==val, attr!=val, attr=~regexp, attr!~regexp")
		fs.String("template", "", "take attributes from a template, or from an object of the same type")
		fs.BoolP("use", "u", false, "an osimage: fill in what follows from provmethod=, profile=, osvers= and osarch=")
		fs.BoolP("plus", "p", false, "")
		fs.BoolP("minus", "m", false, "")
		fs.MarkHidden("plus")
		fs.MarkHidden("minus")
	},
	Run: mkdef,
}

func mkdef(ctx context.Context, s *Session, args []string) error {
	if describes(s, args) {
		return describe(s)
	}
	if answered(s, "mkdef "+mkdefUsage, "Defines objects. A node needs groups=; a network net= and mask=.\nWith -h -t TYPE, the attributes of a type.") {
		return nil
	}
	if s.Bool("plus") || s.Bool("minus") {
		return errors.New("The '-p' and '-m' options are not valid for the mkdef command.")
	}
	if len(args) == 0 && !s.Bool("stanza") && !s.Flags.Changed("objects") {
		return Usagef("what to define is missing")
	}
	d, err := parseDef(s, args, nodedb.Set)
	if err != nil {
		return errors.New(defError(err))
	}
	items, err := mkdefItems(s, d)
	if err != nil {
		return errors.New(defError(err))
	}
	if name := s.String("template"); name != "" {
		if err := useTemplate(d.snap, items, name); err != nil {
			return err
		}
	}
	if s.Bool("dynamic") {
		err = d.dynamic(items, nodedb.Set)
	} else if d.types[0].Name == "group" && !s.Bool("stanza") {
		err = d.staticGroups(s, items)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(items, func(i defItem) bool { return i.t.Name == "node" && len(i.assigns) == 0 }) {
		return errors.New("No object definitions have been created or modified: no attributes were specified. The 'groups' attribute is required when creating node definitions.")
	}
	return mkdefWrite(ctx, s, items)
}

// mkdefItems are what is to be made. Attributes that there are not have nothing
// be made at all.
func mkdefItems(s *Session, d *defArgs) ([]defItem, error) {
	if unknown := d.known(s); len(unknown) > 0 {
		return nil, errors.Join(unknown...)
	}
	if s.Bool("use") {
		return imageItem(s, d)
	}
	items, unknown, err := d.items(s)
	return items, errors.Join(err, errors.Join(unknown...))
}

// staticGroups looks for members of groups that are to be made.
func (d *defArgs) staticGroups(s *Session, items []defItem) error {
	if len(d.wheres) > 0 {
		return d.members(items, nodedb.Set)
	}
	for _, item := range items {
		knows := func(a nodedb.Assign) bool {
			return a.Attr == "members" || a.Attr == "grouptype" && a.Value == "dynamic"
		}
		if !slices.ContainsFunc(item.assigns, knows) {
			s.Warn("Cannot determine a member list for group '%s'.", item.name)
		}
	}
	return nil
}

func mkdefWrite(ctx context.Context, s *Session, items []defItem) error {
	force := s.Bool("force")
	items = joining(items)
	r, err := write(ctx, s, items, func(e *nodedb.Editor, r *defResult, item defItem) {
		define := e.Define
		if force {
			define = e.Replace
		}
		err := define(item.t, item.name, item.assigns)
		var same *nodedb.SameNetError
		if errors.Is(err, nodedb.ErrExists) && !errors.As(err, &same) {
			r.warn("A definition for '" + item.name + "' already exists. No changes will be made.  Run again with '-f' option to force replace.")
			return
		}
		if err != nil {
			r.fail(err)
			return
		}
		if item.t.Name == "node" && item.name != strings.ToLower(item.name) {
			r.warn("The node name '" + item.name + "' contains capital letters which may not be resolved correctly by the dns server.")
		}
		r.did(item)
	})
	if err != nil {
		return err
	}
	if len(r.done) > 0 {
		printDone(s, r)
	}
	switch {
	case r.failed:
		return errSomeFailed
	case len(r.done) == 0:
		return errors.New("0 object definitions have been created or modified.")
	}
	return nil
}

// joining has members named for groups join those that have the group in their
// own list already.
func joining(items []defItem) []defItem {
	for i, item := range items {
		at := slices.IndexFunc(item.assigns, func(a nodedb.Assign) bool { return a.Attr == "members" })
		if item.t.Name == "group" && at >= 0 && item.assigns[at].Op == nodedb.Set {
			items[i].assigns = slices.Clone(item.assigns)
			items[i].assigns[at].Op = nodedb.Plus
		}
	}
	return items
}

// printDone says how many definitions were written, and with -V which.
func printDone(s *Session, r *defResult) {
	if s.Bool("verbose") {
		s.Line("The database was updated for the following objects:")
		for _, name := range r.done {
			s.Line("%s", name)
		}
	}
	s.Line("%d object definitions have been created or modified.", len(r.done))
}
