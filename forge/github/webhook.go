package github

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

// Names of the headers that GitHub sends with a delivery.
const (
	SignatureHeader = "X-Hub-Signature-256"
	eventHeader     = "X-GitHub-Event"
	deliveryHeader  = "X-GitHub-Delivery"
)

// Verify checks the SignatureHeader of a delivery against the body as received and
// each secret in turn (several while one is being replaced). Only SHA-256
// counts. Unlike go-github's check it never passes for want of a secret
// (threat 13). The error does not tell how the signature differs.
func Verify(h http.Header, body []byte, secrets [][]byte) error {
	signature := h.Get(SignatureHeader)
	if len(secrets) == 0 {
		return errors.New("webhook: no secret is configured, so no delivery can be trusted; set one")
	}
	if signature == "" {
		return errors.New("webhook: the delivery is not signed; set the secret in the webhook's settings")
	}
	digest, ok := strings.CutPrefix(signature, "sha256=")
	want, err := hex.DecodeString(digest)
	if !ok || err != nil || len(want) != sha256.Size {
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

type repository struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Owner struct {
		Login string `json:"login"`
		Name  string `json:"name"` // push events have both, very old ones this only
	} `json:"owner"`
}

type numbered struct {
	Number int `json:"number"`
}

type checked struct {
	HeadSHA      string     `json:"head_sha"`
	Status       string     `json:"status"`
	PullRequests []numbered `json:"pull_requests"`
}

// ParseEvent reads a verified delivery. An event that lockkeeper does not act
// on gives an Event without Pull and no error: GitHub adds events, and people
// tick more boxes than they need.
func ParseEvent(h http.Header, body []byte) (forge.Event, error) {
	ev := forge.Event{Delivery: h.Get(deliveryHeader), Type: h.Get(eventHeader)}
	if ev.Type == "" || ev.Delivery == "" {
		return forge.Event{}, fmt.Errorf("webhook: the headers %s and %s are missing; this is not a delivery from GitHub", eventHeader, deliveryHeader)
	}
	if t, _, err := mime.ParseMediaType(h.Get("Content-Type")); err == nil && t == "application/x-www-form-urlencoded" {
		return forge.Event{}, errors.New("webhook: the payload is form-encoded; set the webhook's content type to application/json")
	}
	var head *struct {
		Repository *repository `json:"repository"`
		Sender     struct {
			ID int64 `json:"id"`
		} `json:"sender"`
	}
	err := json.Unmarshal(body, &head)
	if err == nil && head == nil {
		err = errors.New("the payload is null")
	}
	if err != nil {
		return forge.Event{}, fmt.Errorf("webhook: delivery %q, event %q: %w", ev.Delivery, ev.Type, err)
	}
	if r := head.Repository; r != nil {
		ev.Repo = forge.RepoRef{ID: r.ID, Owner: r.Owner.Login, Name: r.Name}
		if ev.Repo.Owner == "" {
			ev.Repo.Owner = r.Owner.Name
		}
	}
	ev.Sender = head.Sender.ID
	fill := fillers[ev.Type]
	if fill == nil {
		return ev, nil
	}
	if err := fill(&ev, body); err != nil {
		return forge.Event{}, fmt.Errorf("webhook: delivery %q, event %q: %w", ev.Delivery, ev.Type, err)
	}
	return ev, nil
}

// fillers is one entry per event that means something to lockkeeper. Review
// comments are left out on purpose: commands are taken from the conversation.
var fillers = map[string]func(*forge.Event, []byte) error{
	"pull_request":              fillPull,
	"pull_request_review":       fillPull,
	"issue_comment":             fillComment,
	"push":                      fillPush,
	"check_run":                 fillCheck,
	"check_suite":               fillCheck,
	"status":                    fillStatus,
	"merge_group":               fillMergeGroup,
	"repository":                fillRepository,
	"installation":              fillInstallation,
	"installation_repositories": fillInstallation,
}

func fillPull(ev *forge.Event, body []byte) error {
	var p struct {
		PullRequest numbered `json:"pull_request"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if p.PullRequest.Number <= 0 {
		return errors.New("it names no pull request")
	}
	ev.Pull = p.PullRequest.Number
	return nil
}

// fillComment takes comments on pulls: issues that are pulls carry a
// pull_request part.
func fillComment(ev *forge.Event, body []byte) error {
	var p struct {
		Issue struct {
			numbered
			PullRequest *struct{} `json:"pull_request"`
		} `json:"issue"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if p.Issue.Number <= 0 {
		return errors.New("it names no issue")
	}
	if p.Issue.PullRequest != nil {
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

// fillCheck takes the button "Re-run" and finished check runs, which a policy
// may wait for. Pulls from forks are not listed in these events.
func fillCheck(ev *forge.Event, body []byte) error {
	var p struct {
		Action     string  `json:"action"`
		CheckRun   checked `json:"check_run"`
		CheckSuite checked `json:"check_suite"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	// A finished suite tells nothing that its runs did not. A run may be created
	// as a finished one.
	finished := p.Action == "completed" || p.Action == "created" && p.CheckRun.Status == "completed"
	if p.Action != "rerequested" && (!finished || ev.Type != "check_run") {
		return nil
	}
	pulls := append(p.CheckRun.PullRequests, p.CheckSuite.PullRequests...)
	if len(pulls) == 1 && pulls[0].Number > 0 {
		ev.Pull = pulls[0].Number
		return nil
	}
	ev.Commit = cmp.Or(fullSHA(p.CheckRun.HeadSHA), fullSHA(p.CheckSuite.HeadSHA))
	return nil
}

// fillStatus takes commit statuses, which name no pull.
func fillStatus(ev *forge.Event, body []byte) error {
	var p struct {
		SHA string `json:"sha"`
	}
	err := json.Unmarshal(body, &p)
	ev.Commit = fullSHA(p.SHA)
	return err
}

// fullSHA is sha, or "" for anything else.
func fullSHA(sha string) string {
	if !wire.IsSHA(sha) {
		return ""
	}
	return sha
}

func fillMergeGroup(ev *forge.Event, body []byte) error {
	var p struct {
		Action     string `json:"action"`
		MergeGroup struct {
			HeadSHA string `json:"head_sha"`
			BaseRef string `json:"base_ref"`
		} `json:"merge_group"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if p.Action == "destroyed" {
		return nil // nobody waits for a check any more
	}
	ev.HeadSHA = p.MergeGroup.HeadSHA
	ev.Branch = strings.TrimPrefix(p.MergeGroup.BaseRef, "refs/heads/")
	return nil
}

// fillRepository takes what changes how a repository is found and what may be done
// there.
func fillRepository(ev *forge.Event, body []byte) error {
	var p struct {
		Action  string `json:"action"`
		Changes struct {
			DefaultBranch *struct{} `json:"default_branch"`
		} `json:"changes"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	switch p.Action {
	case "renamed", "transferred", "archived", "unarchived", "deleted":
		ev.Installation = true
	case "edited":
		ev.Installation = p.Changes.DefaultBranch != nil
	}
	return nil
}

func fillInstallation(ev *forge.Event, _ []byte) error {
	ev.Installation = true
	return nil
}
