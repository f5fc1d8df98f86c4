package rest

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	gitbare "lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/gitlab/internal/lab"
	"lockkeeper/forge/forgetest/gitlab/internal/refuse"
)

func branches(c *call) (reply, error) {
	search := c.text("search")
	list := slices.DeleteFunc(c.project.Branches(), func(b string) bool { return search != "" && !strings.Contains(b, search) })
	return keyed(c, list, func(b string) string { return b }, func(b string) any { return c.BranchJSON(c.ctx, c.project, b, c.user) })
}

func branch(c *call) (reply, error) {
	if c.project.Branch(c.path["branch"]) == "" {
		return reply{}, refuse.NotFound("Branch")
	}
	return ok(c.BranchJSON(c.ctx, c.project, c.path["branch"], c.user))
}

func addBranch(c *call) (reply, error) {
	if err := c.needs("branch", "ref"); err != nil {
		return reply{}, err
	}
	if err := c.CreateBranch(c.ctx, c.project, c.user, c.text("branch"), c.text("ref")); err != nil {
		return reply{}, err
	}
	return created(c.BranchJSON(c.ctx, c.project, c.text("branch"), c.user))
}

func deleteBranch(c *call) (reply, error) {
	if err := c.DeleteBranch(c.ctx, c.project, c.user, c.path["branch"]); err != nil {
		return reply{}, err
	}
	return noContent()
}

// revision is a commit by hash, by short hash, by branch or by tag.
func (c *call) revision(text string) (string, error) {
	for _, rev := range []string{"refs/heads/" + text, "refs/tags/" + text, text} {
		if strings.HasPrefix(rev, "-") {
			break
		}
		if sha, err := c.project.Git.Resolve(c.ctx, rev); err == nil {
			return sha, nil
		}
	}
	return "", refuse.NotFound("Commit")
}

func commit(c *call) (reply, error) {
	sha, err := c.revision(c.path["sha"])
	if err != nil {
		return reply{}, err
	}
	found, err := c.project.Git.Commit(c.ctx, sha)
	if err != nil {
		return reply{}, err
	}
	return ok(c.CommitFull(c.project, found))
}

func commits(c *call) (reply, error) {
	ref := c.text("ref_name")
	if ref == "" {
		ref = c.project.DefaultBranch
	}
	spec := []string{ref}
	if from, to, isRange := strings.Cut(ref, ".."); isRange {
		spec = []string{strings.TrimPrefix(to, "."), "^" + from}
	}
	if strings.HasPrefix(ref, "-") {
		return reply{}, refuse.NotFound("Commit")
	}
	list, err := c.project.Git.Log(c.ctx, 0, spec...)
	if err != nil {
		return reply{}, refuse.NotFound("Commit")
	}
	return page(c, list, false, func(m gitbare.Commit) any { return c.CommitJSON(c.project, m) })
}

func refsOf(c *call) (reply, error) {
	sha, err := c.revision(c.path["sha"])
	if err != nil {
		return reply{}, err
	}
	return page(c, c.project.Containing(c.ctx, sha), true, func(b string) any { return obj{"type": "branch", "name": b} })
}

func mrsOf(c *call) (reply, error) {
	sha, err := c.revision(c.path["sha"])
	if err != nil {
		return reply{}, err
	}
	var list []*lab.MR
	for _, m := range c.project.SortedMRs() {
		if m.MergeSHA == sha || m.SquashSHA == sha || slices.ContainsFunc(m.Commits(c.ctx), func(b gitbare.Commit) bool { return b.SHA == sha }) {
			list = append(list, m)
		}
	}
	return page(c, list, true, func(m *lab.MR) any { return c.MRBasic(c.ctx, m, false) })
}

func compare(c *call) (reply, error) {
	if err := c.needs("from", "to"); err != nil {
		return reply{}, err
	}
	from, errFrom := c.revision(c.text("from"))
	to, errTo := c.revision(c.text("to"))
	if errFrom != nil || errTo != nil {
		return reply{}, refuse.NotFound("")
	}
	base := from
	if !c.is("straight") {
		if base = c.project.Git.MergeBase(c.ctx, from, to); base == "" {
			return reply{}, refuse.NotFound("")
		}
	}
	list, err := c.project.Git.Between(c.ctx, base, to)
	if err != nil {
		return reply{}, err
	}
	changed, err := c.project.Git.Diff(c.ctx, base, to, true)
	if err != nil {
		return reply{}, err
	}
	out := obj{"commit": nil, "commits": []any{}, "diffs": []any{}, "compare_timeout": false, "compare_same_ref": from == to, "web_url": c.URL + "/" + c.project.Full() + "/-/compare/" + from + "..." + to}
	for _, m := range list {
		out["commits"] = append(out["commits"].([]any), c.CommitJSON(c.project, m))
		out["commit"] = c.CommitJSON(c.project, m)
	}
	for _, f := range changed {
		out["diffs"] = append(out["diffs"].([]any), diffJSON(f))
	}
	return ok(out)
}

func diffJSON(f gitbare.FileChange) obj {
	old := f.OldPath
	if old == "" {
		old = f.Path
	}
	return obj{"old_path": old, "new_path": f.Path, "a_mode": "100644", "b_mode": "100644", "diff": f.Patch, "new_file": f.Status == "added", "renamed_file": f.Status == "renamed",
		"deleted_file": f.Status == "removed", "generated_file": false, "collapsed": false, "too_large": false}
}

func mergeBase(c *call) (reply, error) {
	refs := c.words("refs")
	if refs == nil || len(*refs) < 2 {
		return reply{}, problem(http.StatusBadRequest, "refs is missing")
	}
	var shas []string
	for _, ref := range *refs {
		sha, err := c.revision(ref)
		if err != nil {
			return reply{}, refuse.With(http.StatusBadRequest, "Could not find ref: "+ref)
		}
		shas = append(shas, sha)
	}
	base := c.project.Git.MergeBase(c.ctx, shas[0], shas[1])
	if base == "" {
		return reply{}, refuse.NotFound("Merge Base")
	}
	found, err := c.project.Git.Commit(c.ctx, base)
	if err != nil {
		return reply{}, err
	}
	return ok(c.CommitJSON(c.project, found))
}

// hash is what a result may be written for.
var hash = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

func statuses(c *call) (reply, error) {
	sha, err := c.revision(c.path["sha"])
	if err != nil {
		return reply{}, err
	}
	var list []*lab.Status
	for _, l := range c.project.PipelinesOf(sha) {
		of := l.Latest()
		if c.is("all") {
			of = l.Statuses
		}
		for _, t := range of {
			if (c.text("name") == "" || t.Name == c.text("name")) && (c.text("ref") == "" || l.Ref == c.text("ref")) {
				list = append(list, t)
			}
		}
	}
	return page(c, list, true, func(t *lab.Status) any { return c.StatusJSON(t) })
}

func setStatus(c *call) (reply, error) {
	if err := c.needs("state"); err != nil {
		return reply{}, err
	}
	if !hash.MatchString(c.path["sha"]) {
		return reply{}, refuse.NotFound("Commit")
	}
	name := c.text("name")
	if name == "" {
		name = c.text("context")
	}
	t, err := c.SetStatus(c.ctx, c.project, c.user, lab.NewStatus{SHA: c.path["sha"], Ref: c.text("ref"), State: c.text("state"), Name: name,
		Description: c.text("description"), TargetURL: c.text("target_url")})
	if err != nil {
		return reply{}, err
	}
	return created(c.StatusJSON(t))
}

func pipelines(c *call) (reply, error) {
	list := slices.Clone(c.project.Pipelines)
	slices.Reverse(list)
	list = slices.DeleteFunc(list, func(l *lab.Pipeline) bool {
		return c.text("sha") != "" && l.SHA != c.text("sha") || c.text("ref") != "" && l.Ref != c.text("ref")
	})
	return page(c, list, true, func(l *lab.Pipeline) any { return c.PipelineJSON(l) })
}

func pipeline(c *call) (reply, error) {
	for _, l := range c.project.Pipelines {
		if l.ID == c.number("pipeline") {
			return ok(c.PipelineFull(l))
		}
	}
	return reply{}, refuse.NotFound("")
}
