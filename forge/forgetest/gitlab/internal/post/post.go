// Package post is how GitLab delivers webhooks: to whom, with which headers, and when
// it stops.
package post

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"lockkeeper/forge/forgetest/internal/courier"
)

// Hook is a webhook of a project or of a group, or a system hook.
type Hook struct {
	ID             int64
	Project, Group int64 // the number of one of them, or neither
	URL, Token     string
	On             map[string]bool // push, tag_push, merge_request, note, issue, pipeline
	Created        time.Time
	failures       int
	DisabledUntil  time.Time
}

// After so many failures in a row GitLab stops sending for a while, and after so
// many for good.
const (
	failuresForAWhile = 4
	failuresForGood   = 40
)

// Alert is alert_status.
func (h *Hook) Alert(now time.Time) string {
	switch {
	case h.failures >= failuresForGood:
		return "disabled"
	case now.Before(h.DisabledUntil):
		return "temporarily_disabled"
	}
	return "executable"
}

// Answered counts failures in a row: whatever is no 2xx or 3xx is one.
func (h *Hook) Answered(status int, now time.Time) {
	if status >= 200 && status < 400 {
		h.failures, h.DisabledUntil = 0, time.Time{}
		return
	}
	if h.failures++; h.failures >= failuresForAWhile {
		pause := min(time.Minute<<min(h.failures-failuresForAWhile, 20), 24*time.Hour)
		h.DisabledUntil = now.Add(pause)
	}
}

var names = map[string]string{
	"push": "Push Hook", "tag_push": "Tag Push Hook", "merge_request": "Merge Request Hook", "note": "Note Hook", "issue": "Issue Hook", "pipeline": "Pipeline Hook",
}

// Delivery is an event for the hook, nil when it is not sent there. The Idempotency-Key
// stays the same over retries.
func (h *Hook) Delivery(id int64, now time.Time, instance, event string, body []byte) *courier.Delivery {
	if !h.On[event] || h.Alert(now) != "executable" {
		return nil
	}
	name := names[event]
	if h.Project == 0 && h.Group == 0 {
		name = "System Hook"
	}
	d := &courier.Delivery{ID: id, GUID: UUID(), Event: event, Payload: body, URL: h.URL, At: now, Hook: h.ID}
	d.Header = http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {"GitLab/18.5.0-ee"}, "Idempotency-Key": {d.GUID},
		"X-Gitlab-Event": {name}, "X-Gitlab-Webhook-Uuid": {UUID()}, "X-Gitlab-Event-Uuid": {UUID()}, "X-Gitlab-Instance": {instance},
	}
	if h.Token != "" {
		d.Header.Set("X-Gitlab-Token", h.Token)
	}
	return d
}

// UUID is one of its own for every call.
func UUID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
