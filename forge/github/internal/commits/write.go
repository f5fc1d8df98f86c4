package commits

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	gh "github.com/google/go-github/v60/github"

	"lockkeeper/forge"
	"lockkeeper/forge/github/internal/sdk"
	"lockkeeper/forge/internal/wire"
)

// Write puts a commit on a branch. GitHub signs what comes through GraphQL's
// createCommitOnBranch, which is one call, takes plain files only, and does not
// make branches; other modes go through the Git data API, where GitHub signs
// for Apps only.
func (r Repo) Write(ctx context.Context, n forge.NewCommit) (string, error) {
	if err := check(n); err != nil {
		return "", err
	}
	write := r.onBranch
	if slices.ContainsFunc(slices.Collect(maps.Values(n.Edits)), special) {
		write = r.asData
	}
	sha, err := write(ctx, n)
	if n.Tree == "" || forge.CodeOf(sdk.Fail("", err)) != forge.Conflict {
		return sha, err
	}
	if done, lookErr := r.done(ctx, n); lookErr != nil || done != "" {
		return done, lookErr
	}
	return "", err
}

// special is a file that createCommitOnBranch would make a plain one.
func special(e forge.FileEdit) bool {
	return !e.Delete && e.Mode != "" && e.Mode != forge.RegularFile
}

func check(n forge.NewCommit) error {
	bad := func(format string, args ...any) error {
		return &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf(format, args...)}
	}
	at := cmp.Or(n.Parent, n.Base)
	switch {
	case n.Branch == "" || strings.TrimSpace(n.Message) == "" || len(n.Edits) == 0:
		return bad("a commit needs a branch, a message and an edit at least")
	case !wire.IsSHA(at):
		return bad("%q, which the commit is to follow, is not a full SHA", at)
	}
	for path, e := range n.Edits {
		switch e.Mode {
		case "", forge.RegularFile, forge.Executable, forge.SymbolicLink:
		default:
			return bad("%s cannot get the mode %q", path, e.Mode)
		}
	}
	return nil
}

const commitMutation = `mutation($input:CreateCommitOnBranchInput!){createCommitOnBranch(input:$input){commit{oid}}}`

// onBranch makes the branch if need be, and the commit.
func (r Repo) onBranch(ctx context.Context, n forge.NewCommit) (string, error) {
	parent := n.Parent
	if parent == "" {
		parent = n.Base
		if err := r.branch(ctx, n.Branch, n.Base); err != nil {
			return "", err
		}
	}
	additions, deletions := []any{}, []any{}
	for _, path := range slices.Sorted(maps.Keys(n.Edits)) {
		if e := n.Edits[path]; e.Delete {
			deletions = append(deletions, map[string]any{"path": path})
		} else {
			additions = append(additions, map[string]any{"path": path, "contents": base64.StdEncoding.EncodeToString(e.Content)})
		}
	}
	headline, body, _ := strings.Cut(n.Message, "\n")
	var a struct {
		Created struct {
			Commit struct {
				OID string `json:"oid"`
			} `json:"commit"`
		} `json:"createCommitOnBranch"`
	}
	err := sdk.Query(ctx, r.Wire, r.Client, commitMutation, map[string]any{"input": map[string]any{
		"branch":          map[string]any{"repositoryNameWithOwner": r.Ref.String(), "branchName": n.Branch},
		"expectedHeadOid": parent,
		"fileChanges":     map[string]any{"additions": additions, "deletions": deletions},
		"message":         map[string]any{"headline": headline, "body": strings.TrimSpace(body)},
	}}, &a)
	err = r.why(ctx, n.Branch, parent, err)
	if err == nil && !wire.IsSHA(a.Created.Commit.OID) {
		err = &forge.Error{Code: forge.Unavailable, Message: "the forge did not tell which commit it made"}
	}
	return a.Created.Commit.OID, err
}

// why finds out whether a refusal is about where the branch is, which GitHub
// does not say in the same way everywhere.
func (r Repo) why(ctx context.Context, branch, want string, err error) error {
	if code := forge.CodeOf(sdk.Fail("", err)); code != forge.Invalid && code != forge.NotFound {
		return err
	}
	tip, lookErr := r.tip(ctx, branch)
	switch {
	case lookErr != nil:
		return lookErr
	case tip == "":
		return &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("there is no branch %s", branch), Err: err}
	case tip != want:
		return elsewhere(branch, tip, want)
	}
	return err
}

func elsewhere(branch, tip, want string) error {
	return &forge.Error{Code: forge.Conflict, Unsent: true, Message: fmt.Sprintf("the branch %s is at %s, not at %s", branch, tip, want)}
}

// branch makes a branch at a commit; one that is there already is welcome.
func (r Repo) branch(ctx context.Context, name, sha string) error {
	_, _, err := r.Client.Git.CreateRef(ctx, r.Ref.Owner, r.Ref.Name, &gh.Reference{Ref: gh.String("refs/heads/" + name), Object: &gh.GitObject{SHA: &sha}})
	if forge.CodeOf(sdk.Fail("", err)) != forge.Invalid {
		return err
	}
	tip, lookErr := r.tip(ctx, name)
	switch {
	case lookErr != nil:
		return lookErr
	case tip == "":
		return err // GitHub does not take the name, or does not know the commit
	case tip != sha:
		return elsewhere(name, tip, sha)
	}
	return nil
}

// tip is where a branch is, "" if there is none.
func (r Repo) tip(ctx context.Context, branch string) (string, error) {
	ref, _, err := r.Client.Git.GetRef(ctx, r.Ref.Owner, r.Ref.Name, "refs/heads/"+branch)
	if forge.CodeOf(sdk.Fail("", err)) == forge.NotFound {
		return "", nil
	}
	return ref.GetObject().GetSHA(), err
}

// done looks whether the branch is at the commit that was to be made.
func (r Repo) done(ctx context.Context, n forge.NewCommit) (string, error) {
	tip, err := r.tip(ctx, n.Branch)
	if err != nil || tip == "" {
		return "", err
	}
	c, _, err := r.Client.Git.GetCommit(ctx, r.Ref.Owner, r.Ref.Name, tip)
	if err != nil {
		return "", err
	}
	same := len(c.Parents) == 1 && c.Parents[0].GetSHA() == cmp.Or(n.Parent, n.Base) &&
		c.GetTree().GetSHA() == n.Tree && strings.TrimSpace(c.GetMessage()) == strings.TrimSpace(n.Message)
	if !same {
		return "", nil
	}
	return tip, nil
}

// asData writes tree and commit as objects, and then moves the branch.
func (r Repo) asData(ctx context.Context, n forge.NewCommit) (string, error) {
	parent := cmp.Or(n.Parent, n.Base)
	before, _, err := r.Client.Git.GetCommit(ctx, r.Ref.Owner, r.Ref.Name, parent)
	if err != nil {
		return "", err
	}
	var entries []*gh.TreeEntry
	for _, path := range slices.Sorted(maps.Keys(n.Edits)) {
		e, err := r.entry(ctx, path, n.Edits[path])
		if err != nil {
			return "", err
		}
		entries = append(entries, e)
	}
	tree, _, err := r.Client.Git.CreateTree(ctx, r.Ref.Owner, r.Ref.Name, before.GetTree().GetSHA(), entries)
	if err != nil {
		return "", err
	}
	made, _, err := r.Client.Git.CreateCommit(ctx, r.Ref.Owner, r.Ref.Name,
		&gh.Commit{Message: &n.Message, Tree: tree, Parents: []*gh.Commit{{SHA: &parent}}}, nil)
	if err != nil {
		return "", err
	}
	if n.Parent == "" {
		err = r.branch(ctx, n.Branch, made.GetSHA())
		if forge.CodeOf(sdk.Fail("", err)) != forge.Conflict {
			return made.GetSHA(), err
		} // left behind at Base, maybe
	}
	return made.GetSHA(), r.move(ctx, n.Branch, parent, made.GetSHA())
}

func (r Repo) entry(ctx context.Context, path string, e forge.FileEdit) (*gh.TreeEntry, error) {
	mode := string(cmp.Or(e.Mode, forge.RegularFile))
	out := &gh.TreeEntry{Path: &path, Mode: &mode, Type: gh.String("blob")}
	switch {
	case e.Delete: // no SHA and no content
	case utf8.Valid(e.Content):
		out.Content = gh.String(string(e.Content))
	default:
		blob, _, err := r.Client.Git.CreateBlob(ctx, r.Ref.Owner, r.Ref.Name,
			&gh.Blob{Content: gh.String(base64.StdEncoding.EncodeToString(e.Content)), Encoding: gh.String("base64")})
		if err != nil {
			return nil, err
		}
		out.SHA = blob.SHA
	}
	return out, nil
}

const (
	refQuery    = `query($owner:String!,$name:String!,$ref:String!){repository(owner:$owner,name:$name){id databaseId ref(qualifiedName:$ref){target{oid}}}}`
	refMutation = `mutation($input:UpdateRefsInput!){updateRefs(input:$input){clientMutationId}}`
	noCommit    = "0000000000000000000000000000000000000000"
)

// Delete deletes a branch that is at sha; one that is gone is no error.
func (r Repo) Delete(ctx context.Context, branch, sha string) error {
	if !wire.IsSHA(sha) || sha == noCommit {
		return &forge.Error{Code: forge.Invalid, Unsent: true, Message: fmt.Sprintf("%q is not a full SHA", sha)}
	}
	return r.move(ctx, branch, sha, noCommit)
}

// move takes a branch from one commit to another. REST would not compare where
// it was, so that somebody's push a moment ago could be lost.
func (r Repo) move(ctx context.Context, branch, from, to string) error {
	var a struct {
		Repository struct {
			ID         string `json:"id"`
			DatabaseID int64  `json:"databaseId"`
			Ref        *struct {
				Target struct {
					OID string `json:"oid"`
				} `json:"target"`
			} `json:"ref"`
		} `json:"repository"`
	}
	name := "refs/heads/" + branch
	if err := sdk.Query(ctx, r.Wire, r.Client, refQuery, map[string]any{"owner": r.Ref.Owner, "name": r.Ref.Name, "ref": name}, &a); err != nil {
		return err
	}
	switch repo := a.Repository; {
	case r.Ref.ID != 0 && repo.DatabaseID != r.Ref.ID: // threat 26
		return &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("%s is now another repository (id %d, not %d)", r.Ref, repo.DatabaseID, r.Ref.ID)}
	case repo.Ref == nil && to == noCommit:
		return nil
	case repo.Ref == nil:
		return &forge.Error{Code: forge.NotFound, Unsent: true, Message: fmt.Sprintf("there is no branch %s", branch)}
	case repo.Ref.Target.OID != from:
		return elsewhere(branch, repo.Ref.Target.OID, from)
	}
	change := map[string]any{"name": name, "beforeOid": from, "afterOid": to, "force": true}
	err := sdk.Query(ctx, r.Wire, r.Client, refMutation, map[string]any{"input": map[string]any{
		"repositoryId": a.Repository.ID, "refUpdates": []any{change}}}, &struct{}{})
	return r.why(ctx, branch, from, err)
}
