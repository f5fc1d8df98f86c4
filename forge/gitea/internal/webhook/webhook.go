// Package webhook checks and reads what Gitea and Forgejo deliver.
package webhook

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"lockkeeper/forge"
	"lockkeeper/forge/internal/wire"
)

// header is the value of a webhook's header: Forgejo sends its own names and
// Gitea's.
func header(h http.Header, name string) string {
	return cmp.Or(h.Get("X-Forgejo-"+name), h.Get("X-Gitea-"+name))
}

// Verify checks a delivery's signature against the body as received and each
// secret in turn (several while one is being replaced). It never passes for want
// of a secret (threat 13). The error does not tell how the signature differs.
func Verify(h http.Header, body []byte, secrets [][]byte) error {
	if len(secrets) == 0 {
		return errors.New("webhook: no secret is configured, so no delivery can be trusted; set one")
	}
	signature := header(h, "Signature")
	if signature == "" {
		return errors.New("webhook: the delivery is not signed; set the secret in the webhook's settings")
	}
	want, err := hex.DecodeString(signature)
	if err != nil || len(want) != sha256.Size {
		return errors.New("webhook: the signature is not an HMAC-SHA-256")
	}
	match := false
	for _, s := range secrets {
		if len(s) == 0 {
			return errors.New("webhook: a configured secret is empty; remove it or fill it in")
		}
		mac := hmac.New(sha256.New, s)
		mac.Write(body)
		// No early end: the time must not tell which secret fits.
		match = hmac.Equal(mac.Sum(nil), want) || match
	}
	if !match {
		return errors.New("webhook: the signature does not fit the body and our secret")
	}
	return nil
}

// payload is what deliveries have in common.
type payload struct {
	Repository *struct {
		ID    int64  `json:"id"`
		Name  string `json:"name"`
		Owner struct {
			Login string `json:"login"`
		} `json:"owner"`
	} `json:"repository"`
	Sender struct {
		ID int64 `json:"id"`
	} `json:"sender"`
}

// ParseEvent reads a verified delivery. An event that lockkeeper does not act on
// gives an Event without Pull and no error: more events are added over time, and
// people tick more boxes than they need.
func ParseEvent(h http.Header, body []byte) (forge.Event, error) {
	kind := header(h, "Event")
	ev := forge.Event{Delivery: header(h, "Delivery"), Type: cmp.Or(header(h, "Event-Type"), kind)}
	if kind == "" || ev.Delivery == "" {
		return forge.Event{}, errors.New("webhook: the headers X-Gitea-Event and X-Gitea-Delivery are missing; this is not a delivery from Gitea or Forgejo")
	}
	if t, _, err := mime.ParseMediaType(h.Get("Content-Type")); err == nil && t == "application/x-www-form-urlencoded" {
		return forge.Event{}, errors.New("webhook: the payload is form-encoded; set the webhook's content type to application/json")
	}
	var p *payload
	err := json.Unmarshal(body, &p)
	if err == nil && p == nil {
		err = errors.New("the payload is null")
	}
	if err == nil {
		ev.Sender = p.Sender.ID
		if r := p.Repository; r != nil {
			ev.Repo = forge.RepoRef{ID: r.ID, Owner: r.Owner.Login, Name: r.Name}
		}
		if fill := fillers[kind]; fill != nil {
			err = fill(&ev, body)
		}
	}
	if err != nil {
		return forge.Event{}, fmt.Errorf("webhook: delivery %q, event %q: %w", ev.Delivery, ev.Type, err)
	}
	return ev, nil
}

// fillers is one entry per event that means something to lockkeeper, by the value
// of X-Gitea-Event. Pushes to a pull's branch and requests for reviews come as
// pull_request; comments on a review's lines, which hold no commands, come as
// pull_request_comment, and tell that a review was given.
var fillers = map[string]func(*forge.Event, []byte) error{
	"pull_request":                 fillPull,
	"pull_request_approved":        fillPull,
	"pull_request_rejected":        fillPull,
	"pull_request_comment":         fillPull,
	"pull_request_review_approved": fillPull,
	"pull_request_review_rejected": fillPull,
	"pull_request_review_comment":  fillPull,
	"issue_comment":                fillComment,
	"push":                         fillPush,
	"status":                       fillStatus,
	"repository":                   fillRepository,
}

func fillPull(ev *forge.Event, body []byte) error {
	var p struct {
		Number      int `json:"number"`
		PullRequest struct {
			Number int `json:"number"`
		} `json:"pull_request"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if ev.Pull = cmp.Or(p.PullRequest.Number, p.Number); ev.Pull <= 0 {
		return errors.New("it names no pull request")
	}
	return nil
}

// fillComment takes comments on pulls.
func fillComment(ev *forge.Event, body []byte) error {
	var p struct {
		IsPull bool `json:"is_pull"`
		Issue  struct {
			Number      int       `json:"number"`
			PullRequest *struct{} `json:"pull_request"`
		} `json:"issue"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if p.Issue.Number <= 0 {
		return errors.New("it names no issue")
	}
	if p.IsPull || p.Issue.PullRequest != nil {
		ev.Pull = p.Issue.Number
	}
	return nil
}

func fillPush(ev *forge.Event, body []byte) error {
	var p struct {
		Ref string `json:"ref"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if branch, ok := strings.CutPrefix(p.Ref, "refs/heads/"); ok {
		ev.Branch = branch
	}
	return nil
}

// fillStatus takes commit statuses, which name no pull.
func fillStatus(ev *forge.Event, body []byte) error {
	var p struct {
		SHA string `json:"sha"`
	}
	err := json.Unmarshal(body, &p)
	if wire.IsSHA(p.SHA) {
		ev.Commit = p.SHA
	}
	return err
}

// fillRepository takes that a repository was made or is gone. That one was renamed
// is told by no event.
func fillRepository(ev *forge.Event, _ []byte) error {
	ev.Installation = true
	return nil
}
