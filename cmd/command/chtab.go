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

const chtabUsage = "column=value[,column=value ...] table.column[+]=value ... | -d column=value[,column=value ...] table ..."

var chtabCmd = &Command{
	Name:    "chtab",
	Aliases: []string{"tabch"},
	Usage:   chtabUsage,
	Short:   "set or delete rows of tables",
	Group:   GroupTable,
	Flags: func(fs *pflag.FlagSet) {
		tableFlags(fs)
		fs.BoolP("delete", "d", false, "delete the rows")
		safetyFlags(fs)
	},
	Run:      chtab,
	Complete: func(*Session, []string, string) []string { return nil },
}

// A rowChange is one column of a row that is to be set.
type rowChange struct {
	t     *nodedb.Table
	c     *nodedb.Column
	add   bool // to a list
	value string
}

func chtab(ctx context.Context, s *Session, args []string) error {
	if answered(s, "chtab "+chtabUsage, "Sets columns of the first row whose columns have the given values, or of a new one.\n+= adds to a list, an empty value takes the value away.") {
		return nil
	}
	if len(args) == 1 && s.Bool("delete") {
		return errors.New("Missing table name.")
	}
	if len(args) < 2 {
		return Usagef("which row and what to set are missing")
	}
	keys, err := parseKeys(args[0])
	if err != nil {
		return err
	}
	s.settleAudit(ctx, args...)
	if s.Bool("delete") {
		return chtabDelete(ctx, s, keys, args[1:])
	}
	changes, err := parseRowChanges(args[1:], keys)
	if err != nil {
		return err
	}
	if err := s.Update(ctx, func(tx *nodedb.Tx) error { return setRows(nodedb.Edit(tx), keys, changes) }); err != nil {
		return plain(err)
	}
	warnRow(s, keys, changes)
	return nil
}

func parseRowChanges(args []string, keys map[string]string) ([]rowChange, error) {
	var changes []rowChange
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("Incorrect argument \"%s\".", arg)
		}
		name, add := strings.CutSuffix(name, "+")
		t, c, err := columnNamed(name)
		if err != nil {
			return nil, err
		}
		if err := checkKeys(t, keys); err != nil {
			return nil, err
		}
		if err := checkStatements(rowPlace(t, c, keys), value); err != nil {
			return nil, err
		}
		changes = append(changes, rowChange{t, c, add, value})
	}
	return changes, nil
}

// setRows sets the columns, one row a table.
func setRows(e *nodedb.Editor, keys map[string]string, changes []rowChange) error {
	var tables []*nodedb.Table
	for _, c := range changes {
		if !slices.Contains(tables, c.t) {
			tables = append(tables, c.t)
		}
	}
	for _, t := range tables {
		var old *nodedb.Row
		values := make([]string, len(t.Columns))
		if found := e.Find(t, keys); len(found) > 0 {
			old = &found[0]
			copy(values, old.Values)
		}
		for k, v := range keys {
			values[t.Index(k)] = v
		}
		for _, c := range changes {
			if c.t == t {
				i := t.Index(c.c.Name)
				values[i] = c.apply(values[i])
			}
		}
		if err := e.PutRow(t, old, values); err != nil {
			return err
		}
	}
	return nil
}

func (c rowChange) apply(old string) string {
	if !c.add || old == "" {
		return c.value
	}
	if slices.Contains(strings.Split(old, ","), c.value) {
		return old
	}
	return old + "," + c.value
}

func chtabDelete(ctx context.Context, s *Session, keys map[string]string, names []string) error {
	var tables []*nodedb.Table
	for _, name := range names {
		if strings.Contains(name, "=") {
			return fmt.Errorf("Incorrect argument \"%s\".", name)
		}
		t, err := tableNamed(name)
		if err != nil {
			return err
		}
		if err := checkKeys(t, keys); err != nil {
			return err
		}
		tables = append(tables, t)
	}
	rows := 0
	for _, t := range tables {
		rows += len(s.DB.Snapshot().Find(t, keys))
	}
	if err := s.Confirm(rows, "delete rows"); err != nil {
		return err
	}
	return s.Update(ctx, func(tx *nodedb.Tx) error {
		e := nodedb.Edit(tx)
		for _, t := range tables {
			for _, row := range e.Find(t, keys) {
				e.DeleteRow(t, row)
			}
		}
		return nil
	})
}

// warnRow warns of what is doubtful about the node whose row was set.
func warnRow(s *Session, keys map[string]string, changes []rowChange) {
	touched := make(map[string]bool)
	for _, c := range changes {
		touchColumn(touched, c.t.Attr(c.c.Name))
	}
	if node := keys["node"]; s.DB.Snapshot().HasNode(node) {
		warnDoubts(s, []string{node}, touched)
	} else if node != "" {
		warnDoubts(s, membersOf(s, []string{node}), touched)
	}
	if group := keys["groupname"]; group != "" {
		warnGroups(s, []string{group})
	}
}

// touchColumn notes the attribute that a column is.
func touchColumn(touched map[string]bool, column string) {
	switch column {
	case "mac.mac":
		touched["mac"] = true
	case "hosts.ip":
		touched["ip"] = true
	case "ipmi.bmc", "openbmc.bmc":
		touched["bmc"] = true
	case "nodetype.provmethod":
		touched["provmethod"] = true
	case "vm.host":
		touched["vmhost"] = true
	}
}
