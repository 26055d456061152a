// Package vm says what a guest is and what every command does to one.
//
// It holds the words (sizes, storage locations, networks, MAC addresses,
// disks), decides from one snapshot of the table and one look at the
// hypervisor what is to be done, and has a Hypervisor do it. What it learns it
// returns as facts for the caller to write; it writes no table, opens no
// socket and knows neither SOAP nor a shell. Its children do.
package vm

import (
	"errors"
	"fmt"
	"strings"
)

// Classes of error, for callers that act on the class.
var (
	// ErrExists: a guest, file, port group or datastore of that name is there.
	ErrExists = errors.New("already exists")
	// ErrNotFound: the hypervisor has no such guest, file or network.
	ErrNotFound = errors.New("not found")
	// ErrRestricted: the host's licence forbids changes through the API.
	ErrRestricted = errors.New("the host's licence forbids changes through the API")
	// ErrPowerState: not in this power state.
	ErrPowerState = errors.New("not in this power state")
	// ErrTools: the guest has no VMware Tools running.
	ErrTools = errors.New("VMware Tools is not running in the guest")
	// ErrUnsupported: this hypervisor cannot do that at all.
	ErrUnsupported = errors.New("not supported by this hypervisor")
	// ErrInvalid: the request is wrong before any hypervisor is asked.
	ErrInvalid = errors.New("invalid")
	// ErrNoSpace: the datastore is full.
	ErrNoSpace = errors.New("no space left on the datastore")
	// ErrUntrusted: the endpoint's certificate is not the one that is trusted.
	ErrUntrusted = errors.New("certificate is not trusted")
	// ErrUnreachable: no connection could be made.
	ErrUnreachable = errors.New("hypervisor unreachable")
	// ErrSession: the session has ended, and the connection has another by now.
	ErrSession = errors.New("the session has ended")
)

// A fault is a sentence of our own that belongs to a class of error. Its text
// is the sentence alone, as xCAT printed it.
type fault struct {
	text  string
	class error
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.class }

// Errorf makes an error whose text is the formatted sentence alone and which
// errors.Is finds to be of class.
func Errorf(class error, format string, args ...any) error {
	return &fault{fmt.Sprintf(format, args...), class}
}

// A Path is a file on a datastore, written "[datastore1] vm1/vm1.vmx".
type Path struct {
	Datastore string
	File      string // may be empty: the datastore itself
}

// ParsePath reads "[datastore] dir/file".
func ParsePath(s string) (Path, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), "[")
	if !ok {
		return Path{}, Errorf(ErrInvalid, "%q is no datastore path; write \"[datastore] dir/file\"", s)
	}
	ds, file, ok := strings.Cut(rest, "]")
	if !ok || ds == "" {
		return Path{}, Errorf(ErrInvalid, "%q is no datastore path; write \"[datastore] dir/file\"", s)
	}
	return Path{ds, strings.TrimLeft(file, " /")}, nil
}

func (p Path) String() string {
	if p.File == "" {
		return "[" + p.Datastore + "]"
	}
	return "[" + p.Datastore + "] " + p.File
}

// IsZero says whether p names nothing.
func (p Path) IsZero() bool { return p == Path{} }

// Dir is the folder that p is in: "[ds] vm1" for "[ds] vm1/vm1.vmx".
func (p Path) Dir() Path {
	i := strings.LastIndexByte(p.File, '/')
	if i < 0 {
		return Path{p.Datastore, ""}
	}
	return Path{p.Datastore, p.File[:i]}
}

// Base is the last part of p's file.
func (p Path) Base() string { return p.File[strings.LastIndexByte(p.File, '/')+1:] }

// Join is the file name below p.
func (p Path) Join(name string) Path {
	if p.File == "" {
		return Path{p.Datastore, name}
	}
	return Path{p.Datastore, strings.TrimRight(p.File, "/") + "/" + name}
}

// Within says whether p lies in the folder dir or below it.
func (p Path) Within(dir Path) bool {
	if p.Datastore != dir.Datastore {
		return false
	}
	return dir.File == "" || strings.HasPrefix(p.File, strings.TrimRight(dir.File, "/")+"/")
}

// Volume is p as the host's own file system has it:
// "/vmfs/volumes/datastore1/vm1/vm1.vmx".
func (p Path) Volume() string { return "/vmfs/volumes/" + p.Datastore + "/" + p.File }

// ParseVolume reads "/vmfs/volumes/ds/dir/file" or "[ds] dir/file".
func ParseVolume(s string) (Path, error) {
	rest, ok := strings.CutPrefix(s, "/vmfs/volumes/")
	if !ok {
		return ParsePath(s)
	}
	ds, file, _ := strings.Cut(rest, "/")
	if ds == "" {
		return Path{}, Errorf(ErrInvalid, "%q names no datastore", s)
	}
	return Path{ds, file}, nil
}
