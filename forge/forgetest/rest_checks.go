package forgetest

import (
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
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

func latestChecks(r *repo, sha string) []*check {
	last := map[string]*check{}
	for _, k := range r.checks {
		if k.sha == sha {
			last[k.name+"\x00"+k.app.Slug] = k
		}
	}
	var list []*check
	for _, k := range r.checks {
		if last[k.name+"\x00"+k.app.Slug] == k {
			list = append(list, k)
		}
	}
	return list
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
	if sha, err := c.repo.git.Resolve(c.ctx, in.HeadSHA); err != nil || sha != in.HeadSHA {
		return invalid("CheckRun", "head_sha", "custom", "No commit found for SHA: "+in.HeadSHA)
	}
	k := &check{id: c.s.nextID(), suite: c.s.nextID(), name: in.Name, sha: in.HeadSHA, status: "queued", app: c.cred.app, started: c.s.tick()}
	for _, other := range c.repo.checks {
		if other.sha == k.sha && other.app == k.app {
			k.suite = other.suite
		}
	}
	c.repo.checks = append(c.repo.checks, k)
	c.writeCheck(k, in)
	c.s.emitCheck(c.ctx, c.repo, k, "created", c.actor())
	return created(c.s.checkJSON(c.repo, k))
}

func (c *call) writeCheck(k *check, in checkInput) {
	k.name = cmpOr(in.Name, k.name)
	k.externalID = cmpOr(in.ExternalID, k.externalID)
	k.details = cmpOr(in.DetailsURL, k.details)
	k.status = cmpOr(in.Status, k.status)
	if !in.StartedAt.IsZero() {
		k.started = in.StartedAt.UTC()
	}
	if k.status != "completed" {
		k.conclusion, k.ended = "", time.Time{}
	}
	if in.Conclusion != "" {
		k.status, k.conclusion, k.ended = "completed", in.Conclusion, c.s.last
		if !in.EndedAt.IsZero() {
			k.ended = in.EndedAt.UTC()
		}
	}
	if o := in.Output; o != nil {
		k.title, k.summary, k.text = o.Title, o.Summary, o.Text
		k.annotationsCount += len(o.Annotations)
	}
}

func (c *call) check() *check {
	id := pathID(c, "check_run_id")
	for _, k := range c.repo.checks {
		if k.id == id {
			return k
		}
	}
	return nil
}

func getCheck(c *call) reply {
	if k := c.check(); k != nil {
		return ok(c.s.checkJSON(c.repo, k))
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
	if k.app != c.cred.app {
		return refuse(http.StatusForbidden, "Invalid app_id `"+c.cred.app.Slug+"` - check run can only be modified by the GitHub App that created it.")
	}
	was := k.status
	c.s.tick()
	c.writeCheck(k, in)
	if k.status == "completed" && was != "completed" {
		c.s.emitCheck(c.ctx, c.repo, k, "completed", c.actor())
	}
	return ok(c.s.checkJSON(c.repo, k))
}

// ref resolves the path's {ref}: a branch, a tag or a SHA.
func (c *call) ref(name string) (string, bool) {
	for _, full := range []string{"refs/heads/" + name, "refs/tags/" + name, "refs/" + name} {
		if sha := c.repo.refs[full]; sha != "" {
			return sha, true
		}
	}
	sha, err := c.repo.git.Resolve(c.ctx, name)
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
	list := latestChecks(c.repo, sha)
	if c.query("filter") == "all" {
		list = slices.DeleteFunc(slices.Clone(c.repo.checks), func(k *check) bool { return k.sha != sha })
	}
	list = slices.DeleteFunc(list, func(k *check) bool { return c.query("check_name") != "" && c.query("check_name") != k.name })
	runs := []any{}
	for _, k := range paginate(c, list) {
		runs = append(runs, c.s.checkJSON(c.repo, k))
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
	if _, err := c.repo.git.Resolve(c.ctx, sha); err != nil {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+sha)
	}
	switch {
	case !slices.Contains([]string{"error", "failure", "pending", "success"}, in.State):
		return invalid("Status", "state", "invalid", "")
	case utf8.RuneCountInString(in.Description) > 140:
		return invalid("Status", "description", "custom", "description is too long (maximum is 140 characters)")
	}
	t := &status{
		id: c.s.nextID(), sha: sha, state: in.State, context: cmpOr(in.Context, "default"), description: in.Description,
		target: in.TargetURL, creator: c.actor(), created: c.s.tick(),
	}
	c.repo.statuses = append(c.repo.statuses, t)
	c.s.emitStatus(c.ctx, c.repo, t, c.actor())
	return created(c.s.statusJSON(c.repo, t))
}

func (r *repo) statusesOf(sha string) []*status {
	var list []*status
	for _, t := range slices.Backward(r.statuses) {
		if t.sha == sha {
			list = append(list, t)
		}
	}
	return list
}

func listStatuses(c *call) reply {
	sha, found := c.ref(c.r.PathValue("ref"))
	if !found {
		return c.noCommit()
	}
	out := []any{}
	for _, t := range paginate(c, c.repo.statusesOf(sha)) {
		out = append(out, c.s.statusJSON(c.repo, t))
	}
	return ok(out)
}

func combinedStatus(c *call) reply {
	sha, found := c.ref(c.r.PathValue("ref"))
	if !found {
		return c.noCommit()
	}
	var latest []*status
	for _, t := range c.repo.statusesOf(sha) {
		if !slices.ContainsFunc(latest, func(o *status) bool { return o.context == t.context }) {
			latest = append(latest, t)
		}
	}
	state := "success"
	if len(latest) == 0 {
		state = "pending"
	}
	for _, t := range latest {
		switch {
		case t.state == "failure" || t.state == "error":
			state = "failure"
		case t.state == "pending" && state != "failure":
			state = "pending"
		}
	}
	list := []any{}
	for _, t := range paginate(c, latest) {
		o := c.s.statusJSON(c.repo, t)
		delete(o, "creator")
		list = append(list, o)
	}
	return ok(obj{
		"state": state, "statuses": list, "sha": sha, "total_count": len(latest), "repository": c.s.repoJSON(c.repo),
		"commit_url": c.s.apiRepo(c.repo) + "/commits/" + sha, "url": c.s.apiRepo(c.repo) + "/commits/" + sha + "/status",
	})
}
