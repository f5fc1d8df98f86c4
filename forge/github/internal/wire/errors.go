package wire

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
)

// Fail turns any error of a call into a *forge.Error about op. Messages are
// GitHub's own words; addresses are left out because they may carry a query.
func Fail(op string, err error) error {
	if errors.Is(err, context.Canceled) {
		return &forge.Error{Op: op, Code: forge.Unavailable, Message: "stopped before the forge answered", Err: context.Canceled}
	}
	var (
		done   *forge.Error
		answer *gh.ErrorResponse
		otp    *gh.TwoFactorAuthError
		mint   *ghinstallation.HTTPError
		later  *gh.AcceptedError
	)
	switch {
	case errors.As(err, &done):
		e := *done
		e.Op = op
		return &e
	case errors.As(err, &answer):
		return answered(op, answer.Response, explain(answer))
	case errors.As(err, &otp):
		return answered(op, otp.Response, otp.Message)
	case errors.As(err, &mint) && mint.Response != nil:
		defer mint.Response.Body.Close()
		return Fail(op, gh.CheckResponse(mint.Response))
	case errors.As(err, &later):
		return &forge.Error{Op: op, Code: forge.Unavailable, Status: http.StatusAccepted, Message: "the forge is still preparing the answer"}
	}
	return unanswered(op, err)
}

// explain joins GitHub's message with its list of details.
func explain(e *gh.ErrorResponse) string {
	parts := []string{e.Message}
	for _, d := range e.Errors {
		switch {
		case d.Message != "":
			parts = append(parts, d.Message)
		case d.Field != "":
			parts = append(parts, d.Resource+" "+d.Field+" "+d.Code)
		}
	}
	return strings.Trim(strings.Join(parts, "; "), "; ")
}

// answered maps a status. Rate limits have become errors before (Budget).
func answered(op string, resp *http.Response, msg string) error {
	return &forge.Error{Op: op, Code: codeOf(resp.StatusCode), Status: resp.StatusCode,
		Message: msg, Unsent: resp.StatusCode < 500}
}

func codeOf(status int) forge.Code {
	switch status {
	case http.StatusUnauthorized:
		return forge.Unauthorized
	case http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return forge.Forbidden
	case http.StatusNotFound, http.StatusGone:
		return forge.NotFound
	case http.StatusMethodNotAllowed, http.StatusConflict:
		return forge.Conflict
	case http.StatusRequestTimeout,
		http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		// A write to a renamed repository is answered by a redirect, which is not
		// followed, and so had no effect. What it wrote to is not gone: that would
		// have the caller make it a second time.
		return forge.Unavailable
	}
	if status >= 500 {
		return forge.Unavailable
	}
	return forge.Invalid
}

// said is GitHub's explanation in the body of a refusal.
func said(body []byte) string {
	var m struct{ Message string }
	if err := json.Unmarshal(body, &m); err != nil {
		return ""
	}
	return m.Message
}

// Limited is the failure of a call that GitHub asks to repeat later.
func Limited(op string, resp *http.Response, msg string, until time.Time) error {
	e := &forge.Error{Op: op, Code: forge.RateLimited, Message: msg, RetryAfter: until, Unsent: true}
	if resp != nil {
		e.Status = resp.StatusCode
	}
	return e
}

// unanswered is for calls without a (complete) answer: whether they had an
// effect is unknown, unless no connection was made at all.
func unanswered(op string, err error) error {
	e := &forge.Error{Op: op, Code: forge.Unavailable, Err: err}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		e.Unsent = true
	}
	// url.Error quotes the whole address.
	var u *url.Error
	if errors.As(err, &u) {
		e.Err = u.Err
	}
	return e
}
