package ipmi

import (
	"errors"
	"fmt"

	"margay/provision/bmc"

	"github.com/bougou/go-ipmi/pkg/types"
)

// codeOf is the completion code that an error carries, CodeOK if none.
func codeOf(err error) types.CompletionCode {
	var e *CodeError
	if errors.As(err, &e) {
		return e.Code
	}
	return types.CodeOK
}

func unsupported(err error) error { return fmt.Errorf("%w: %w", err, bmc.ErrUnsupported) }
