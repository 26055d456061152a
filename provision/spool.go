package provision

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Spool brings files from elsewhere into files of ours, with their sha256.
type Spool interface {
	Fetch(ctx context.Context, address string, progress func(done, total int64)) (name, sum string, err error)
	Store(ctx context.Context, r io.Reader, progress func(done, total int64)) (name, sum string, err error)
	// Drop removes a file that Fetch or Store returned.
	Drop(name string)
	// Clean removes what crashes left.
	Clean(now time.Time)
}

// IsAddress says whether a medium is named by its address.
func IsAddress(path string) bool {
	return strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://")
}

// bring makes c's medium a file of ours, if it is elsewhere, and checks its sum.
func (s *Service) bring(ctx context.Context, c *Copy) (brought bool, err error) {
	want, err := parseSum(c.SHA256)
	if err != nil {
		return false, err
	}
	switch {
	case c.From != nil:
		c.source = "sent by a client"
		c.Path, c.sum, err = s.Spool.Store(ctx, c.From, c.Progress)
		brought = true
	case IsAddress(c.Path):
		c.source = withoutPassword(c.Path)
		c.Path, c.sum, err = s.Spool.Fetch(ctx, c.Path, c.Progress)
		brought = true
	case want != "":
		c.sum, err = sumFile(ctx, c.Path)
	}
	if err != nil || want == "" || c.sum == want {
		return brought && err == nil, err
	}
	if !brought {
		return false, fmt.Errorf("%s: its sha256 is %s and not %s", c.Path, c.sum, want)
	}
	s.Spool.Drop(c.Path)
	return false, fmt.Errorf("%s: its sha256 is %s and not %s; nothing of it was kept", c.source, c.sum, want)
}

func parseSum(text string) (string, error) {
	text = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(text), "sha256:"))
	if b, err := hex.DecodeString(text); err != nil || len(b) != 0 && len(b) != 32 {
		return "", errors.New("sha256: 64 hexadecimal digits are wanted")
	}
	return text, nil
}

// A sourceError is about a medium that was brought: it names the medium's
// source, not our file.
type sourceError struct {
	error
	file, source string
}

func (e *sourceError) Error() string { return strings.ReplaceAll(e.error.Error(), e.file, e.source) }
func (e *sourceError) Unwrap() error { return e.error }

func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// settle says where a medium that was brought stays. One that is served from
// its file, or whose installer loads it whole, moves to a place of ours; of
// others only the tree is kept.
func (s *Service) settle(md *Media, rel *Release) error {
	if !md.InPlace && !rel.Whole {
		md.ISO, md.ModTime = md.Source, time.Time{}
		return nil
	}
	dir := filepath.Join(s.State, "iso")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("%s-%s-%.8s.iso", rel.OS, rel.Arch, md.SHA256))
	if err := os.Rename(md.ISO, name); err != nil {
		return err
	}
	md.ISO, md.Own = name, true
	return syncDir(dir)
}
