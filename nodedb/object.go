package nodedb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrExists is the class of errors about a name that is taken.
var ErrExists = errors.New("already exists")

// An Object is what the object commands show: the attributes of one node,
// group, image or other thing that have a value, sorted by name. A node's
// values are the effective ones.
type Object struct {
	Type   *Type
	Name   string
	Values []Value
}

// A Value is an attribute's value and where it is kept.
type Value struct {
	Name  string // nicips.eth1 for an interface's share of nicips
	Text  string
	Place Place
}

// Get returns the value of an attribute, "" if it has none. Of an attribute
// that lists interfaces it is the whole list.
func (o *Object) Get(attr string) string {
	if i, ok := slices.BinarySearchFunc(o.Values, attr, compareValue); ok {
		return o.Values[i].Text
	}
	var list []string
	for _, v := range o.NICs(attr) {
		list = append(list, strings.TrimPrefix(v.Name, attr+".")+"!"+v.Text)
	}
	return strings.Join(list, ",")
}

// NICs returns the values of an attribute that lists interfaces, one each.
func (o *Object) NICs(attr string) []Value {
	i, _ := slices.BinarySearchFunc(o.Values, attr+".", compareValue)
	j := i
	for j < len(o.Values) && strings.HasPrefix(o.Values[j].Name, attr+".") {
		j++
	}
	return o.Values[i:j]
}

func compareValue(v Value, name string) int { return strings.Compare(v.Name, name) }

// An UnknownError says that a type has no such attribute.
type UnknownError struct{ Type, Attr string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s: no attribute of a %s", e.Attr, e.Type)
}

// Unwrap makes it an ErrInvalid.
func (e *UnknownError) Unwrap() error { return ErrInvalid }

// A ConditionError says that an attribute exists only if another, On, has one
// of the values.
type ConditionError struct {
	Name, Attr, On string
	Values         []string
}

func (e *ConditionError) Error() string {
	return fmt.Sprintf("%s: %s can be set only if %s is %s", e.Name, e.Attr, e.On, strings.Join(e.Values, " or "))
}

// Unwrap makes it an ErrInvalid.
func (e *ConditionError) Unwrap() error { return ErrInvalid }

// A MissingError says that an object cannot be made without an attribute.
type MissingError struct{ Type, Name, Attr string }

func (e *MissingError) Error() string { return fmt.Sprintf("%s %s: no %s", e.Type, e.Name, e.Attr) }

// Unwrap makes it an ErrInvalid.
func (e *MissingError) Unwrap() error { return ErrInvalid }

// A NoItemError says that a value to be taken away is not there. Item is
// empty if there is no value at all.
type NoItemError struct{ Name, Attr, Item string }

func (e *NoItemError) Error() string {
	if e.Item == "" {
		return fmt.Sprintf("%s: %s has no value", e.Name, e.Attr)
	}
	return fmt.Sprintf("%s: %s has no %s", e.Name, e.Attr, e.Item)
}

// Unwrap makes it an ErrNotFound.
func (e *NoItemError) Unwrap() error { return ErrNotFound }

// A NameError says why a name cannot be an object's.
type NameError struct{ Type, Name, Why string }

func (e *NameError) Error() string { return fmt.Sprintf("%s %q: %s", e.Type, e.Name, e.Why) }

// Unwrap makes it an ErrInvalid.
func (e *NameError) Unwrap() error { return ErrInvalid }

// A SameNetError says that another network has the same address and mask.
type SameNetError struct{ Name, Other string }

func (e *SameNetError) Error() string {
	return fmt.Sprintf("network %s: %s has the same net and mask", e.Name, e.Other)
}

// Unwrap makes it an ErrExists.
func (e *SameNetError) Unwrap() error { return ErrExists }

// CheckName says why name cannot be an object of the type, nil if it can.
func (t *Type) CheckName(name string) error {
	why := ""
	switch {
	case name == "":
		why = "empty name"
	case t.IsSite() && name != SiteObject:
		why = "the only object of type site is " + SiteObject
	case t.Name == "node" && strings.Contains(name, "."):
		why = "'.' in a node's name"
	case t.Name == "node" && strings.ContainsFunc(name, notInNodeName):
		why = "a node's name has letters, digits, - and _ only"
	case t.Name == "node" && name[0] == '-':
		why = "a node's name begins with a letter or digit"
	case t.Name == "group" && (name[0] == '-' || strings.ContainsAny(name, ",@()[]|^/~=!+'\" \t")):
		why = "characters that have a meaning in noderanges"
	case strings.ContainsAny(name, ", \t'\"") || checkText(name) != "":
		why = "commas, blanks, quotes or control characters in the name"
	}
	if why == "" {
		return nil
	}
	return &NameError{t.Name, name, why}
}

func notInNodeName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}
