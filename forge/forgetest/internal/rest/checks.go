package rest

import (
	"cmp"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"lockkeeper/forge/forgetest/internal/hub"
)

var checkRoutes = []route{
	{"POST /repos/{owner}/{repo}/check-runs", "write", "checks:write", createCheck},
	{"GET /repos/{owner}/{repo}/check-runs/{check_run_id}", "read", "checks:read", getCheck},
	{"PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}", "write", "checks:write", updateCheck},
	{"GET /repos/{owner}/{repo}/commits/{ref}/check-runs", "read", "checks:read", listChecks},
	{"POST /repos/{owner}/{repo}/statuses/{sha}", "write", "statuses:write", createStatus},
	{"GET /repos/{owner}/{repo}/commits/{ref}/statuses", "read", "statuses:read", listStatuses},
	{"GET /repos/{owner}/{repo}/commits/{ref}/status", "read", "statuses:read", combinedStatus},
}

// maxSummary is GitHub's limit of a check run's summary and text.
const maxSummary = 65535

type checkInput struct {
	Name       string
	HeadSHA    string `json:"head_sha"`
	DetailsURL string `json:"details_url"`
	ExternalID string `json:"external_id"`
	Status     string
	Conclusion string
	StartedAt  time.Time `json:"started_at"`
	EndedAt    time.Time `json:"completed_at"`
	Output     *struct {
		Title, Summary, Text string
		Annotations          []any
	}
}

var conclusions = []string{"", "success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required", "stale"}

// checkRefusal holds the input to the documented rules.
func (c *call) checkRefusal(in checkInput) reply {
	switch {
	case !c.viaApp():
		return refuse(http.StatusForbidden, "You must authenticate via a GitHub App.")
	case !slices.Contains([]string{"", "queued", "in_progress", "completed"}, in.Status):
		return invalid("CheckRun", "status", "invalid", "")
	case !slices.Contains(conclusions, in.Conclusion):
		return invalid("CheckRun", "conclusion", "invalid", "")
	case in.Status == "completed" && in.Conclusion == "":
		return invalid("CheckRun", "conclusion", "missing_field", "")
	}
	if o := in.Output; o != nil {
		switch {
		case o.Title == "" || o.Summary == "":
			return invalid("CheckRun", "output", "missing_field", "title and summary are required")
		case utf8.RuneCountInString(o.Summary) > maxSummary || utf8.RuneCountInString(o.Text) > maxSummary:
			return invalid("CheckRun", "output", "custom", "summary or text exceeds a maximum of 65535 characters")
		case len(o.Annotations) > 50:
			return invalid("CheckRun", "annotations", "custom", "exceeds a maximum of 50 annotations")
		}
	}
	return reply{}
}

func createCheck(c *call) reply {
	var in checkInput
	if out, good := c.decode(&in); !good {
		return out
	}
	if out := c.checkRefusal(in); out.status != 0 {
		return out
	}
	if in.Name == "" {
		return invalid("CheckRun", "name", "missing_field", "")
	}
	if sha, err := c.repo.Git.Resolve(c.ctx, in.HeadSHA); err != nil || sha != in.HeadSHA {
		return invalid("CheckRun", "head_sha", "custom", "No commit found for SHA: "+in.HeadSHA)
	}
	k := &hub.Check{ID: c.s.NextID(), Suite: c.s.NextID(), Name: in.Name, SHA: in.HeadSHA, Status: "queued", App: c.cred.App, Started: c.s.Tick()}
	for _, other := range c.repo.Checks {
		if other.SHA == k.SHA && other.App == k.App {
			k.Suite = other.Suite
		}
	}
	c.repo.Checks = append(c.repo.Checks, k)
	c.writeCheck(k, in)
	c.s.EmitCheck(c.ctx, c.repo, k, "created", c.actor())
	return created(c.s.CheckJSON(c.repo, k))
}

func (c *call) writeCheck(k *hub.Check, in checkInput) {
	k.Name = cmp.Or(in.Name, k.Name)
	k.ExternalID = cmp.Or(in.ExternalID, k.ExternalID)
	k.Details = cmp.Or(in.DetailsURL, k.Details)
	k.Status = cmp.Or(in.Status, k.Status)
	if !in.StartedAt.IsZero() {
		k.Started = in.StartedAt.UTC()
	}
	if k.Status != "completed" {
		k.Conclusion, k.Ended = "", time.Time{}
	}
	if in.Conclusion != "" {
		k.Status, k.Conclusion, k.Ended = "completed", in.Conclusion, c.s.Last
		if !in.EndedAt.IsZero() {
			k.Ended = in.EndedAt.UTC()
		}
	}
	if o := in.Output; o != nil {
		k.Title, k.Summary, k.Text = o.Title, o.Summary, o.Text
		k.AnnotationsCount += len(o.Annotations)
	}
}

func (c *call) check() *hub.Check {
	id := pathID(c, "check_run_id")
	for _, k := range c.repo.Checks {
		if k.ID == id {
			return k
		}
	}
	return nil
}

func getCheck(c *call) reply {
	if k := c.check(); k != nil {
		return ok(c.s.CheckJSON(c.repo, k))
	}
	return notFound()
}

func updateCheck(c *call) reply {
	var in checkInput
	if out, good := c.decode(&in); !good {
		return out
	}
	if out := c.checkRefusal(in); out.status != 0 {
		return out
	}
	k := c.check()
	if k == nil {
		return notFound()
	}
	if k.App != c.cred.App {
		return refuse(http.StatusForbidden, "Invalid app_id `"+c.cred.App.Slug+"` - check run can only be modified by the GitHub App that created it.")
	}
	was := k.Status
	c.s.Tick()
	c.writeCheck(k, in)
	if k.Status == "completed" && was != "completed" {
		c.s.EmitCheck(c.ctx, c.repo, k, "completed", c.actor())
	}
	return ok(c.s.CheckJSON(c.repo, k))
}

// ref resolves the path's {ref}: a branch, a tag or a SHA.
func (c *call) ref(name string) (string, bool) {
	for _, full := range []string{"refs/heads/" + name, "refs/tags/" + name, "refs/" + name} {
		if sha := c.repo.Refs[full]; sha != "" {
			return sha, true
		}
	}
	sha, err := c.repo.Git.Resolve(c.ctx, name)
	return sha, err == nil
}

func (c *call) noCommit() reply {
	return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.r.PathValue("ref"))
}

func listChecks(c *call) reply {
	sha, found := c.ref(c.r.PathValue("ref"))
	if !found {
		return c.noCommit()
	}
	list := hub.LatestChecks(c.repo, sha)
	if c.query("filter") == "all" {
		list = slices.DeleteFunc(slices.Clone(c.repo.Checks), func(k *hub.Check) bool { return k.SHA != sha })
	}
	list = slices.DeleteFunc(list, func(k *hub.Check) bool { return c.query("check_name") != "" && c.query("check_name") != k.Name })
	runs := []any{}
	for _, k := range paginate(c, list) {
		runs = append(runs, c.s.CheckJSON(c.repo, k))
	}
	return ok(obj{"total_count": len(list), "check_runs": runs})
}

func createStatus(c *call) reply {
	var in struct {
		State, Context, Description string
		TargetURL                   string `json:"target_url"`
	}
	if out, good := c.decode(&in); !good {
		return out
	}
	sha := c.r.PathValue("sha")
	if _, err := c.repo.Git.Resolve(c.ctx, sha); err != nil {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+sha)
	}
	switch {
	case !slices.Contains([]string{"error", "failure", "pending", "success"}, in.State):
		return invalid("Status", "state", "invalid", "")
	case utf8.RuneCountInString(in.Description) > 140:
		return invalid("Status", "description", "custom", "description is too long (maximum is 140 characters)")
	}
	t := &hub.Status{
		ID: c.s.NextID(), SHA: sha, State: in.State, Context: cmp.Or(in.Context, "default"), Description: in.Description,
		Target: in.TargetURL, Creator: c.actor(), Created: c.s.Tick(),
	}
	c.repo.Statuses = append(c.repo.Statuses, t)
	c.s.EmitStatus(c.ctx, c.repo, t, c.actor())
	return created(c.s.StatusJSON(c.repo, t))
}

func listStatuses(c *call) reply {
	sha, found := c.ref(c.r.PathValue("ref"))
	if !found {
		return c.noCommit()
	}
	out := []any{}
	for _, t := range paginate(c, c.repo.StatusesOf(sha)) {
		out = append(out, c.s.StatusJSON(c.repo, t))
	}
	return ok(out)
}

func combinedStatus(c *call) reply {
	sha, found := c.ref(c.r.PathValue("ref"))
	if !found {
		return c.noCommit()
	}
	var latest []*hub.Status
	for _, t := range c.repo.StatusesOf(sha) {
		if !slices.ContainsFunc(latest, func(o *hub.Status) bool { return o.Context == t.Context }) {
			latest = append(latest, t)
		}
	}
	state := "success"
	if len(latest) == 0 {
		state = "pending"
	}
	for _, t := range latest {
		switch {
		case t.State == "failure" || t.State == "error":
			state = "failure"
		case t.State == "pending" && state != "failure":
			state = "pending"
		}
	}
	list := []any{}
	for _, t := range paginate(c, latest) {
		o := c.s.StatusJSON(c.repo, t)
		delete(o, "creator")
		list = append(list, o)
	}
	return ok(obj{
		"state": state, "statuses": list, "sha": sha, "total_count": len(latest), "repository": c.s.RepoJSON(c.repo),
		"commit_url": c.s.APIRepo(c.repo) + "/commits/" + sha, "url": c.s.APIRepo(c.repo) + "/commits/" + sha + "/status",
	})
}
