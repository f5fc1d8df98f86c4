package sdk

import (
	"errors"
	"net/http"
	"strings"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// Fail turns any error of a call into a *forge.Error about op. Messages are
// GitHub's own words; addresses are left out because they may carry a query.
func Fail(op string, err error) error {
	var (
		done   *forge.Error
		answer *gh.ErrorResponse
		otp    *gh.TwoFactorAuthError
		mint   *ghinstallation.HTTPError
		later  *gh.AcceptedError
	)
	switch {
	case errors.As(err, &done):
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
	return wire.Fail(op, err)
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

// answered maps a status. Rate limits have become errors before (wire.Budget).
func answered(op string, resp *http.Response, msg string) error {
	return &forge.Error{Op: op, Code: wire.CodeOf(resp.StatusCode), Status: resp.StatusCode,
		Message: msg, Unsent: resp.StatusCode < 500}
}
