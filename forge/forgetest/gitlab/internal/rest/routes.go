package rest

// Routes lists the operations that are answered, as "METHOD /path/{part}".
func Routes() []string {
	var list []string
	for _, r := range routes() {
		list = append(list, r.method+" "+r.path)
	}
	return list
}

// routes lists every operation that is answered.
func routes() []route {
	var all []route
	on := func(method, path string, handle func(*call) (reply, error)) {
		all = append(all, route{method: method, path: path, handle: handle})
	}
	const p, mr, issue, g = "/projects/{id}", "/projects/{id}/merge_requests/{mr}", "/projects/{id}/issues/{issue}", "/groups/{id}"
	on("GET", "/version", version)
	on("GET", "/metadata", version)
	on("GET", "/user", me)
	on("GET", "/users", users)
	on("GET", "/users/{user}", user)
	on("GET", "/personal_access_tokens/self", token)

	on("GET", "/projects", projects)
	on("GET", p, project)
	on("PUT", p, editProject)
	on("POST", p+"/fork", fork)
	on("GET", p+"/forks", forks)
	on("GET", p+"/members", members)
	on("GET", p+"/members/all", members)
	on("GET", p+"/members/{user}", member)
	on("GET", p+"/members/all/{user}", member)
	on("GET", p+"/events", events)
	on("GET", p+"/hooks", hooks)
	on("POST", p+"/hooks", addHook)
	on("DELETE", p+"/hooks/{hook}", deleteHook)
	on("GET", p+"/protected_branches", protections)
	on("GET", p+"/protected_branches/{branch}", protection)
	on("GET", p+"/approvals", projectApprovals)
	on("GET", p+"/approval_rules", approvalRules)

	on("GET", p+"/repository/branches", branches)
	on("POST", p+"/repository/branches", addBranch)
	on("GET", p+"/repository/branches/{branch}", branch)
	on("DELETE", p+"/repository/branches/{branch}", deleteBranch)
	on("GET", p+"/repository/commits", commits)
	on("GET", p+"/repository/commits/{sha}", commit)
	on("GET", p+"/repository/commits/{sha}/refs", refsOf)
	on("GET", p+"/repository/commits/{sha}/statuses", statuses)
	on("GET", p+"/repository/commits/{sha}/merge_requests", mrsOf)
	on("GET", p+"/repository/compare", compare)
	on("GET", p+"/repository/merge_base", mergeBase)
	on("POST", p+"/statuses/{sha}", setStatus)
	on("GET", p+"/pipelines", pipelines)
	on("GET", p+"/pipelines/{pipeline}", pipeline)

	on("GET", p+"/merge_requests", mrs)
	on("POST", p+"/merge_requests", addMR)
	on("GET", mr, readMR)
	on("PUT", mr, editMR)
	on("PUT", mr+"/merge", mergeMR)
	on("GET", mr+"/commits", mrCommits)
	on("GET", mr+"/versions", versions)
	on("GET", mr+"/diffs", diffs)
	on("GET", mr+"/pipelines", mrPipelines)
	on("GET", mr+"/participants", participants)
	on("GET", mr+"/reviewers", reviewers)
	on("GET", mr+"/approvals", approvals)
	on("GET", mr+"/approval_state", approvalState)
	on("POST", mr+"/approve", approve)
	on("POST", mr+"/unapprove", unapprove)

	on("GET", p+"/issues", issues)
	on("POST", p+"/issues", addIssue)
	on("GET", issue, readIssue)
	on("PUT", issue, editIssue)
	for _, of := range []string{mr, issue} {
		on("GET", of+"/notes", notes)
		on("POST", of+"/notes", addNote)
		on("GET", of+"/notes/{note}", note)
		on("PUT", of+"/notes/{note}", editNote)
		on("DELETE", of+"/notes/{note}", deleteNote)
		on("GET", of+"/notes/{note}/award_emoji", awards)
		on("POST", of+"/notes/{note}/award_emoji", addAward)
		on("DELETE", of+"/notes/{note}/award_emoji/{award}", deleteAward)
	}

	on("GET", g, group)
	on("GET", g+"/subgroups", subgroups)
	on("GET", g+"/descendant_groups", subgroups)
	on("GET", g+"/members", groupMembers)
	on("GET", g+"/members/all", groupMembers)
	on("GET", g+"/members/{user}", groupMember)
	on("GET", g+"/members/all/{user}", groupMember)
	on("GET", g+"/projects", groupProjects)
	on("GET", g+"/hooks", hooks)
	on("POST", g+"/hooks", addHook)
	on("DELETE", g+"/hooks/{hook}", deleteHook)
	return all
}
