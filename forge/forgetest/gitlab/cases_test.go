package gitlab_test

import gl "gitlab.com/gitlab-org/api/client-go"

type obj = map[string]any

// readings are the operations with what is documented of them. Reading comes first:
// what writes changes the state that the others look at.
func readings() []wants {
	const p, mr, issue, g = "/projects/{id}", "/projects/{id}/merge_requests/{mr}", "/projects/{id}/issues/{issue}", "/groups/{id}"
	const author = "author.email"
	saml, detail := []string{"group_saml_identity", "email"}, []string{"project_id", "stats", "status", "last_pipeline"} // of other editions, of a single commit
	account := []string{"skype"}                                                                                         // of older versions
	forked := []string{"allow_collaboration", "allow_maintainer_to_push"}                                                // of forks' only
	return []wants{
		{route: "GET /version", typ: of[gl.Metadata](), like: "metadata_test.go#TestGetMetadata"},
		{route: "GET /metadata", typ: of[gl.Metadata](), like: "metadata_test.go#TestGetMetadata"},
		{route: "GET /user", typ: of[gl.User](), like: "get_user.json", unlike: account},
		{route: "GET /users", typ: of[[]gl.User]()},
		{route: "GET /users/{user}", typ: of[gl.User](), like: "get_user.json", unlike: account},
		{route: "GET /personal_access_tokens/self", typ: of[gl.PersonalAccessToken](), like: "list_personal_access_tokens_single.json"},

		{route: "GET /projects", typ: of[[]gl.Project]()},
		{route: "GET " + p, typ: of[gl.Project]()},
		{route: "GET " + p + "/members", typ: of[[]gl.ProjectMember](), like: "project_members_test.go#TestProjectMembersService_ListProjectMembers", unlike: saml},
		{route: "GET " + p + "/members/all", typ: of[[]gl.ProjectMember](), like: "project_members_test.go#TestProjectMembersService_ListAllProjectMembers", unlike: saml},
		{route: "GET " + p + "/members/all/{user}", typ: of[gl.ProjectMember](), like: "project_members_test.go#TestProjectMembersService_GetInheritedProjectMember", unlike: saml},
		{route: "GET " + p + "/events", typ: of[[]gl.ProjectEvent](), like: "events_test.go#TestEventsService_ListProjectVisibleEvents", unlike: []string{"title"}},
		{route: "GET " + p + "/events?action=pushed", typ: of[[]gl.ProjectEvent]()},
		{route: "GET " + p + "/protected_branches", typ: of[[]gl.ProtectedBranch](), like: "protected_branches_test.go#TestListProtectedBranches"},
		{route: "GET " + p + "/protected_branches/{branch}", typ: of[gl.ProtectedBranch](), like: "protected_branches_test.go#TestGetProtectedBranch"},
		{route: "GET " + p + "/approvals", typ: of[gl.ProjectApprovals](), like: "projects_test.go#TestGetApprovalConfiguration"},
		{route: "GET " + p + "/approval_rules", typ: of[[]gl.ProjectApprovalRule](), like: "projects_test.go#TestGetProjectApprovalRules"},

		{route: "GET " + p + "/repository/branches", typ: of[[]gl.Branch](), like: "list_branches.json"},
		{route: "GET " + p + "/repository/branches/{branch}", typ: of[gl.Branch](), like: "get_branch.json"},
		{route: "GET " + p + "/repository/commits", typ: of[[]gl.Commit](), like: "commits_test.go#TestCommitsService_ListCommits", unlike: detail},
		{route: "GET " + p + "/repository/commits/{sha}", typ: of[gl.Commit](), like: "get_commit.json"},
		{route: "GET " + p + "/repository/commits/{sha}/refs", typ: of[[]gl.CommitRef](), like: "commits_test.go#TestCommitsService_GetCommitRefs"},
		{route: "GET " + p + "/repository/commits/{sha}/statuses", typ: of[[]gl.CommitStatus]()},
		{route: "GET " + p + "/repository/commits/{sha}/merge_requests", typ: of[[]gl.BasicMergeRequest](), like: "commits_test.go#TestCommitsService_ListMergeRequestsByCommit", unlike: forked},
		{route: "GET " + p + "/repository/compare?from=main&to=x", typ: of[gl.Compare](), like: "repositories_test.go#TestRepositoriesService_Compare"},
		{route: "GET " + p + "/repository/merge_base?refs[]=main&refs[]=x", typ: of[gl.Commit](), like: "repositories_test.go#TestRepositoriesService_MergeBase"},
		{route: "GET " + p + "/pipelines", typ: of[[]gl.PipelineInfo]()},
		{route: "GET " + p + "/pipelines/{pipeline}", typ: of[gl.Pipeline]()},

		{route: "GET " + p + "/merge_requests", typ: of[[]gl.BasicMergeRequest](), like: "get_merge_requests.json"},
		{route: "GET " + mr, typ: of[gl.MergeRequest](), like: "get_merge_request.json"},
		{route: "GET " + mr + "/commits", typ: of[[]gl.Commit]()},
		{route: "GET " + mr + "/versions", typ: of[[]gl.MergeRequestDiffVersion]()},
		{route: "GET " + mr + "/diffs", typ: of[[]gl.MergeRequestDiff](), like: "list_merge_request_diff.json"},
		{route: "GET " + mr + "/pipelines", typ: of[[]gl.PipelineInfo]()},
		{route: "GET " + mr + "/participants", typ: of[[]gl.BasicUser](), like: "merge_requests_test.go#TestGetMergeRequestParticipants"},
		{route: "GET " + mr + "/reviewers", typ: of[[]gl.MergeRequestReviewer](), like: "merge_requests_test.go#TestGetMergeRequestReviewers"},
		{route: "GET " + mr + "/approvals", typ: of[gl.MergeRequestApprovals](), like: "merge_request_approvals_test.go#TestGetConfiguration"},
		{route: "GET " + mr + "/approval_state", typ: of[gl.MergeRequestApprovalState](), like: "merge_request_approvals_test.go#TestGetApprovalState"},
		{route: "GET " + mr + "/notes", typ: of[[]gl.Note](), like: "notes_test.go#TestNotes_ListMergeRequestNotes", unlike: []string{author}},
		{route: "GET " + mr + "/notes/{note}", typ: of[gl.Note](), like: "notes_test.go#TestNotes_GetMergeRequestNote", unlike: []string{author}},
		{route: "GET " + mr + "/notes/{note}/award_emoji", typ: of[[]gl.AwardEmoji](), like: "award_emojis_test.go#TestAwardEmojiService_ListMergeRequestAwardEmojiOnNote"},

		{route: "GET " + p + "/issues", typ: of[[]gl.Issue]()},
		{route: "GET " + issue, typ: of[gl.Issue]()},
		{route: "GET " + issue + "/notes", typ: of[[]gl.Note](), like: "notes_test.go#TestNotes_ListIssueNotes", unlike: []string{author}},
		{route: "GET " + issue + "/notes/{note}", typ: of[gl.Note](), like: "notes_test.go#TestNotes_ListIssueNotes", unlike: []string{author}},

		{route: "GET " + g, typ: of[gl.Group]()},
		{route: "GET " + g + "/subgroups", typ: of[[]gl.Group]()},
		{route: "GET " + g + "/descendant_groups", typ: of[[]gl.Group]()},
		{route: "GET " + g + "/members", typ: of[[]gl.GroupMember](), like: "group_members_test.go#TestListGroupMembersWithoutEmail", unlike: saml},
		{route: "GET " + g + "/members/all", typ: of[[]gl.GroupMember](), like: "group_members_test.go#TestListGroupMembersWithoutEmail", unlike: saml},
		{route: "GET " + g + "/members/{user}", typ: of[gl.GroupMember](), like: "group_members_test.go#TestGetGroupMemberAll", unlike: saml},
		{route: "GET " + g + "/members/all/{user}", typ: of[gl.GroupMember](), like: "group_members_test.go#TestGetGroupMemberAll", unlike: saml},
		{route: "GET " + g + "/projects", typ: of[[]gl.Project]()},

		{route: "PUT " + p, in: obj{"merge_method": "merge"}, typ: of[gl.Project]()},
		{route: "POST " + p + "/fork", login: "bob", typ: of[gl.Project]()},
		{route: "GET " + p + "/forks", login: "bob", typ: of[[]gl.Project]()},
		{route: "POST " + p + "/hooks", in: obj{"url": "http://127.0.0.1:1/", "note_events": true}, typ: of[gl.ProjectHook]()},
		{route: "GET " + p + "/hooks", typ: of[[]gl.ProjectHook](), like: "projects_test.go#TestListProjectHooks"},
		{route: "POST " + g + "/hooks", in: obj{"url": "http://127.0.0.1:1/"}, typ: of[gl.GroupHook]()},
		{route: "GET " + g + "/hooks", typ: of[[]gl.GroupHook](), like: "group_hooks_test.go#TestListGroupHooks"},
		{route: "POST " + p + "/repository/branches", in: obj{"branch": "y", "ref": "x"}, typ: of[gl.Branch](), like: "get_branch.json"},
		{route: "POST " + p + "/statuses/{sha}", in: obj{"state": "success", "name": "lint"}, typ: of[gl.CommitStatus]()},
		{route: "POST " + p + "/merge_requests", in: obj{"title": "y", "source_branch": "y", "target_branch": "main"}, typ: of[gl.MergeRequest](), like: "get_merge_request.json"},
		{route: "PUT " + mr, in: obj{"title": "Draft: better"}, typ: of[gl.MergeRequest](), like: "get_merge_request.json"},
		{route: "POST " + mr + "/approve", typ: of[gl.MergeRequestApprovals](), like: "merge_request_approvals_test.go#TestGetConfiguration"},
		{route: "POST " + mr + "/unapprove", typ: of[gl.MergeRequestApprovals]()},
		{route: "POST " + mr + "/notes", in: obj{"body": "hi\n/ready"}, typ: of[gl.Note](), like: "notes_test.go#TestNotes_CreateMergeRequestNote", unlike: []string{author}},
		{route: "PUT " + mr + "/notes/{note}", in: obj{"body": "edited"}, typ: of[gl.Note](), like: "notes_test.go#TestNotes_UpdateMergeRequestNote", unlike: []string{author}},
		{route: "POST " + mr + "/notes/{note}/award_emoji", in: obj{"name": "rocket"}, typ: of[gl.AwardEmoji](), like: "award_emojis_test.go#TestAwardEmojiService_CCreateMergeRequestAwardEmojiOnNote"},
		{route: "POST " + p + "/issues", in: obj{"title": "Another"}, typ: of[gl.Issue]()},
		{route: "PUT " + issue, in: obj{"state_event": "close"}, typ: of[gl.Issue]()},
		{route: "POST " + issue + "/notes", in: obj{"body": "hi"}, typ: of[gl.Note]()},
		{route: "PUT " + issue + "/notes/{note}", in: obj{"body": "edited"}, typ: of[gl.Note]()},
		{route: "POST " + issue + "/notes/{note}/award_emoji", in: obj{"name": "eyes"}, typ: of[gl.AwardEmoji]()},
		{route: "GET " + issue + "/notes/{note}/award_emoji", typ: of[[]gl.AwardEmoji](), like: "award_emojis_test.go#TestAwardEmojiService_ListIssuesAwardEmojiOnNote"},
		{route: "GET " + p + "/members/{user}", typ: of[gl.ProjectMember](), like: "project_members_test.go#TestProjectMembersService_GetProjectMember", unlike: saml},
		{route: "PUT " + mr + "/merge", login: "ann", typ: of[gl.MergeRequest](), like: "get_merge_request.json"},
	}
}
