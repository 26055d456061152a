package bmc

import (
	"context"
	"errors"
	"net"
)

// Classes of error. The text of the first four is what xCAT prints.
var (
	// ErrTimeout: the controller did not answer in time.
	ErrTimeout = errors.New("timeout")
	// ErrPassword: the user exists and the password is another.
	ErrPassword = errors.New("Incorrect password provided") //nolint:staticcheck // xCAT's words
	// ErrUser: the controller does not know the user, or refuses user and
	// password without saying which.
	ErrUser = errors.New("Unauthorized name") //nolint:staticcheck // xCAT's words
	// ErrBusy: all sessions of the controller are taken.
	ErrBusy = errors.New("Insufficient resources to create new session (wait for existing sessions to timeout)") //nolint:staticcheck // xCAT's words
	// ErrPrivilege: the user may not do this.
	ErrPrivilege = errors.New("insufficient privilege")
	// ErrUnsupported: this controller or protocol cannot do it.
	ErrUnsupported = errors.New("not supported")
	// ErrIgnored: the controller said yes and did not do it.
	ErrIgnored = errors.New("ignored by the machine")
	// ErrPin: the controller shows another certificate than before.
	ErrPin = errors.New("certificate changed")
)

// Brief is an error as xCAT prints it: the classes that have words there have
// those words alone, and all others say all that they know.
func Brief(err error) error {
	for _, class := range []error{ErrTimeout, ErrPassword, ErrUser, ErrBusy} {
		if errors.Is(err, class) {
			return class
		}
	}
	return err
}

// Timeout returns ErrTimeout in place of an error that says so in other words.
func Timeout(err error) error {
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		return ErrTimeout
	}
	return err
}
