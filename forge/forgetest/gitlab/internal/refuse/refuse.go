// Package refuse has the words and statuses with which GitLab refuses.
package refuse

import (
	"errors"
	"fmt"
	"net/http"
)

// Refused is why something was not done, in GitLab's words.
type Refused struct {
	Status int
	// Message is what stands under "message": a text, or texts by field.
	Message any
}

// Error is the message, as people read it.
func (e *Refused) Error() string { return fmt.Sprint(e.Message) }

// With makes a refusal.
func With(status int, message any) *Refused { return &Refused{status, message} }

// NotFound is 404 for a kind of thing, also for what must not be seen.
func NotFound(what string) *Refused {
	if what == "" {
		return With(http.StatusNotFound, "404 Not found")
	}
	return With(http.StatusNotFound, "404 "+what+" Not Found")
}

// Forbidden is 403.
func Forbidden() *Refused { return With(http.StatusForbidden, "403 Forbidden") }

// Invalid is 400 about one field.
func Invalid(field, why string) *Refused {
	return With(http.StatusBadRequest, map[string]any{field: []string{why}})
}

// As finds a refusal in an error; anything else is a 500.
func As(err error) *Refused {
	var r *Refused
	if errors.As(err, &r) {
		return r
	}
	return With(http.StatusInternalServerError, "500 Internal Server Error ("+err.Error()+")")
}
