package provision

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"margay/nodedb"
)

// Bounds of a command that a template runs.
const (
	commandTime   = 10 * time.Second
	commandOutput = 64 << 10
)

// templateCommand runs what a #COMMAND:...# of a template says, if site
// templatecommands allows it; its output goes into the file.
func templateCommand(snap *nodedb.Snapshot, line string) (string, error) {
	if snap.Site("templatecommands") != "yes" {
		return "", fmt.Errorf("would run a command on the server, which templates may only after chtab key=templatecommands site.value=yes: %w", nodedb.ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", fmt.Errorf("ran for more than %s", commandTime)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	if len(out) > commandOutput {
		return "", fmt.Errorf("printed more than %d bytes", commandOutput)
	}
	return strings.TrimRight(string(out), "\n"), nil
}
