package rest

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/hub"
)

var pullRoutes = []route{
	{"GET /repos/{owner}/{repo}/pulls", "read", "pull_requests:read", listPulls},
	{"POST /repos/{owner}/{repo}/pulls", "read", "pull_requests:write", openPull},
	{"GET /repos/{owner}/{repo}/pulls/{pull_number}", "read", "pull_requests:read|contents:read", getPull},
	{"PATCH /repos/{owner}/{repo}/pulls/{pull_number}", "read", "pull_requests:write", editPull},
	{"GET /repos/{owner}/{repo}/pulls/{pull_number}/commits", "read", "pull_requests:read", pullCommits},
	{"GET /repos/{owner}/{repo}/pulls/{pull_number}/files", "read", "pull_requests:read", pullFiles},
	{"PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge", "write", "contents:write", mergePull},
	{"GET /repos/{owner}/{repo}/pulls/{pull_number}/merge", "read", "pull_requests:read|contents:read", isMerged},
}

func listPulls(c *call) reply {
	state := cmp.Or(c.query("state"), "open")
	var list []*hub.Pull
	for _, p := range c.repo.SortedPulls() {
		label := p.HeadOwner.Login + ":" + p.HeadRef
		if (state != "all" && p.State() != state) || (c.query("base") != "" && c.query("base") != p.BaseRef) ||
			(c.query("head") != "" && c.query("head") != label) {
			continue
		}
		list = append(list, p)
	}
	byUpdate := c.query("sort") == "updated"
	slices.SortStableFunc(list, func(a, b *hub.Pull) int {
		if byUpdate {
			return a.Updated.Compare(b.Updated)
		}
		return a.Number - b.Number
	})
	if d := c.query("direction"); d == "desc" || (d == "" && (c.query("sort") == "" || c.query("sort") == "created")) {
		slices.Reverse(list)
	}
	out := []any{}
	for _, p := range paginate(c, list) {
		out = append(out, c.s.PullSimple(p))
	}
	return ok(out)
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
	if out, good := c.decode(&in); !good {
		return out
	}
	if c.actor() == nil {
		return refuse(http.StatusUnauthorized, "Requires authentication")
	}
	if in.Title == nil || *in.Title == "" {
		return invalid("PullRequest", "title", "missing_field", "")
	}
	if in.Base == nil || c.repo.Branch(*in.Base) == "" {
		return invalid("PullRequest", "base", "invalid", "")
	}
	headRepo, ref := c.headOf(in)
	if headRepo == nil || headRepo.Branch(ref) == "" {
		return invalid("PullRequest", "head", "invalid", "")
	}
	if headRepo == c.repo && !hub.AtLeast(c.s.Role(c.cred, c.repo), "write") {
		return refuse(http.StatusForbidden, "Resource not accessible by personal access token")
	}
	head, base := headRepo.Branch(ref), *in.Base
	for _, p := range c.repo.Pulls {
		if !p.Closed && p.HeadRepo == headRepo && p.HeadRef == ref && p.BaseRef == base {
			return invalid("PullRequest", "", "custom", "A pull request already exists for "+headRepo.Owner.Login+":"+ref+".")
		}
	}
	p := c.s.NewPull(c.repo, c.actor(), *in.Title, deref(in.Body))
	p.BaseRef, p.HeadRepo, p.HeadOwner, p.HeadRef = base, headRepo, headRepo.Owner, ref
	p.Draft, p.ViaApp = in.Draft, c.viaApp()
	p.Maintainable = headRepo != c.repo && (in.MaintainerCanModify == nil || *in.MaintainerCanModify)
	c.s.SetHead(c.ctx, p, head)
	if len(p.Commits(c.ctx)) == 0 {
		c.repo.LastNumber--
		return invalid("PullRequest", "", "custom", "No commits between "+base+" and "+ref)
	}
	c.repo.Pulls[p.Number] = p
	c.s.EmitPull(c.ctx, p, "opened", c.actor(), nil)
	return created(c.s.PullFull(c.ctx, p))
}

// headOf reads "branch", "owner:branch" and head_repo.
func (c *call) headOf(in pullInput) (*hub.Repo, string) {
	owner, ref, cross := strings.Cut(in.Head, ":")
	if !cross {
		return c.repo, in.Head
	}
	if strings.EqualFold(owner, c.repo.Owner.Login) && in.HeadRepo == "" {
		return c.repo, ref
	}
	r := c.s.Repo(owner, cmp.Or(in.HeadRepo, c.repo.Name))
	if r == nil || (r != c.repo && r.Parent != c.repo) {
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

func getPull(c *call) reply { return ok(c.s.PullFull(c.ctx, c.pull)) }

func editPull(c *call) reply {
	var in pullInput
	if out, good := c.decode(&in); !good {
		return out
	}
	p, s := c.pull, c.s
	if p.Author != c.actor() && !hub.AtLeast(s.Role(c.cred, c.repo), "triage") {
		return refuse(http.StatusForbidden, "Must have write access to the repository or be the author.")
	}
	if in.Base != nil && *in.Base != p.BaseRef && (c.repo.Branch(*in.Base) == "" || p.Closed) {
		return invalid("PullRequest", "base", "invalid", "")
	}
	if in.State != nil && *in.State == "open" && p.Closed {
		if out := c.reopenable(); out.status != 0 {
			return out
		}
	}
	at := s.Tick()
	p.Updated = at
	c.applyEdits(in)
	if in.State != nil && *in.State != p.State() {
		if *in.State == "open" {
			p.Closed, p.ClosedAt, p.ClosedBy = false, time.Time{}, nil
			s.EmitPull(c.ctx, p, "reopened", c.actor(), nil)
		} else {
			p.Closed, p.ClosedAt, p.ClosedBy = true, at, c.actor()
			s.EmitPull(c.ctx, p, "closed", c.actor(), nil)
		}
	}
	return ok(s.PullFull(c.ctx, p))
}

// reopenable refuses what GitHub refuses: merged pulls, and heads that are gone.
func (c *call) reopenable() reply {
	p := c.pull
	if p.Merged || p.HeadRepo == nil || p.HeadRepo.Branch(p.HeadRef) == "" {
		return invalid("PullRequest", "state", "invalid", "state cannot be changed. The branch has been deleted or the pull request was merged.")
	}
	if p.HeadRepo.Branch(p.HeadRef) != p.HeadSHA {
		return invalid("PullRequest", "state", "invalid", "state cannot be changed. The branch was force-pushed or recreated.")
	}
	return reply{}
}

func (c *call) applyEdits(in pullInput) {
	p, changes := c.pull, obj{}
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
		p.BaseRef, p.BaseSHA = *in.Base, c.repo.Branch(*in.Base)
	}
	if len(changes) > 0 {
		c.s.EmitPull(c.ctx, p, "edited", c.actor(), obj{"changes": changes})
	}
}

// commitCap and fileCap are where GitHub's lists of a pull stop.
const (
	commitCap = 250
	fileCap   = 3000
)

func pullCommits(c *call) reply {
	list := c.pull.Commits(c.ctx)
	if len(list) > commitCap {
		list = list[:commitCap]
	}
	return ok(c.s.CommitsJSON(c.repo, paginate(c, list)))
}

func pullFiles(c *call) reply {
	list := c.pull.Patches(c.ctx)
	if len(list) > fileCap {
		list = list[:fileCap]
	}
	return ok(c.s.FilesJSON(c.repo, c.pull.HeadSHA, paginate(c, list)))
}

func isMerged(c *call) reply {
	if c.pull.Merged {
		return noContent()
	}
	return notFound()
}

func mergePull(c *call) reply {
	var in struct {
		SHA     string `json:"sha"`
		Method  string `json:"merge_method"`
		Title   string `json:"commit_title"`
		Message string `json:"commit_message"`
	}
	if out, good := c.decode(&in); !good {
		return out
	}
	in.Method = cmp.Or(in.Method, "merge")
	if out := c.mergeRefusal(in.SHA, in.Method); out.status != 0 {
		return out
	}
	err := c.s.Merge(c.ctx, c.pull, c.actor(), in.Method, in.Title, in.Message)
	if errors.Is(err, bare.ErrConflict) {
		return refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	} else if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return ok(obj{"sha": c.pull.MergeSHA, "merged": true, "message": "Pull Request successfully merged"})
}

func (c *call) mergeRefusal(sha, method string) reply {
	p := c.pull
	rules := c.repo.Protection[p.BaseRef]
	bypass := !rules.EnforceAdmins && c.s.Role(c.cred, c.repo) == "admin"
	if !slices.Contains([]string{"merge", "squash", "rebase"}, method) {
		return invalid("PullRequest", "merge_method", "invalid", "")
	}
	switch missing := c.s.Missing(c.ctx, p, rules); {
	case p.Closed || p.Draft:
		return refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	case sha != "" && sha != p.HeadSHA:
		return refuse(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	case !c.repo.Methods[method]:
		return refuse(http.StatusMethodNotAllowed, "Merge commits are not allowed on this repository.")
	case rules.MergeQueue && !bypass:
		return refuse(http.StatusMethodNotAllowed, "Changes must be made through the merge queue")
	case len(missing) > 0 && !bypass:
		return refuse(http.StatusMethodNotAllowed, strings.Join(missing, " "))
	case rules.Strict && !bypass && c.repo.Git.Behind(c.ctx, p.HeadSHA, c.repo.Branch(p.BaseRef)) > 0:
		return refuse(http.StatusMethodNotAllowed, "Head branch is out of date. Review and try the merge again.")
	}
	return reply{}
}
