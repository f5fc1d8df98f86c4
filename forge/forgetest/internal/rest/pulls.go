package rest

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
)

var pullRoutes = []route{
	api.On("GET /repos/{owner}/{repo}/pulls", "read", "pull_requests:read", listPulls),
	api.On("POST /repos/{owner}/{repo}/pulls", "read", "pull_requests:write", openPull),
	api.On("GET /repos/{owner}/{repo}/pulls/{pull_number}", "read", "pull_requests:read|contents:read", getPull),
	api.On("PATCH /repos/{owner}/{repo}/pulls/{pull_number}", "read", "pull_requests:write", editPull),
	api.On("GET /repos/{owner}/{repo}/pulls/{pull_number}/commits", "read", "pull_requests:read", pullCommits),
	api.On("GET /repos/{owner}/{repo}/pulls/{pull_number}/files", "read", "pull_requests:read", pullFiles),
	api.On("PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge", "write", "contents:write", mergePull),
	api.On("PUT /repos/{owner}/{repo}/pulls/{pull_number}/update-branch", "read", "pull_requests:write", updateBranch),
	api.On("GET /repos/{owner}/{repo}/pulls/{pull_number}/merge", "read", "pull_requests:read|contents:read", isMerged),
}

func listPulls(c *call) reply {
	state := cmp.Or(c.Query("state"), "open")
	var list []*hub.Pull
	for _, p := range c.Repo.SortedPulls() {
		label := p.HeadOwner.Login + ":" + p.HeadRef
		if (state != "all" && p.State() != state) || (c.Query("base") != "" && c.Query("base") != p.BaseRef) ||
			(c.Query("head") != "" && c.Query("head") != label) {
			continue
		}
		list = append(list, p)
	}
	byUpdate := c.Query("sort") == "updated"
	slices.SortStableFunc(list, func(a, b *hub.Pull) int {
		if byUpdate {
			return a.Updated.Compare(b.Updated)
		}
		return a.Number - b.Number
	})
	if d := c.Query("direction"); d == "desc" || (d == "" && (c.Query("sort") == "" || c.Query("sort") == "created")) {
		slices.Reverse(list)
	}
	out := []any{}
	for _, p := range api.Paginate(c, list) {
		out = append(out, c.Hub.PullSimple(p))
	}
	return api.OK(out)
}

type pullInput struct {
	Title, Body, State, Base *string
	Head                     string
	HeadRepo                 string `json:"head_repo"`
	Draft                    bool
	MaintainerCanModify      *bool `json:"maintainer_can_modify"`
}

func openPull(c *call) reply {
	var in pullInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	if c.Actor() == nil {
		return api.Refuse(http.StatusUnauthorized, "Requires authentication")
	}
	if in.Title == nil || *in.Title == "" {
		return api.Invalid("PullRequest", "title", "missing_field", "")
	}
	if in.Base == nil || c.Repo.Branch(*in.Base) == "" {
		return api.Invalid("PullRequest", "base", "invalid", "")
	}
	if out := tooLong("PullRequest", in.Title, in.Body); out.Status != 0 {
		return out
	}
	headRepo, ref := headOf(c, in)
	if headRepo == nil || headRepo.Branch(ref) == "" {
		return api.Invalid("PullRequest", "head", "invalid", "")
	}
	if headRepo == c.Repo && !hub.AtLeast(c.Hub.Role(c.Cred, c.Repo), "write") {
		return api.Refuse(http.StatusForbidden, "Resource not accessible by personal access token")
	}
	head, base := headRepo.Branch(ref), *in.Base
	for _, p := range c.Repo.Pulls {
		if !p.Closed && p.HeadRepo == headRepo && p.HeadRef == ref && p.BaseRef == base {
			return api.Invalid("PullRequest", "", "custom", "A pull request already exists for "+headRepo.Owner.Login+":"+ref+".")
		}
	}
	p := c.Hub.NewPull(c.Repo, c.Actor(), *in.Title, deref(in.Body))
	p.BaseRef, p.HeadRepo, p.HeadOwner, p.HeadRef = base, headRepo, headRepo.Owner, ref
	p.Draft, p.ViaApp = in.Draft, c.ViaApp()
	p.Maintainable = headRepo != c.Repo && (in.MaintainerCanModify == nil || *in.MaintainerCanModify)
	c.Hub.SetHead(c.Ctx, p, head)
	if len(p.Commits(c.Ctx)) == 0 {
		c.Repo.LastNumber--
		return api.Invalid("PullRequest", "", "custom", "No commits between "+base+" and "+ref)
	}
	c.Repo.Pulls[p.Number] = p
	c.Hub.EmitPull(c.Ctx, p, "opened", c.Actor(), nil)
	return api.Created(c.Hub.PullFull(c.Ctx, p))
}

// headOf reads "branch", "owner:branch" and head_repo.
func headOf(c *call, in pullInput) (*hub.Repo, string) {
	owner, ref, cross := strings.Cut(in.Head, ":")
	if !cross {
		return c.Repo, in.Head
	}
	if strings.EqualFold(owner, c.Repo.Owner.Login) && in.HeadRepo == "" {
		return c.Repo, ref
	}
	r := c.Hub.Repo(owner, cmp.Or(in.HeadRepo, c.Repo.Name))
	if r == nil || (r != c.Repo && r.Parent != c.Repo) {
		return nil, ""
	}
	return r, ref
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func getPull(c *call) reply { return api.OK(c.Hub.PullFull(c.Ctx, c.Pull)) }

func editPull(c *call) reply {
	var in pullInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	p, s := c.Pull, c.Hub
	if p.Author != c.Actor() && !hub.AtLeast(s.Role(c.Cred, c.Repo), "triage") {
		return api.Refuse(http.StatusForbidden, "Must have write access to the repository or be the author.")
	}
	if in.Base != nil && *in.Base != p.BaseRef && (c.Repo.Branch(*in.Base) == "" || p.Closed) {
		return api.Invalid("PullRequest", "base", "invalid", "")
	}
	if out := tooLong("PullRequest", in.Title, in.Body); out.Status != 0 {
		return out
	}
	if in.State != nil && *in.State == "open" && p.Closed {
		if out := reopenable(c); out.Status != 0 {
			return out
		}
	}
	at := s.Tick()
	p.Updated = at
	applyEdits(c, in)
	if in.State != nil && *in.State != p.State() {
		if *in.State == "open" {
			p.Closed, p.ClosedAt, p.ClosedBy = false, time.Time{}, nil
			s.EmitPull(c.Ctx, p, "reopened", c.Actor(), nil)
		} else {
			p.Closed, p.ClosedAt, p.ClosedBy = true, at, c.Actor()
			s.EmitPull(c.Ctx, p, "closed", c.Actor(), nil)
		}
	}
	return api.OK(s.PullFull(c.Ctx, p))
}

// reopenable refuses what GitHub refuses: merged pulls, and heads that are gone.
func reopenable(c *call) reply {
	p := c.Pull
	if p.Merged || p.HeadRepo == nil || p.HeadRepo.Branch(p.HeadRef) == "" {
		return api.Invalid("PullRequest", "state", "invalid", "state cannot be changed. The branch has been deleted or the pull request was merged.")
	}
	if p.HeadRepo.Branch(p.HeadRef) != p.HeadSHA {
		return api.Invalid("PullRequest", "state", "invalid", "state cannot be changed. The branch was force-pushed or recreated.")
	}
	return reply{}
}

func applyEdits(c *call, in pullInput) {
	p, changes := c.Pull, obj{}
	if in.Title != nil && *in.Title != p.Title {
		changes["title"] = obj{"from": p.Title}
		p.Title = *in.Title
	}
	if in.Body != nil && *in.Body != p.Body {
		changes["body"] = obj{"from": p.Body}
		p.Body = *in.Body
	}
	if in.Base != nil && *in.Base != p.BaseRef {
		changes["base"] = obj{"ref": obj{"from": p.BaseRef}, "sha": obj{"from": p.BaseSHA}}
		p.BaseRef, p.BaseSHA = *in.Base, c.Repo.Branch(*in.Base)
	}
	if len(changes) > 0 {
		c.Hub.EmitPull(c.Ctx, p, "edited", c.Actor(), obj{"changes": changes})
	}
}

// commitCap and fileCap are where GitHub's lists of a pull stop.
const (
	commitCap = 250
	fileCap   = 3000
)

func pullCommits(c *call) reply {
	list := c.Pull.Commits(c.Ctx)
	if len(list) > commitCap {
		list = list[:commitCap]
	}
	return api.OK(c.Hub.CommitsJSON(c.Repo, api.Paginate(c, list)))
}

func pullFiles(c *call) reply {
	list := c.Pull.Patches(c.Ctx)
	if len(list) > fileCap {
		list = list[:fileCap]
	}
	return api.OK(c.Hub.FilesJSON(c.Repo, c.Pull.HeadSHA, api.Paginate(c, list)))
}

func isMerged(c *call) reply {
	if c.Pull.Merged {
		return api.NoContent()
	}
	return api.NotFound()
}

func mergePull(c *call) reply {
	var in struct {
		SHA     string `json:"sha"`
		Method  string `json:"merge_method"`
		Title   string `json:"commit_title"`
		Message string `json:"commit_message"`
	}
	if out, good := c.Decode(&in); !good {
		return out
	}
	in.Method = cmp.Or(in.Method, "merge")
	if out := mergeRefusal(c, in.SHA, in.Method); out.Status != 0 {
		return out
	}
	err := c.Hub.Merge(c.Ctx, c.Pull, c.Actor(), in.Method, in.Title, in.Message)
	if errors.Is(err, bare.ErrConflict) {
		return api.Refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	} else if err != nil {
		return api.Refuse(http.StatusInternalServerError, err.Error())
	}
	return api.OK(obj{"sha": c.Pull.MergeSHA, "merged": true, "message": "Pull Request successfully merged"})
}

func mergeRefusal(c *call, sha, method string) reply {
	p := c.Pull
	rules := c.Repo.Protection[p.BaseRef]
	bypass := !rules.EnforceAdmins && c.Hub.Role(c.Cred, c.Repo) == "admin"
	if !slices.Contains([]string{"merge", "squash", "rebase"}, method) {
		return api.Invalid("PullRequest", "merge_method", "invalid", "")
	}
	switch missing := c.Hub.Missing(c.Ctx, p, rules); {
	case p.Closed || p.Draft:
		return api.Refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	case sha != "" && sha != p.HeadSHA:
		return api.Refuse(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	case !c.Repo.Methods[method]:
		return api.Refuse(http.StatusMethodNotAllowed, "Merge commits are not allowed on this repository.")
	case rules.MergeQueue && !bypass:
		return api.Refuse(http.StatusMethodNotAllowed, "Changes must be made through the merge queue")
	case len(missing) > 0 && !bypass:
		return api.Refuse(http.StatusMethodNotAllowed, strings.Join(missing, " "))
	case rules.Strict && !bypass && c.Repo.Git.Behind(c.Ctx, p.HeadSHA, c.Repo.Branch(p.BaseRef)) > 0:
		return api.Refuse(http.StatusMethodNotAllowed, "Head branch is out of date. Review and try the merge again.")
	}
	return reply{}
}

// updateBranch is the button "Update branch": a merge of the base into the
// head, by the caller's name and signed by the forge.
func updateBranch(c *call) reply {
	var in struct {
		Expected string `json:"expected_head_sha"`
	}
	if out, good := c.Decode(&in); !good {
		return out
	}
	p, base := c.Pull, c.Repo.Branch(c.Pull.BaseRef)
	switch {
	case c.Actor() == nil:
		return api.Refuse(http.StatusUnauthorized, "Requires authentication")
	case p.HeadRepo == nil || !hub.AtLeast(c.Hub.Role(c.Cred, p.HeadRepo), "write"):
		return api.Refuse(http.StatusForbidden, "Must have write access to the head branch.")
	case in.Expected != "" && in.Expected != p.HeadSHA:
		return api.Refuse(http.StatusUnprocessableEntity, "expected head sha didn\u2019t match current head ref.")
	case c.Repo.Git.IsAncestor(c.Ctx, base, p.HeadSHA):
		return api.Refuse(http.StatusUnprocessableEntity, "There are no new commits on the base branch.")
	}
	at := c.Hub.Tick()
	sha, err := c.Repo.Git.Merge(c.Ctx, p.HeadSHA, base, "Merge branch '"+p.BaseRef+"' into "+p.HeadRef,
		bare.Person{Name: c.Actor().Login, Email: c.Actor().Email(), When: at}, bare.Person{Name: "GitHub", Email: c.Hub.WebFlow.Email(), When: at})
	if err != nil {
		return api.Refuse(http.StatusUnprocessableEntity, "merge conflict between base and head")
	}
	c.Hub.Signatures[sha] = hub.Signed
	if err := moveHead(c, sha); err != nil {
		return api.Refuse(http.StatusInternalServerError, err.Error())
	}
	return reply{Status: http.StatusAccepted, Body: obj{
		"message": "Updating pull request branch.", "url": fmt.Sprintf("%s/%s/pull/%d", c.Hub.URL, c.Repo.Full(), p.Number)}}
}

// moveHead makes a commit of the base's repository the head, in a fork too.
func moveHead(c *call, sha string) error {
	p, ref := c.Pull, "refs/heads/"+c.Pull.HeadRef
	if p.HeadRepo == c.Repo {
		if err := c.Repo.Git.SetRef(c.Ctx, ref, sha, ""); err != nil {
			return err
		}
		return c.Hub.RefsMoved(c.Ctx, c.Repo, c.Actor())
	}
	// A fork can only fetch what a ref leads to.
	keep := fmt.Sprintf("refs/pull/%d/update", p.Number)
	if err := c.Repo.Git.SetRef(c.Ctx, keep, sha, ""); err != nil {
		return err
	}
	err := p.HeadRepo.Git.Fetch(c.Ctx, c.Repo.Git, sha, ref)
	if err = errors.Join(err, c.Repo.Git.SetRef(c.Ctx, keep, "", "")); err != nil {
		return err
	}
	return c.Hub.RefsMoved(c.Ctx, p.HeadRepo, c.Actor())
}
