package forgetest

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
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
	state := cmpOr(c.query("state"), "open")
	var list []*pull
	for _, p := range c.repo.sortedPulls() {
		label := p.headOwner.login + ":" + p.headRef
		if (state != "all" && p.state() != state) || (c.query("base") != "" && c.query("base") != p.baseRef) ||
			(c.query("head") != "" && c.query("head") != label) {
			continue
		}
		list = append(list, p)
	}
	byUpdate := c.query("sort") == "updated"
	slices.SortStableFunc(list, func(a, b *pull) int {
		if byUpdate {
			return a.updated.Compare(b.updated)
		}
		return a.number - b.number
	})
	if d := c.query("direction"); d == "desc" || (d == "" && (c.query("sort") == "" || c.query("sort") == "created")) {
		slices.Reverse(list)
	}
	out := []any{}
	for _, p := range paginate(c, list) {
		out = append(out, c.s.pullSimple(p))
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
	if in.Base == nil || c.repo.branch(*in.Base) == "" {
		return invalid("PullRequest", "base", "invalid", "")
	}
	headRepo, ref := c.headOf(in)
	if headRepo == nil || headRepo.branch(ref) == "" {
		return invalid("PullRequest", "head", "invalid", "")
	}
	if headRepo == c.repo && !atLeast(c.s.role(c.cred, c.repo), "write") {
		return refuse(http.StatusForbidden, "Resource not accessible by personal access token")
	}
	head, base := headRepo.branch(ref), *in.Base
	for _, p := range c.repo.pulls {
		if !p.closed && p.headRepo == headRepo && p.headRef == ref && p.baseRef == base {
			return invalid("PullRequest", "", "custom", "A pull request already exists for "+headRepo.owner.login+":"+ref+".")
		}
	}
	p := c.s.newPull(c.repo, c.actor(), *in.Title, deref(in.Body))
	p.baseRef, p.headRepo, p.headOwner, p.headRef = base, headRepo, headRepo.owner, ref
	p.draft, p.viaApp = in.Draft, c.viaApp()
	p.maintainable = headRepo != c.repo && (in.MaintainerCanModify == nil || *in.MaintainerCanModify)
	c.s.setHead(c.ctx, p, head)
	if len(p.commits(c.ctx)) == 0 {
		c.repo.lastNumber--
		return invalid("PullRequest", "", "custom", "No commits between "+base+" and "+ref)
	}
	c.repo.pulls[p.number] = p
	c.s.emitPull(c.ctx, p, "opened", c.actor(), nil)
	return created(c.s.pullFull(c.ctx, p))
}

// headOf reads "branch", "owner:branch" and head_repo.
func (c *call) headOf(in pullInput) (*repo, string) {
	owner, ref, cross := strings.Cut(in.Head, ":")
	if !cross {
		return c.repo, in.Head
	}
	if strings.EqualFold(owner, c.repo.owner.login) && in.HeadRepo == "" {
		return c.repo, ref
	}
	r := c.s.repo(owner, cmpOr(in.HeadRepo, c.repo.name))
	if r == nil || (r != c.repo && r.parent != c.repo) {
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

func (s *Server) newPull(r *repo, author *account, title, body string) *pull {
	at := s.tick()
	r.lastNumber++
	return &pull{id: s.nextID(), issueID: s.nextID(), number: r.lastNumber, repo: r, title: title, body: body, author: author, created: at, updated: at}
}

func getPull(c *call) reply { return ok(c.s.pullFull(c.ctx, c.pull)) }

func editPull(c *call) reply {
	var in pullInput
	if out, good := c.decode(&in); !good {
		return out
	}
	p, s := c.pull, c.s
	if p.author != c.actor() && !atLeast(s.role(c.cred, c.repo), "triage") {
		return refuse(http.StatusForbidden, "Must have write access to the repository or be the author.")
	}
	if in.Base != nil && *in.Base != p.baseRef && (c.repo.branch(*in.Base) == "" || p.closed) {
		return invalid("PullRequest", "base", "invalid", "")
	}
	if in.State != nil && *in.State == "open" && p.closed {
		if out := c.reopenable(); out.status != 0 {
			return out
		}
	}
	at := s.tick()
	p.updated = at
	c.applyEdits(in)
	if in.State != nil && *in.State != p.state() {
		if *in.State == "open" {
			p.closed, p.closedAt, p.closedBy = false, time.Time{}, nil
			s.emitPull(c.ctx, p, "reopened", c.actor(), nil)
		} else {
			p.closed, p.closedAt, p.closedBy = true, at, c.actor()
			s.emitPull(c.ctx, p, "closed", c.actor(), nil)
		}
	}
	return ok(s.pullFull(c.ctx, p))
}

// reopenable refuses what GitHub refuses: merged pulls, and heads that are gone.
func (c *call) reopenable() reply {
	p := c.pull
	if p.merged || p.headRepo == nil || p.headRepo.branch(p.headRef) == "" {
		return invalid("PullRequest", "state", "invalid", "state cannot be changed. The branch has been deleted or the pull request was merged.")
	}
	if p.headRepo.branch(p.headRef) != p.headSHA {
		return invalid("PullRequest", "state", "invalid", "state cannot be changed. The branch was force-pushed or recreated.")
	}
	return reply{}
}

func (c *call) applyEdits(in pullInput) {
	p, changes := c.pull, obj{}
	if in.Title != nil && *in.Title != p.title {
		changes["title"] = obj{"from": p.title}
		p.title = *in.Title
	}
	if in.Body != nil && *in.Body != p.body {
		changes["body"] = obj{"from": p.body}
		p.body = *in.Body
	}
	if in.Base != nil && *in.Base != p.baseRef {
		changes["base"] = obj{"ref": obj{"from": p.baseRef}, "sha": obj{"from": p.baseSHA}}
		p.baseRef, p.baseSHA = *in.Base, c.repo.branch(*in.Base)
	}
	if len(changes) > 0 {
		c.s.emitPull(c.ctx, p, "edited", c.actor(), obj{"changes": changes})
	}
}

// commitCap and fileCap are where GitHub's lists of a pull stop.
const (
	commitCap = 250
	fileCap   = 3000
)

func pullCommits(c *call) reply {
	list := c.pull.commits(c.ctx)
	if len(list) > commitCap {
		list = list[:commitCap]
	}
	return ok(c.s.commitsJSON(c.repo, paginate(c, list)))
}

func pullFiles(c *call) reply {
	list := c.pull.patches(c.ctx)
	if len(list) > fileCap {
		list = list[:fileCap]
	}
	return ok(c.s.filesJSON(c.repo, c.pull.headSHA, paginate(c, list)))
}

func isMerged(c *call) reply {
	if c.pull.merged {
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
	in.Method = cmpOr(in.Method, "merge")
	if out := c.mergeRefusal(in.SHA, in.Method); out.status != 0 {
		return out
	}
	err := c.s.merge(c.ctx, c.pull, c.actor(), in.Method, in.Title, in.Message)
	if errors.Is(err, bare.ErrConflict) {
		return refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	} else if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return ok(obj{"sha": c.pull.mergeSHA, "merged": true, "message": "Pull Request successfully merged"})
}

func (c *call) mergeRefusal(sha, method string) reply {
	p := c.pull
	rules := c.repo.protection[p.baseRef]
	bypass := !rules.EnforceAdmins && c.s.role(c.cred, c.repo) == "admin"
	if !slices.Contains([]string{"merge", "squash", "rebase"}, method) {
		return invalid("PullRequest", "merge_method", "invalid", "")
	}
	switch missing := c.s.missing(c.ctx, p, rules); {
	case p.closed || p.draft:
		return refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	case sha != "" && sha != p.headSHA:
		return refuse(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	case !c.repo.methods[method]:
		return refuse(http.StatusMethodNotAllowed, "Merge commits are not allowed on this repository.")
	case rules.MergeQueue && !bypass:
		return refuse(http.StatusMethodNotAllowed, "Changes must be made through the merge queue")
	case len(missing) > 0 && !bypass:
		return refuse(http.StatusMethodNotAllowed, strings.Join(missing, " "))
	case rules.Strict && !bypass && c.repo.git.Behind(c.ctx, p.headSHA, c.repo.branch(p.baseRef)) > 0:
		return refuse(http.StatusMethodNotAllowed, "Head branch is out of date. Review and try the merge again.")
	}
	return reply{}
}
