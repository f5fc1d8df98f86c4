package gitlab

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
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

// Names of the headers that GitLab sends with a delivery.
//
// Source: https://docs.gitlab.com/user/project/integrations/webhooks/#delivery-headers
const (
	TokenHeader   = "X-Gitlab-Token"
	eventHeader   = "X-Gitlab-Event"
	attemptHeader = "Idempotency-Key"     // the same for every attempt
	uuidHeader    = "X-Gitlab-Event-UUID" // of releases before 17.4
)

// The headers of a signed delivery, as GitLab sends them from release 19 on to
// webhooks that have a signing token.
//
// Source: https://gitlab.com/gitlab-org/gitlab/-/merge_requests/230944 and
// https://www.standardwebhooks.com
const (
	idHeader        = "Webhook-Id"
	timeHeader      = "Webhook-Timestamp"
	signatureHeader = "Webhook-Signature"
	signingPrefix   = "whsec_"
)

// Verify compares the token of a delivery with each secret in turn (several
// while one is being replaced), or its signature where the secret is one of
// GitLab's signing tokens. A token proves who sent the delivery, and nothing about
// the body, whatever was done to it on the way: what an event says is never more
// than a reason to look again.
func Verify(h http.Header, body []byte, secrets [][]byte) error {
	if len(secrets) == 0 {
		return errors.New("webhook: no secret is configured, so no delivery can be trusted; set one")
	}
	token, signed := h.Values(TokenHeader), h.Get(signatureHeader) != ""
	if !signed && (len(token) != 1 || token[0] == "") {
		return errors.New("webhook: the delivery carries no token and no signature; set the secret token in the webhook's settings")
	}
	match := 0
	for _, s := range secrets {
		if len(s) == 0 {
			return errors.New("webhook: a configured secret is empty; remove it or fill it in")
		}
		// No early end: the time must not tell which secret fits.
		match |= signature(h, body, s)
		if len(token) == 1 {
			// Of equal length, so that the time does not tell the secret's.
			given, want := sha256.Sum256([]byte(token[0])), sha256.Sum256(s)
			match |= subtle.ConstantTimeCompare(given[:], want[:])
		}
	}
	if match != 1 {
		return errors.New("webhook: neither the token nor the signature is of our secret")
	}
	return nil
}

// signature is 1 where the secret is a signing token and signed the delivery.
func signature(h http.Header, body, secret []byte) int {
	coded, is := bytes.CutPrefix(secret, []byte(signingPrefix))
	key, err := base64.StdEncoding.DecodeString(string(coded))
	if !is || err != nil || len(key) < sha256.Size {
		return 0
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", h.Get(idHeader), h.Get(timeHeader))
	mac.Write(body)
	want, match := mac.Sum(nil), 0
	for _, given := range strings.Fields(h.Get(signatureHeader)) {
		sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(given, "v1,"))
		if err == nil && strings.HasPrefix(given, "v1,") {
			match |= subtle.ConstantTimeCompare(sum, want)
		}
	}
	return match
}

// payload is what the events that mean something to lockkeeper have in common:
// hooks of projects and groups name what happened by object_kind, system hooks by
// event_name as well.
type payload struct {
	Kind string `json:"object_kind"`
	Name string `json:"event_name"`

	ProjectID int64  `json:"project_id"`
	Path      string `json:"path_with_namespace"` // system hooks about projects
	Project   struct {
		ID   int64  `json:"id"`
		Path string `json:"path_with_namespace"`
	} `json:"project"`

	UserID int64 `json:"user_id"`
	User   struct {
		ID int64 `json:"id"`
	} `json:"user"`

	Attributes   attributes `json:"object_attributes"`
	MergeRequest *struct {
		Number int `json:"iid"`
	} `json:"merge_request"`

	Ref    string `json:"ref"`
	SHA    string `json:"sha"`
	Status string `json:"build_status"`
}

type attributes struct {
	Number int    `json:"iid"`
	On     string `json:"noteable_type"`
	Action string `json:"action"`
	// EditedBy edited a note. The event's user is the note's author all the same.
	EditedBy int64  `json:"updated_by_id"`
	SHA      string `json:"sha"`
	Status   string `json:"status"`
}

// ParseEvent reads a verified delivery, of a project's, a group's or the system's
// hook. An event that lockkeeper does not act on gives an Event without Pull and
// no error: GitLab stops sending to whoever answers with errors, and people tick
// more boxes than they need.
func ParseEvent(h http.Header, body []byte) (forge.Event, error) {
	ev := forge.Event{Delivery: h.Get(attemptHeader), Type: h.Get(eventHeader)}
	if ev.Type == "" {
		return forge.Event{}, fmt.Errorf("webhook: the header %s is missing; this is not a delivery from GitLab", eventHeader)
	}
	if t, _, err := mime.ParseMediaType(h.Get("Content-Type")); err == nil && t == "application/x-www-form-urlencoded" {
		return forge.Event{}, errors.New("webhook: the payload is form-encoded, which GitLab does not send")
	}
	if ev.Delivery == "" {
		ev.Delivery = h.Get(uuidHeader)
	}
	if ev.Delivery == "" {
		sum := sha256.Sum256(body)
		ev.Delivery = hex.EncodeToString(sum[:])
	}
	var p *payload
	err := json.Unmarshal(body, &p)
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && kind.Field != "" && p != nil && !acted[p.word()] {
		err = nil // of no matter to us, and with other things under the same names
	}
	if err == nil && p == nil {
		err = errors.New("the payload is null")
	}
	if err == nil {
		err = p.fill(&ev)
	}
	if err != nil {
		return forge.Event{}, fmt.Errorf("webhook: delivery %q, event %q: %w", ev.Delivery, ev.Type, err)
	}
	return ev, nil
}

// word is what happened.
func (p *payload) word() string {
	if p.Kind != "" {
		return p.Kind
	}
	return p.Name
}

// acted are the events that mean something to lockkeeper.
var acted = map[string]bool{
	"merge_request": true, "note": true, "push": true, "pipeline": true, "build": true,
	"project_rename": true, "project_transfer": true, "project_update": true, "project_destroy": true, "project_create": true,
}

func (p *payload) fill(ev *forge.Event) error {
	if ev.Type == "System Hook" && p.word() != "" {
		ev.Type += ": " + p.word()
	}
	if !acted[p.word()] {
		return nil
	}
	ev.Repo = p.repo()
	ev.Sender = max(p.User.ID, p.UserID, 0)
	switch {
	case p.word() == "note" && p.Attributes.Action == "update":
		ev.Sender = max(p.Attributes.EditedBy, 0)
	case p.word() == "pipeline":
		// Who it names began the pipeline, which a status of ours may have done;
		// whose result ended it is not told.
		ev.Sender = 0
	}
	switch p.word() {
	case "merge_request":
		if p.Attributes.Number <= 0 {
			return errors.New("it names no merge request")
		}
		ev.Pull = p.Attributes.Number
	case "note":
		if p.Attributes.On != "MergeRequest" {
			return nil
		}
		if p.MergeRequest == nil || p.MergeRequest.Number <= 0 {
			return errors.New("it names no merge request")
		}
		ev.Pull = p.MergeRequest.Number
	case "push":
		if branch, ok := strings.CutPrefix(p.Ref, "refs/heads/"); ok {
			ev.Branch = branch
		}
	case "pipeline":
		if finished(p.Attributes.Status) {
			ev.Commit = fullSHA(p.Attributes.SHA)
		}
	case "build":
		if finished(p.Status) {
			ev.Commit = fullSHA(p.SHA)
		}
	default:
		ev.Installation = true
	}
	return nil
}

// repo is the project: in system hooks about projects its fields stand at the
// top.
func (p *payload) repo() forge.RepoRef {
	ref := forge.RepoRef{ID: p.Project.ID}
	path := p.Project.Path
	if ref.ID == 0 {
		ref.ID = p.ProjectID
	}
	if path == "" {
		path = p.Path
	}
	ref.ID = max(ref.ID, 0)
	if pathRE.MatchString(path) {
		ref.Owner, ref.Name = split(path)
	}
	return ref
}

// finished tells a result that a policy may wait for from the steps to it.
func finished(status string) bool {
	switch status {
	case "success", "failed", "canceled", "skipped", "manual":
		return true
	}
	return false
}

// fullSHA is sha, or "" for anything else.
func fullSHA(sha string) string {
	if !wire.IsSHA(sha) {
		return ""
	}
	return sha
}
