package redfish

import (
	"context"
	"errors"
	"slices"
	"time"

	"margay/provision/bmc"
)

type logService struct {
	ID      string `json:"Id"`
	Name    string
	Entries link
	Actions struct {
		Clear struct {
			Target string `json:"target"`
		} `json:"#LogService.ClearLog"`
	}
}

type logEntry struct {
	Created        string
	EventTimestamp string
	Message        string
	SensorType     string
	EntryCode      string
}

// log finds the machine's event log: by the vendor's name for it, among those
// of the system, of the BMC and of the chassis.
func (c *Controller) log(ctx context.Context) (logService, error) {
	s, err := c.read(ctx)
	if err != nil {
		return logService{}, err
	}
	m, _, err := c.manager(ctx)
	if err != nil && !errors.Is(err, bmc.ErrUnsupported) {
		return logService{}, err
	}
	var found []logService
	for _, l := range []link{s.LogServices, m.LogServices} {
		if err := each(ctx, c, l, func(_ string, v logService) error {
			found = append(found, v)
			return nil
		}); err != nil {
			return logService{}, err
		}
	}
	for _, name := range c.vendor.logs {
		if i := slices.IndexFunc(found, func(l logService) bool { return l.ID == name }); i >= 0 {
			return found[i], nil
		}
	}
	if len(found) > 0 {
		return found[0], nil
	}
	return logService{}, unsupported(errors.New("the service has no event log"))
}

// maxPages bounds a log that is sent in pages.
const maxPages = 100

// Events reads the log, newest first.
func (c *Controller) Events(ctx context.Context, n int) ([]bmc.Event, error) {
	log, err := c.log(ctx)
	if err != nil {
		return nil, err
	}
	var out []bmc.Event
	for path, pages := log.Entries.ID, 0; path != "" && pages < maxPages; pages++ {
		var page struct {
			Members []logEntry
			Next    string `json:"Members@odata.nextLink"`
		}
		if err := c.s.get(ctx, path, &page); err != nil {
			return nil, err
		}
		for _, e := range page.Members {
			out = append(out, eventOf(e))
		}
		path = page.Next
	}
	slices.SortStableFunc(out, func(a, b bmc.Event) int { return b.Time.Compare(a.Time) })
	if n > 0 && n < len(out) {
		out = out[:n]
	}
	return out, nil
}

func eventOf(e logEntry) bmc.Event {
	stamp := e.EventTimestamp
	if stamp == "" {
		stamp = e.Created
	}
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		at = time.Time{}
	}
	text := bmc.Clean(e.Message)
	if e.SensorType != "" {
		text = e.SensorType + ", " + text
	}
	return bmc.Event{Time: at, Text: text}
}

// ClearEvents empties the log.
func (c *Controller) ClearEvents(ctx context.Context) error {
	log, err := c.log(ctx)
	if err != nil {
		return err
	}
	if log.Actions.Clear.Target == "" {
		return unsupported(errors.New("the service does not let its log be cleared"))
	}
	return c.s.post(ctx, log.Actions.Clear.Target, map[string]string{})
}
