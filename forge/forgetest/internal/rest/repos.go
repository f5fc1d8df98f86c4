package rest

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
)

var repoRoutes = []route{
	api.On("GET /repos/{owner}/{repo}", "read", "metadata:read", getRepo),
	api.On("GET /repositories/{repository_id}", "read", "metadata:read", repoByID),
	api.On("GET /repos/{owner}/{repo}/branches", "read", "contents:read", listBranches),
	api.On("GET /repos/{owner}/{repo}/branches/{branch}", "read", "contents:read", getBranch),
	api.On("GET /repos/{owner}/{repo}/branches/{branch}/protection", "admin", "administration:read", getProtection),
	api.On("GET /repos/{owner}/{repo}/rules/branches/{branch}", "read", "metadata:read", branchRules),
	api.On("GET /repos/{owner}/{repo}/commits", "read", "contents:read", listCommits),
	api.On("GET /repos/{owner}/{repo}/commits/{ref}", "read", "contents:read", getCommit),
	api.On("GET /repos/{owner}/{repo}/commits/{commit_sha}/pulls", "read", "pull_requests:read|contents:read", commitPulls),
	api.On("GET /repos/{owner}/{repo}/compare/{basehead}", "read", "contents:read", compare),
	api.On("GET /repos/{owner}/{repo}/contents/{path...}", "read", "contents:read", getContent),
	api.On("GET /repos/{owner}/{repo}/activity", "read", "contents:read", listActivity),
	api.On("POST /repos/{owner}/{repo}/forks", "read", "", forkRepo),
}

func getRepo(c *call) reply { return api.OK(c.Hub.RepoFull(c.Cred, c.Repo)) }

func repoByID(c *call) reply {
	id := api.PathID(c, "repository_id")
	for _, r := range c.Hub.Repos {
		if r.ID == id && c.Hub.Sees(c.Cred, r) {
			return api.OK(c.Hub.RepoFull(c.Cred, r))
		}
	}
	return api.NotFound()
}

func listBranches(c *call) reply {
	out := []any{}
	for _, name := range api.Paginate(c, c.Repo.Branches()) {
		sha := c.Repo.Branch(name)
		out = append(out, obj{
			"name": name, "commit": obj{"sha": sha, "url": c.Hub.APIRepo(c.Repo) + "/commits/" + sha}, "protected": c.Repo.Protected(name)})
	}
	return api.OK(out)
}

func getBranch(c *call) reply {
	name := c.Request.PathValue("branch")
	sha := c.Repo.Branch(name)
	if sha == "" {
		return api.Refuse(http.StatusNotFound, "Branch not found")
	}
	commit, err := c.Repo.Git.Commit(c.Ctx, sha)
	if err != nil {
		return api.NotFound()
	}
	addr := c.Hub.APIRepo(c.Repo) + "/branches/" + name
	p := c.Repo.Protection[name]
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
	return api.OK(obj{
		"name": name, "commit": c.Hub.CommitJSON(c.Repo, commit), "protected": c.Repo.Protected(name), "protection_url": addr + "/protection",
		"_links": obj{"html": c.Hub.URL + "/" + c.Repo.Full() + "/tree/" + name, "self": addr},
		"protection": obj{"enabled": c.Repo.Protected(name), "required_status_checks": obj{
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
	name := c.Request.PathValue("branch")
	if !c.Repo.Protected(name) {
		return api.Refuse(http.StatusNotFound, "Branch not protected")
	}
	p, addr := c.Repo.Protection[name], c.Hub.APIRepo(c.Repo)+"/branches/"+name+"/protection"
	o := obj{
		"url": addr, "enforce_admins": obj{"url": addr + "/enforce_admins", "enabled": p.EnforceAdmins},
		"required_linear_history": obj{"enabled": false}, "allow_force_pushes": obj{"enabled": false}, "allow_deletions": obj{"enabled": false},
		"required_signatures": obj{"url": addr + "/required_signatures", "enabled": p.Signatures},
	}
	if len(p.Checks) > 0 || p.Strict {
		o["required_status_checks"] = obj{
			"url": addr + "/required_status_checks", "strict": p.Strict, "contexts": append([]string{}, p.Checks...),
			"contexts_url": addr + "/required_status_checks/contexts", "checks": checkItems(p.Checks)}
	}
	if p.Reviews > 0 {
		o["required_pull_request_reviews"] = obj{
			"url": addr + "/required_pull_request_reviews", "dismiss_stale_reviews": p.DismissStale,
			"require_code_owner_reviews": false, "required_approving_review_count": p.Reviews, "require_last_push_approval": false}
	}
	return api.OK(o)
}

// branchRules are the rules of rulesets; classic protection is not among them.
func branchRules(c *call) reply {
	out := []any{}
	p := c.Repo.Protection[c.Request.PathValue("branch")]
	if !p.Ruleset {
		return api.OK(api.Paginate(c, out))
	}
	add := func(kind string, parameters obj) {
		o := obj{"type": kind, "ruleset_source_type": "Repository", "ruleset_source": c.Repo.Full(), "ruleset_id": 42}
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
	return api.OK(api.Paginate(c, out))
}

func listCommits(c *call) reply {
	sha, found := resolve(c, cmp.Or(c.Query("sha"), c.Repo.DefaultBranch))
	if !found {
		return api.NotFound()
	}
	list, err := c.Repo.Git.Log(c.Ctx, 0, sha)
	if err != nil {
		return api.Refuse(http.StatusInternalServerError, err.Error())
	}
	return api.OK(c.Hub.CommitsJSON(c.Repo, api.Paginate(c, list)))
}

func getCommit(c *call) reply {
	sha, found := resolve(c, c.Request.PathValue("ref"))
	if !found {
		return noCommit(c)
	}
	commit, err := c.Repo.Git.Commit(c.Ctx, sha)
	if err != nil {
		return noCommit(c)
	}
	o := c.Hub.CommitJSON(c.Repo, commit)
	parent := hub.EmptyTree
	if len(commit.Parents) > 0 {
		parent = commit.Parents[0]
	}
	files, _ := c.Repo.Git.Diff(c.Ctx, parent, sha, true)
	add, del := 0, 0
	for _, f := range files {
		add, del = add+f.Additions, del+f.Deletions
	}
	o["stats"] = obj{"additions": add, "deletions": del, "total": add + del}
	o["files"] = c.Hub.FilesJSON(c.Repo, sha, files)
	return api.OK(o)
}

func commitPulls(c *call) reply {
	name := c.Request.PathValue("commit_sha")
	sha, found := resolve(c, name)
	if !found {
		return api.Refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+name)
	}
	out := []any{}
	for _, p := range api.Paginate(c, c.Hub.PullsOf(c.Ctx, c.Repo, sha)) {
		out = append(out, c.Hub.PullSimple(p))
	}
	return api.OK(out)
}

// compare pages over the commits; files are told on the first page only, up
// to 300, as GitHub does.
func compare(c *call) reply {
	baseName, headName, two := strings.Cut(c.Request.PathValue("basehead"), "...")
	base, found1 := resolve(c, strip(c.Repo, baseName))
	head, found2 := resolve(c, strip(c.Repo, headName))
	if !two || !found1 || !found2 {
		return api.NotFound()
	}
	git := c.Repo.Git
	mergeBase := git.MergeBase(c.Ctx, base, head)
	if mergeBase == "" {
		return api.Refuse(http.StatusNotFound, "No common ancestor between "+baseName+" and "+headName+".")
	}
	list, err := git.Between(c.Ctx, base, head)
	if err != nil {
		return api.Refuse(http.StatusInternalServerError, err.Error())
	}
	behind, state := git.Behind(c.Ctx, head, base), "identical"
	switch {
	case len(list) > 0 && behind > 0:
		state = "diverged"
	case len(list) > 0:
		state = "ahead"
	case behind > 0:
		state = "behind"
	}
	addr, html := c.Hub.APIRepo(c.Repo)+"/compare/"+baseName+"..."+headName, c.Hub.URL+"/"+c.Repo.Full()+"/compare/"+baseName+"..."+headName
	o := obj{
		"url": addr, "html_url": html, "permalink_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
		"base_commit": commitOrNil(c, base), "merge_base_commit": commitOrNil(c, mergeBase), "status": state,
		"ahead_by": len(list), "behind_by": behind, "total_commits": len(list),
		"commits": c.Hub.CommitsJSON(c.Repo, comparePage(c, list)),
	}
	if c.FirstPage() {
		files, _ := git.Diff(c.Ctx, mergeBase, head, true)
		o["files"] = c.Hub.FilesJSON(c.Repo, head, files[:min(len(files), 300)])
	}
	return api.OK(o)
}

// comparePage: without paging parameters the first 250 commits come at once.
func comparePage(c *call, list []bare.Commit) []bare.Commit {
	if c.Query("page") == "" && c.Query("per_page") == "" {
		return list[:min(len(list), commitCap)]
	}
	return api.Paginate(c, list)
}

func commitOrNil(c *call, sha string) any {
	commit, err := c.Repo.Git.Commit(c.Ctx, sha)
	if err != nil {
		return nil
	}
	return c.Hub.CommitJSON(c.Repo, commit)
}

// strip takes "owner:branch" down to the branch where owner is the repository's.
func strip(r *hub.Repo, name string) string {
	if rest, found := strings.CutPrefix(name, r.Owner.Login+":"); found {
		return rest
	}
	return name
}

func getContent(c *call) reply {
	ref, path := cmp.Or(c.Query("ref"), c.Repo.DefaultBranch), c.Request.PathValue("path")
	sha, found := resolve(c, ref)
	if !found {
		return api.Refuse(http.StatusNotFound, "No commit found for the ref "+ref)
	}
	out, err := c.Repo.Git.Git(c.Ctx, nil, "", "ls-tree", sha, "--", path)
	meta, _, _ := strings.Cut(out, "\t")
	f := strings.Fields(meta)
	if err != nil || len(f) != 3 || f[1] != "blob" {
		return api.NotFound()
	}
	content, err := c.Repo.Git.Git(c.Ctx, nil, "", "cat-file", "blob", f[2])
	if err != nil {
		return api.NotFound()
	}
	addr := c.Hub.APIRepo(c.Repo) + "/contents/" + path + "?ref=" + ref
	blob := c.Hub.APIRepo(c.Repo) + "/git/blobs/" + f[2]
	html := c.Hub.URL + "/" + c.Repo.Full() + "/blob/" + ref + "/" + path
	name := path[strings.LastIndex(path, "/")+1:]
	return api.OK(obj{
		"type": "file", "encoding": "base64", "size": len(content), "name": name, "path": path, "sha": f[2], "url": addr, "git_url": blob,
		"html_url": html, "download_url": html, "_links": obj{"git": blob, "html": html, "self": addr},
		"content": base64.StdEncoding.EncodeToString([]byte(content)),
	})
}

// listActivity is newest first, as GitHub's default.
func listActivity(c *call) reply {
	ref := c.Query("ref")
	if ref != "" && !strings.HasPrefix(ref, "refs/") {
		ref = "refs/heads/" + ref
	}
	var list []hub.Activity
	for _, a := range slices.Backward(c.Repo.Activity) {
		kind, actor := c.Query("activity_type"), c.Query("actor")
		if (ref != "" && a.Ref != ref) || (kind != "" && kind != a.Kind) || (actor != "" && (a.Actor == nil || a.Actor.Login != actor)) {
			continue
		}
		list = append(list, a)
	}
	if c.Query("direction") == "asc" {
		slices.Reverse(list)
	}
	return c.Cursored(list)
}

func forkRepo(c *call) reply {
	to := c.Actor()
	if to == nil {
		return api.Refuse(http.StatusUnauthorized, "Requires authentication")
	}
	if f := c.Hub.Repo(to.Login, c.Repo.Name); f != nil {
		return reply{Status: http.StatusAccepted, Body: c.Hub.RepoFull(c.Cred, f)}
	}
	f, err := c.Hub.Fork(c.Ctx, c.Repo, to)
	if err != nil {
		return api.Refuse(http.StatusInternalServerError, err.Error())
	}
	return reply{Status: http.StatusAccepted, Body: c.Hub.RepoFull(c.Cred, f)}
}
