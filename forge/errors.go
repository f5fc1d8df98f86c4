package forge

import (
	"errors"
	"fmt"
	"time"
)

// Error is a failed call to a forge in words a person can act on.
type Error struct {
	Op   string // what was asked, e.g. "read pull acme/shop#7"
	Code Code
	// Status is the HTTP status, 0 when no answer came.
	Status int
	// Message is the forge's own explanation, free of credentials.
	Message string
	// RetryAfter is when the forge asked to be left alone until (zero: now).
	RetryAfter time.Time
	// Unsent is true when the request certainly had no effect.
	Unsent bool
	Err    error
}

// Code is the kind of a failure; it decides what happens next.
type Code string

// The kinds of failure.
const (
	Unauthorized Code = "unauthorized" // 401: the credential is wrong, expired or revoked
	Forbidden    Code = "forbidden"    // 403: the credential lacks a permission
	NotFound     Code = "not_found"    // 404, 410: gone, renamed, or invisible to us
	Conflict     Code = "conflict"     // 405, 409: merge refused, head moved
	Invalid      Code = "invalid"      // 422 and other 4xx: we asked wrongly
	RateLimited  Code = "rate_limited" // 429, or 403 with a rate limit
	Unavailable  Code = "unavailable"  // 5xx, cut connection, time-out
)

// Error names the operation, the cause and what to do about it.
func (e *Error) Error() string {
	msg := e.Message
	if msg == "" && e.Err != nil {
		msg = e.Err.Error()
	}
	if e.Status != 0 {
		return fmt.Sprintf("%s: %s (HTTP %d: %s)", e.Op, hints[e.Code], e.Status, msg)
	}
	return fmt.Sprintf("%s: %s (%s)", e.Op, hints[e.Code], msg)
}

var hints = map[Code]string{
	Unauthorized: "the forge does not accept our credential; renew the key or token that the server file names",
	Forbidden:    "our credential lacks a permission for this; compare what our account or App may do with the README",
	NotFound:     "the forge does not know it, or does not show it to us",
	Conflict:     "the forge refused because the state has changed",
	Invalid:      "the forge did not accept the request",
	RateLimited:  "the forge asks us to slow down; it is tried again later",
	Unavailable:  "the forge did not answer properly; it is tried again",
}

// Unwrap gives the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the Code of the first *Error in err's chain, or "".
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
