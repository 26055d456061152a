package redfish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"margay/provision/bmc"
)

type virtualMedia struct {
	MediaTypes []string
	Image      string
	Inserted   *bool
	Actions    struct {
		Insert struct {
			Target string `json:"target"`
		} `json:"#VirtualMedia.InsertMedia"`
		Eject struct {
			Target string `json:"target"`
		} `json:"#VirtualMedia.EjectMedia"`
	}
}

func (v virtualMedia) inserted() bool {
	return v.Inserted != nil && *v.Inserted || v.Inserted == nil && v.Image != ""
}

// drive finds the virtual drive that takes discs. It is the manager's, and the
// system's on services newer than 2020.
func (c *Controller) drive(ctx context.Context) (v virtualMedia, path string, err error) {
	s, err := c.read(ctx)
	if err != nil {
		return v, "", err
	}
	m, _, err := c.manager(ctx)
	if err != nil && !errors.Is(err, bmc.ErrUnsupported) {
		return v, "", err
	}
	for _, l := range []link{s.VirtualMedia, m.VirtualMedia} {
		err := each(ctx, c, l, func(p string, d virtualMedia) error {
			disc := slices.ContainsFunc(d.MediaTypes, func(t string) bool { return t == "CD" || t == "DVD" })
			if path == "" && disc {
				v, path = d, p
			}
			return nil
		})
		if err != nil {
			return v, "", err
		}
	}
	if path == "" {
		return v, "", unsupported(errors.New("the service has no virtual drive for discs (some want a licence for it)"))
	}
	return v, path, nil
}

// Media reads what is in the virtual drive. A service that shows no name says
// that something is.
func (c *Controller) Media(ctx context.Context) (string, error) {
	v, _, err := c.drive(ctx)
	switch {
	case err != nil || !v.inserted():
		return "", err
	case v.Image == "":
		return "inserted", nil
	}
	return bmc.Clean(v.Image), nil
}

// InsertMedia puts an image into the virtual drive, in place of what is there,
// and reads back that it is.
func (c *Controller) InsertMedia(ctx context.Context, url string) error {
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return fmt.Errorf("image %q: not an HTTP address", url)
	}
	v, path, err := c.drive(ctx)
	if err != nil {
		return err
	}
	if v.inserted() {
		if err := c.eject(ctx, v, path); err != nil {
			return err
		}
	}
	if err := c.insert(ctx, v, path, url); err != nil {
		return err
	}
	return c.awaitMedia(ctx, path, func(v virtualMedia) bool { return v.inserted() && v.Image != "" })
}

// insert posts the action, or patches the image where there is none, as the
// first services that had virtual media wanted it.
func (c *Controller) insert(ctx context.Context, v virtualMedia, path, url string) error {
	if v.Actions.Insert.Target == "" {
		return c.s.patch(ctx, path, map[string]any{"Image": url, "Inserted": true})
	}
	body := map[string]any{"Image": url}
	if !c.vendor.bareMedia {
		body["Inserted"], body["WriteProtected"] = true, true
	}
	err := c.s.post(ctx, v.Actions.Insert.Target, body)
	if status(err) == http.StatusBadRequest && !c.vendor.bareMedia {
		err = c.s.post(ctx, v.Actions.Insert.Target, map[string]any{"Image": url})
	}
	return err
}

// EjectMedia empties the virtual drive.
func (c *Controller) EjectMedia(ctx context.Context) error {
	v, path, err := c.drive(ctx)
	if err != nil || !v.inserted() {
		return err
	}
	return c.eject(ctx, v, path)
}

func (c *Controller) eject(ctx context.Context, v virtualMedia, path string) error {
	var err error
	if v.Actions.Eject.Target == "" {
		err = c.s.patch(ctx, path, map[string]any{"Image": nil, "Inserted": false})
	} else {
		err = c.s.post(ctx, v.Actions.Eject.Target, map[string]string{})
	}
	if err != nil {
		return err
	}
	return c.awaitMedia(ctx, path, func(v virtualMedia) bool { return !v.inserted() })
}

// mediaPatience is how long a drive may take: the BMC fetches the image's
// start before it says yes.
const mediaPatience = 30 * time.Second

func (c *Controller) awaitMedia(ctx context.Context, path string, ok func(virtualMedia) bool) error {
	pause := 100 * time.Millisecond
	for end := time.Now().Add(mediaPatience); ; pause = min(2*pause, 2*time.Second) {
		var v virtualMedia
		if err := c.s.get(ctx, path, &v); err != nil {
			return err
		}
		if ok(v) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the virtual drive does not change within %v: %w", mediaPatience, bmc.ErrIgnored)
		}
		if !bmc.Sleep(ctx, pause) {
			return bmc.Timeout(context.Cause(ctx))
		}
	}
}
