package rest

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
)

var checkRoutes = []route{
	api.On("POST /repos/{owner}/{repo}/check-runs", "write", "checks:write", createCheck),
	api.On("GET /repos/{owner}/{repo}/check-runs/{check_run_id}", "read", "checks:read", getCheck),
	api.On("PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}", "write", "checks:write", updateCheck),
	api.On("GET /repos/{owner}/{repo}/commits/{ref}/check-runs", "read", "checks:read", listChecks),
	api.On("POST /repos/{owner}/{repo}/statuses/{sha}", "write", "statuses:write", createStatus),
	api.On("GET /repos/{owner}/{repo}/commits/{ref}/statuses", "read", "statuses:read", listStatuses),
	api.On("GET /repos/{owner}/{repo}/commits/{ref}/status", "read", "statuses:read", combinedStatus),
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
func checkRefusal(c *call, in checkInput) reply {
	switch {
	case !c.ViaApp():
		return api.Refuse(http.StatusForbidden, "You must authenticate via a GitHub App.")
	case !slices.Contains([]string{"", "queued", "in_progress", "completed"}, in.Status):
		return api.Invalid("CheckRun", "status", "invalid", "")
	case !slices.Contains(conclusions, in.Conclusion):
		return api.Invalid("CheckRun", "conclusion", "invalid", "")
	case in.Status == "completed" && in.Conclusion == "":
		return api.Invalid("CheckRun", "conclusion", "missing_field", "")
	}
	if o := in.Output; o != nil {
		switch {
		case o.Title == "" || o.Summary == "":
			return api.Invalid("CheckRun", "output", "missing_field", "title and summary are required")
		case utf8.RuneCountInString(o.Summary) > maxSummary || utf8.RuneCountInString(o.Text) > maxSummary:
			return api.Invalid("CheckRun", "output", "custom", "summary or text exceeds a maximum of 65535 characters")
		case len(o.Annotations) > 50:
			return api.Invalid("CheckRun", "annotations", "custom", "exceeds a maximum of 50 annotations")
		}
	}
	return reply{}
}

func createCheck(c *call) reply {
	var in checkInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	if out := checkRefusal(c, in); out.Status != 0 {
		return out
	}
	if in.Name == "" {
		return api.Invalid("CheckRun", "name", "missing_field", "")
	}
	if sha, err := c.Repo.Git.Resolve(c.Ctx, in.HeadSHA); err != nil || sha != in.HeadSHA {
		return api.Invalid("CheckRun", "head_sha", "custom", "No commit found for SHA: "+in.HeadSHA)
	}
	k := &hub.Check{ID: c.Hub.NextID(), Suite: c.Hub.NextID(), Name: in.Name, SHA: in.HeadSHA, Status: "queued", App: c.Cred.App, Started: c.Hub.Tick()}
	for _, other := range c.Repo.Checks {
		if other.SHA == k.SHA && other.App == k.App {
			k.Suite = other.Suite
		}
	}
	c.Repo.Checks = append(c.Repo.Checks, k)
	writeCheck(c, k, in)
	c.Hub.EmitCheck(c.Ctx, c.Repo, k, "created", c.Actor())
	return api.Created(c.Hub.CheckJSON(c.Repo, k))
}

func writeCheck(c *call, k *hub.Check, in checkInput) {
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
		k.Status, k.Conclusion, k.Ended = "completed", in.Conclusion, c.Hub.Last
		if !in.EndedAt.IsZero() {
			k.Ended = in.EndedAt.UTC()
		}
	}
	if o := in.Output; o != nil {
		k.Title, k.Summary, k.Text = o.Title, o.Summary, o.Text
		k.AnnotationsCount += len(o.Annotations)
	}
}

func findCheck(c *call) *hub.Check {
	id := api.PathID(c, "check_run_id")
	for _, k := range c.Repo.Checks {
		if k.ID == id {
			return k
		}
	}
	return nil
}

func getCheck(c *call) reply {
	if k := findCheck(c); k != nil {
		return api.OK(c.Hub.CheckJSON(c.Repo, k))
	}
	return api.NotFound()
}

func updateCheck(c *call) reply {
	var in checkInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	if out := checkRefusal(c, in); out.Status != 0 {
		return out
	}
	k := findCheck(c)
	if k == nil {
		return api.NotFound()
	}
	if k.App != c.Cred.App {
		return api.Refuse(http.StatusForbidden, "Invalid app_id `"+c.Cred.App.Slug+"` - check run can only be modified by the GitHub App that created it.")
	}
	was := k.Status
	c.Hub.Tick()
	writeCheck(c, k, in)
	if k.Status == "completed" && was != "completed" {
		c.Hub.EmitCheck(c.Ctx, c.Repo, k, "completed", c.Actor())
	}
	return api.OK(c.Hub.CheckJSON(c.Repo, k))
}

// resolve resolves the path's {ref}: a branch, a tag or a SHA.
func resolve(c *call, name string) (string, bool) {
	for _, full := range []string{"refs/heads/" + name, "refs/tags/" + name, "refs/" + name} {
		if sha := c.Repo.Refs[full]; sha != "" {
			return sha, true
		}
	}
	sha, err := c.Repo.Git.Resolve(c.Ctx, name)
	return sha, err == nil
}

func noCommit(c *call) reply {
	return api.Refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.Request.PathValue("ref"))
}

func listChecks(c *call) reply {
	sha, found := resolve(c, c.Request.PathValue("ref"))
	if !found {
		return noCommit(c)
	}
	list := hub.LatestChecks(c.Repo, sha)
	if c.Query("filter") == "all" {
		list = slices.DeleteFunc(slices.Clone(c.Repo.Checks), func(k *hub.Check) bool { return k.SHA != sha })
	}
	name, app := c.Query("check_name"), c.Query("app_id")
	list = slices.DeleteFunc(list, func(k *hub.Check) bool {
		return name != "" && name != k.Name || app != "" && app != strconv.FormatInt(k.App.ID, 10)
	})
	runs := []any{}
	for _, k := range api.Paginate(c, list) {
		runs = append(runs, c.Hub.CheckJSON(c.Repo, k))
	}
	return api.OK(obj{"total_count": len(list), "check_runs": runs})
}

func createStatus(c *call) reply {
	var in struct {
		State, Context, Description string
		TargetURL                   string `json:"target_url"`
	}
	if out, good := c.Decode(&in); !good {
		return out
	}
	sha := c.Request.PathValue("sha")
	if _, err := c.Repo.Git.Resolve(c.Ctx, sha); err != nil {
		return api.Refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+sha)
	}
	switch {
	case !slices.Contains([]string{"error", "failure", "pending", "success"}, in.State):
		return api.Invalid("Status", "state", "invalid", "")
	case utf8.RuneCountInString(in.Description) > 140:
		return api.Invalid("Status", "description", "custom", "description is too long (maximum is 140 characters)")
	}
	t := &hub.Status{
		ID: c.Hub.NextID(), SHA: sha, State: in.State, Context: cmp.Or(in.Context, "default"), Description: in.Description,
		Target: in.TargetURL, Creator: c.Actor(), Created: c.Hub.Tick(),
	}
	c.Repo.Statuses = append(c.Repo.Statuses, t)
	c.Hub.EmitStatus(c.Ctx, c.Repo, t, c.Actor())
	return api.Created(c.Hub.StatusJSON(c.Repo, t))
}

func listStatuses(c *call) reply {
	sha, found := resolve(c, c.Request.PathValue("ref"))
	if !found {
		return noCommit(c)
	}
	out := []any{}
	for _, t := range api.Paginate(c, c.Repo.StatusesOf(sha)) {
		out = append(out, c.Hub.StatusJSON(c.Repo, t))
	}
	return api.OK(out)
}

func combinedStatus(c *call) reply {
	sha, found := resolve(c, c.Request.PathValue("ref"))
	if !found {
		return noCommit(c)
	}
	var latest []*hub.Status
	for _, t := range c.Repo.StatusesOf(sha) {
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
	for _, t := range api.Paginate(c, latest) {
		o := c.Hub.StatusJSON(c.Repo, t)
		delete(o, "creator")
		list = append(list, o)
	}
	return api.OK(obj{
		"state": state, "statuses": list, "sha": sha, "total_count": len(latest), "repository": c.Hub.RepoJSON(c.Repo),
		"commit_url": c.Hub.APIRepo(c.Repo) + "/commits/" + sha, "url": c.Hub.APIRepo(c.Repo) + "/commits/" + sha + "/status",
	})
}
