package graphql

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/hub"
)

// mutation: GitHub has these through GraphQL only.
func (c *ask) mutation() *node {
	return &node{"Mutation", map[string]any{
		"markPullRequestReadyForReview": c.setDraft("MarkPullRequestReadyForReviewPayload", false, "ready_for_review"),
		"convertPullRequestToDraft":     c.setDraft("ConvertPullRequestToDraftPayload", true, "converted_to_draft"),
		"createCommitOnBranch":          field(func(a map[string]any) (any, error) { return c.commitOnBranch(part(a, "input")) }),
		"updateRefs":                    field(func(a map[string]any) (any, error) { return c.updateRefs(part(a, "input")) }),
	}}
}

// part, list and text read an input, whose types were checked before.
func part(m map[string]any, key string) map[string]any { v, _ := m[key].(map[string]any); return v }
func list(m map[string]any, key string) []any          { v, _ := m[key].([]any); return v }
func text(m map[string]any, key string) string         { v, _ := m[key].(string); return v }

func (c *ask) setDraft(payload string, draft bool, action string) field {
	return func(a map[string]any) (any, error) {
		id := text(part(a, "input"), "pullRequestId")
		for _, r := range c.s.SortedRepos() {
			for _, p := range r.Pulls {
				if hub.Node("PR", p.ID) != id || !c.s.Sees(c.cred, r) {
					continue
				}
				if p.Author != c.actor() && !hub.AtLeast(c.s.Role(c.cred, r), "write") {
					return nil, &refusal{"FORBIDDEN", "must have write access or be the author"}
				}
				if p.Draft != draft {
					p.Draft, p.Updated = draft, c.s.Tick()
					c.s.EmitPull(c.ctx, p, action, c.actor(), nil)
				}
				return &node{payload, map[string]any{"pullRequest": c.pull(p)}}, nil
			}
		}
		return nil, errNotFound
	}
}

// writable refuses who may not push to the repository.
func (c *ask) writable(r *hub.Repo) error {
	if !c.cred.Grants("contents:write") || !hub.AtLeast(c.s.Role(c.cred, r), "write") {
		return &refusal{"FORBIDDEN", "Resource not accessible by integration"}
	}
	if r.Archived {
		return &refusal{"FORBIDDEN", "Repository was archived so is read-only."}
	}
	return nil
}

// guarded tells whether the rules of a branch keep a ref from moving: kept ones
// from being deleted or rewritten, locked ones from any push.
func (c *ask) guarded(r *hub.Repo, ref, kind string) bool {
	return slices.ContainsFunc(c.s.Guards(r, c.cred), func(list string) bool {
		refs, found := strings.CutPrefix(list, "FORGETEST_"+kind+"=")
		return found && slices.Contains(strings.Fields(refs), ref)
	})
}

// commitOnBranch makes plain files only, whatever they were, and no branch. Its
// author is the caller; GitHub commits and signs it.
func (c *ask) commitOnBranch(in map[string]any) (any, error) {
	name := text(part(in, "branch"), "repositoryNameWithOwner")
	owner, short, _ := strings.Cut(name, "/")
	r := c.s.Repo(owner, short)
	if r == nil || !c.s.Sees(c.cred, r) {
		//lint:ignore ST1005 GitHub's own words
		return nil, fmt.Errorf("%w: Could not resolve to a Repository with the name '%s'.", errNotFound, name)
	}
	if err := c.writable(r); err != nil {
		return nil, err
	}
	branch, want := "refs/heads/"+strings.TrimPrefix(text(part(in, "branch"), "branchName"), "refs/heads/"), text(in, "expectedHeadOid")
	switch tip := r.Refs[branch]; {
	case tip == "":
		return nil, &refusal{"NOT_FOUND", "A ref named \"" + branch + "\" does not exist in the repository."}
	case tip != want:
		return nil, &refusal{"STALE_DATA", fmt.Sprintf("Expected branch to point to %q but it did not.  Pull and try again.", want)}
	case c.guarded(r, branch, "LOCKED"):
		return nil, &refusal{"BRANCH_PROTECTION_RULE_VIOLATION", "Changes must be made through a pull request."}
	}
	tree, err := c.changed(r, want, part(in, "fileChanges"))
	if err != nil {
		return nil, err
	}
	at, who := c.s.Tick(), c.actor()
	message := strings.TrimSpace(text(part(in, "message"), "headline") + "\n\n" + text(part(in, "message"), "body"))
	sha, err := r.Git.CommitTree(c.ctx, bare.Commit{Tree: tree, Parents: []string{want}, Message: message,
		Author:    bare.Person{Name: who.Login, Email: who.Email(), When: at},
		Committer: bare.Person{Name: "GitHub", Email: c.s.WebFlow.Email(), When: at}})
	if err != nil {
		return nil, err
	}
	c.s.Signatures[sha] = hub.Signed
	if err := r.Git.SetRef(c.ctx, branch, sha, want); err != nil {
		return nil, err
	}
	if err := c.s.RefsMoved(c.ctx, r, who); err != nil {
		return nil, err
	}
	made, err := r.Git.Commit(c.ctx, sha)
	return &node{"CreateCommitOnBranchPayload", map[string]any{"commit": c.commit(r, made), "ref": ref(r, branch, sha, nil)}}, err
}

// changed is the tree of a commit with files added and deleted.
func (c *ask) changed(r *hub.Repo, commit string, changes map[string]any) (string, error) {
	var files []bare.File
	for _, v := range list(changes, "additions") {
		e, _ := v.(map[string]any)
		content, err := base64.StdEncoding.DecodeString(text(e, "contents"))
		if err != nil {
			return "", &refusal{"UNPROCESSABLE", "A file's contents are not valid base64."}
		}
		path := text(e, "path")
		if strings.HasPrefix(path, ".github/workflows/") && !c.cred.Grants("workflows:write") {
			return "", &refusal{"UNPROCESSABLE", "refusing to allow a GitHub App to create or update workflow `" + path + "` without `workflows` permission"}
		}
		files = append(files, bare.File{Path: path, Content: append([]byte{}, content...)})
	}
	for _, v := range list(changes, "deletions") {
		e, _ := v.(map[string]any)
		path := text(e, "path")
		if _, err := r.Git.Git(c.ctx, nil, "", "cat-file", "-e", commit+":"+path); err != nil {
			return "", &refusal{"UNPROCESSABLE", "A path was requested for deletion which does not exist as of commit oid `" + commit + "`"}
		}
		files = append([]bare.File{{Path: path}}, files...) // a file may give way to a directory
	}
	tree, err := r.Git.WriteTree(c.ctx, commit, filepath.Join(c.s.Root, "index-graphql"), files)
	if err != nil {
		return "", &refusal{"UNPROCESSABLE", err.Error()}
	}
	return tree, nil
}

const noCommit = "0000000000000000000000000000000000000000"

// updateRefs makes, moves and deletes refs where they are as the caller thinks.
func (c *ask) updateRefs(in map[string]any) (any, error) {
	i := slices.IndexFunc(c.s.SortedRepos(), func(r *hub.Repo) bool { return hub.Node("R", r.ID) == text(in, "repositoryId") && c.s.Sees(c.cred, r) })
	if i < 0 {
		return nil, errNotFound
	}
	r := c.s.SortedRepos()[i]
	if err := c.writable(r); err != nil {
		return nil, err
	}
	for _, v := range list(in, "refUpdates") {
		u, _ := v.(map[string]any)
		if err := c.updateRef(r, u); err != nil {
			return nil, err
		}
	}
	return &node{"UpdateRefsPayload", map[string]any{}}, c.s.RefsMoved(c.ctx, r, c.actor())
}

func (c *ask) updateRef(r *hub.Repo, u map[string]any) error {
	name, before, after := text(u, "name"), text(u, "beforeOid"), text(u, "afterOid")
	force, _ := u["force"].(bool)
	now := r.Refs[name]
	grows := after != noCommit && (now == "" || r.Git.IsAncestor(c.ctx, now, after))
	switch {
	case before != "" && before != now && !(before == noCommit && now == ""):
		return &refusal{"UNPROCESSABLE", "Reference cannot be updated: it does not point to " + before + "."}
	case now != "" && c.guarded(r, name, "LOCKED"), !grows && c.guarded(r, name, "KEPT"):
		return &refusal{"BRANCH_PROTECTION_RULE_VIOLATION", "Changes must be made through a pull request."}
	case !grows && !force:
		return &refusal{"UNPROCESSABLE", "Update is not a fast forward"}
	}
	if after == noCommit {
		after = ""
	}
	if err := r.Git.SetRef(c.ctx, name, after, now); err != nil {
		return &refusal{"UNPROCESSABLE", err.Error()}
	}
	return nil
}
