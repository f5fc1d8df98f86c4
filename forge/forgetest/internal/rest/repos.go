package rest

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/hub"
)

var repoRoutes = []route{
	{"GET /repos/{owner}/{repo}", "read", "metadata:read", getRepo},
	{"GET /repositories/{repository_id}", "read", "metadata:read", repoByID},
	{"GET /repos/{owner}/{repo}/branches", "read", "contents:read", listBranches},
	{"GET /repos/{owner}/{repo}/branches/{branch}", "read", "contents:read", getBranch},
	{"GET /repos/{owner}/{repo}/branches/{branch}/protection", "admin", "administration:read", getProtection},
	{"GET /repos/{owner}/{repo}/rules/branches/{branch}", "read", "metadata:read", branchRules},
	{"GET /repos/{owner}/{repo}/commits", "read", "contents:read", listCommits},
	{"GET /repos/{owner}/{repo}/commits/{ref}", "read", "contents:read", getCommit},
	{"GET /repos/{owner}/{repo}/compare/{basehead}", "read", "contents:read", compare},
	{"GET /repos/{owner}/{repo}/contents/{path...}", "read", "contents:read", getContent},
	{"GET /repos/{owner}/{repo}/activity", "read", "contents:read", listActivity},
	{"POST /repos/{owner}/{repo}/forks", "read", "", forkRepo},
}

func getRepo(c *call) reply { return ok(c.s.RepoFull(c.cred, c.repo)) }

func repoByID(c *call) reply {
	id := pathID(c, "repository_id")
	for _, r := range c.s.Repos {
		if r.ID == id && c.s.Sees(c.cred, r) {
			return ok(c.s.RepoFull(c.cred, r))
		}
	}
	return notFound()
}

func listBranches(c *call) reply {
	out := []any{}
	for _, name := range paginate(c, c.repo.Branches()) {
		sha := c.repo.Branch(name)
		out = append(out, obj{
			"name": name, "commit": obj{"sha": sha, "url": c.s.APIRepo(c.repo) + "/commits/" + sha}, "protected": c.repo.Protected(name)})
	}
	return ok(out)
}

func getBranch(c *call) reply {
	name := c.r.PathValue("branch")
	sha := c.repo.Branch(name)
	if sha == "" {
		return refuse(http.StatusNotFound, "Branch not found")
	}
	commit, err := c.repo.Git.Commit(c.ctx, sha)
	if err != nil {
		return notFound()
	}
	api := c.s.APIRepo(c.repo) + "/branches/" + name
	p := c.repo.Protection[name]
	level := "off"
	if len(p.Checks) > 0 && !p.Ruleset {
		level = "non_admins"
		if p.EnforceAdmins {
			level = "everyone"
		}
	}
	checks := p.Checks
	if checks == nil || p.Ruleset {
		checks = []string{}
	}
	return ok(obj{
		"name": name, "commit": c.s.CommitJSON(c.repo, commit), "protected": c.repo.Protected(name), "protection_url": api + "/protection",
		"_links": obj{"html": c.s.URL + "/" + c.repo.Full() + "/tree/" + name, "self": api},
		"protection": obj{"enabled": c.repo.Protected(name), "required_status_checks": obj{
			"enforcement_level": level, "contexts": checks, "checks": checkItems(checks)}},
	})
}

func checkItems(contexts []string) []any {
	items := []any{}
	for _, name := range contexts {
		items = append(items, obj{"context": name, "app_id": nil})
	}
	return items
}

func getProtection(c *call) reply {
	name := c.r.PathValue("branch")
	if !c.repo.Protected(name) {
		return refuse(http.StatusNotFound, "Branch not protected")
	}
	p, api := c.repo.Protection[name], c.s.APIRepo(c.repo)+"/branches/"+name+"/protection"
	o := obj{
		"url": api, "enforce_admins": obj{"url": api + "/enforce_admins", "enabled": p.EnforceAdmins},
		"required_linear_history": obj{"enabled": false}, "allow_force_pushes": obj{"enabled": false}, "allow_deletions": obj{"enabled": false},
		"required_signatures": obj{"url": api + "/required_signatures", "enabled": p.Signatures},
	}
	if len(p.Checks) > 0 || p.Strict {
		o["required_status_checks"] = obj{
			"url": api + "/required_status_checks", "strict": p.Strict, "contexts": append([]string{}, p.Checks...),
			"contexts_url": api + "/required_status_checks/contexts", "checks": checkItems(p.Checks)}
	}
	if p.Reviews > 0 {
		o["required_pull_request_reviews"] = obj{
			"url": api + "/required_pull_request_reviews", "dismiss_stale_reviews": p.DismissStale,
			"require_code_owner_reviews": false, "required_approving_review_count": p.Reviews, "require_last_push_approval": false}
	}
	return ok(o)
}

// branchRules are the rules of rulesets; classic protection is not among them.
func branchRules(c *call) reply {
	out := []any{}
	p := c.repo.Protection[c.r.PathValue("branch")]
	if !p.Ruleset {
		return ok(paginate(c, out))
	}
	add := func(kind string, parameters obj) {
		o := obj{"type": kind, "ruleset_source_type": "Repository", "ruleset_source": c.repo.Full(), "ruleset_id": 42}
		if parameters != nil {
			o["parameters"] = parameters
		}
		out = append(out, o)
	}
	if p.Reviews > 0 {
		add("pull_request", obj{
			"dismiss_stale_reviews_on_push": p.DismissStale, "require_code_owner_review": false, "require_last_push_approval": false,
			"required_approving_review_count": p.Reviews, "required_review_thread_resolution": false})
	}
	if len(p.Checks) > 0 {
		items := []any{}
		for _, name := range p.Checks {
			items = append(items, obj{"context": name})
		}
		add("required_status_checks", obj{"required_status_checks": items, "strict_required_status_checks_policy": p.Strict})
	}
	if p.Signatures {
		add("required_signatures", nil)
	}
	if p.MergeQueue {
		add("merge_queue", obj{
			"check_response_timeout_minutes": 60, "grouping_strategy": "ALLGREEN", "max_entries_to_build": 5, "max_entries_to_merge": 5,
			"merge_method": "MERGE", "min_entries_to_merge": 1, "min_entries_to_merge_wait_minutes": 5})
	}
	return ok(paginate(c, out))
}

func listCommits(c *call) reply {
	sha, found := c.ref(cmp.Or(c.query("sha"), c.repo.DefaultBranch))
	if !found {
		return notFound()
	}
	list, err := c.repo.Git.Log(c.ctx, 0, sha)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return ok(c.s.CommitsJSON(c.repo, paginate(c, list)))
}

func getCommit(c *call) reply {
	sha, found := c.ref(c.r.PathValue("ref"))
	if !found {
		return c.noCommit()
	}
	commit, err := c.repo.Git.Commit(c.ctx, sha)
	if err != nil {
		return c.noCommit()
	}
	o := c.s.CommitJSON(c.repo, commit)
	parent := hub.EmptyTree
	if len(commit.Parents) > 0 {
		parent = commit.Parents[0]
	}
	files, _ := c.repo.Git.Diff(c.ctx, parent, sha, true)
	add, del := 0, 0
	for _, f := range files {
		add, del = add+f.Additions, del+f.Deletions
	}
	o["stats"] = obj{"additions": add, "deletions": del, "total": add + del}
	o["files"] = c.s.FilesJSON(c.repo, sha, files)
	return ok(o)
}

// compare pages over the commits; files are told on the first page only, up
// to 300, as GitHub does.
func compare(c *call) reply {
	baseName, headName, two := strings.Cut(c.r.PathValue("basehead"), "...")
	base, found1 := c.ref(strip(c.repo, baseName))
	head, found2 := c.ref(strip(c.repo, headName))
	if !two || !found1 || !found2 {
		return notFound()
	}
	git := c.repo.Git
	mergeBase := git.MergeBase(c.ctx, base, head)
	if mergeBase == "" {
		return refuse(http.StatusNotFound, "No common ancestor between "+baseName+" and "+headName+".")
	}
	list, err := git.Between(c.ctx, base, head)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	behind, state := git.Behind(c.ctx, head, base), "identical"
	switch {
	case len(list) > 0 && behind > 0:
		state = "diverged"
	case len(list) > 0:
		state = "ahead"
	case behind > 0:
		state = "behind"
	}
	api, html := c.s.APIRepo(c.repo)+"/compare/"+baseName+"..."+headName, c.s.URL+"/"+c.repo.Full()+"/compare/"+baseName+"..."+headName
	o := obj{
		"url": api, "html_url": html, "permalink_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
		"base_commit": c.commitOrNil(base), "merge_base_commit": c.commitOrNil(mergeBase), "status": state,
		"ahead_by": len(list), "behind_by": behind, "total_commits": len(list),
		"commits": c.s.CommitsJSON(c.repo, c.comparePage(list)),
	}
	if c.page == nil || c.page.page == 1 {
		files, _ := git.Diff(c.ctx, mergeBase, head, true)
		o["files"] = c.s.FilesJSON(c.repo, head, files[:min(len(files), 300)])
	}
	return ok(o)
}

// comparePage: without paging parameters the first 250 commits come at once.
func (c *call) comparePage(list []bare.Commit) []bare.Commit {
	if c.query("page") == "" && c.query("per_page") == "" {
		return list[:min(len(list), commitCap)]
	}
	return paginate(c, list)
}

func (c *call) commitOrNil(sha string) any {
	commit, err := c.repo.Git.Commit(c.ctx, sha)
	if err != nil {
		return nil
	}
	return c.s.CommitJSON(c.repo, commit)
}

// strip takes "owner:branch" down to the branch where owner is the repository's.
func strip(r *hub.Repo, name string) string {
	if rest, found := strings.CutPrefix(name, r.Owner.Login+":"); found {
		return rest
	}
	return name
}

func getContent(c *call) reply {
	ref, path := cmp.Or(c.query("ref"), c.repo.DefaultBranch), c.r.PathValue("path")
	sha, found := c.ref(ref)
	if !found {
		return refuse(http.StatusNotFound, "No commit found for the ref "+ref)
	}
	out, err := c.repo.Git.Git(c.ctx, nil, "", "ls-tree", sha, "--", path)
	meta, _, _ := strings.Cut(out, "\t")
	f := strings.Fields(meta)
	if err != nil || len(f) != 3 || f[1] != "blob" {
		return notFound()
	}
	content, err := c.repo.Git.Git(c.ctx, nil, "", "cat-file", "blob", f[2])
	if err != nil {
		return notFound()
	}
	api := c.s.APIRepo(c.repo) + "/contents/" + path + "?ref=" + ref
	blob := c.s.APIRepo(c.repo) + "/git/blobs/" + f[2]
	html := c.s.URL + "/" + c.repo.Full() + "/blob/" + ref + "/" + path
	name := path[strings.LastIndex(path, "/")+1:]
	return ok(obj{
		"type": "file", "encoding": "base64", "size": len(content), "name": name, "path": path, "sha": f[2], "url": api, "git_url": blob,
		"html_url": html, "download_url": html, "_links": obj{"git": blob, "html": html, "self": api},
		"content": base64.StdEncoding.EncodeToString([]byte(content)),
	})
}

// listActivity is newest first, as GitHub's default.
func listActivity(c *call) reply {
	ref := c.query("ref")
	if ref != "" && !strings.HasPrefix(ref, "refs/") {
		ref = "refs/heads/" + ref
	}
	var list []hub.Activity
	for _, a := range slices.Backward(c.repo.Activity) {
		kind, actor := c.query("activity_type"), c.query("actor")
		if (ref != "" && a.Ref != ref) || (kind != "" && kind != a.Kind) || (actor != "" && (a.Actor == nil || a.Actor.Login != actor)) {
			continue
		}
		list = append(list, a)
	}
	if c.query("direction") == "asc" {
		slices.Reverse(list)
	}
	return c.cursored(list)
}

func forkRepo(c *call) reply {
	to := c.actor()
	if to == nil {
		return refuse(http.StatusUnauthorized, "Requires authentication")
	}
	if f := c.s.Repo(to.Login, c.repo.Name); f != nil {
		return reply{status: http.StatusAccepted, body: c.s.RepoFull(c.cred, f)}
	}
	f, err := c.s.Fork(c.ctx, c.repo, to)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return reply{status: http.StatusAccepted, body: c.s.RepoFull(c.cred, f)}
}
