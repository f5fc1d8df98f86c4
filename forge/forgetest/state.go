package forgetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
)

// account is a user, a bot or an organisation.
type account struct {
	id      int64
	login   string
	kind    string // User, Bot, Organization
	emails  []string
	admin   bool // an organisation's owner: set in owners of the organisation
	owners  map[int64]bool
	members map[int64]bool
	created time.Time
}

func (a *account) noreply() string {
	return fmt.Sprintf("%d+%s@users.noreply.github.com", a.id, a.login)
}

// email is what the account commits with.
func (a *account) email() string {
	if len(a.emails) > 0 {
		return a.emails[0]
	}
	return a.noreply()
}

type team struct {
	id      int64
	org     *account
	slug    string
	parent  *team
	members map[int64]bool
	created time.Time
}

type repo struct {
	id            int64
	owner         *account
	name          string
	private       bool
	archived      bool
	defaultBranch string
	parent        *repo // the repository this one was forked from
	grants        map[int64]string
	teamGrants    map[*team]string
	protection    map[string]Protection
	methods       map[string]bool // merge, squash, rebase
	git           *bare.Repo
	refs          map[string]string
	pulls         map[int]*pull
	issues        map[int]*pull
	lastNumber    int
	comments      map[int64]*comment
	checks        []*check
	statuses      []*status
	activity      []activity
	hooks         []*hook
	created       time.Time
	updated       time.Time
	pushed        time.Time
	webSigned     map[string]bool
}

func (r *repo) full() string { return r.owner.login + "/" + r.name }

func (r *repo) branch(name string) string { return r.refs["refs/heads/"+name] }

// pull is a pull request, or an issue when head is nil.
type pull struct {
	id, issueID  int64
	number       int
	repo         *repo
	title, body  string
	author       *account
	viaApp       bool
	draft        bool
	closed       bool
	merged       bool
	mergeSHA     string
	mergedBy     *account
	baseRef      string
	baseSHA      string
	headRepo     *repo // nil when the fork was deleted
	headOwner    *account
	headRef      string
	headSHA      string
	labels       []string
	reviews      []*review
	requested    []*account
	created      time.Time
	updated      time.Time
	closedAt     time.Time
	mergeKnown   string // base and head for which mergeable is known
	mergeable    bool
	mergeAsked   string // base and head for which somebody asked
	looked       string // base and head that the two below were read for
	commitsKnown []bare.Commit
	filesKnown   []bare.FileChange
	isIssue      bool
	closedBy     *account
	maintainable bool
}

func (p *pull) state() string {
	if p.closed {
		return "closed"
	}
	return "open"
}

type comment struct {
	id        int64
	pull      *pull
	author    *account
	viaApp    bool
	body      string
	created   time.Time
	updated   time.Time
	reactions []*reaction
}

type reaction struct {
	id      int64
	user    *account
	content string
	created time.Time
}

type review struct {
	id        int64
	author    *account
	state     string // APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED, PENDING
	body      string
	sha       string
	submitted time.Time
}

type check struct {
	id, suite        int64
	name, sha        string
	status           string
	conclusion       string
	externalID       string
	details          string
	title, summary   string
	text             string
	hasOutput        bool
	started, ended   time.Time
	app              *App
	annotationsCount int
}

type status struct {
	id                  int64
	sha, state, context string
	description, target string
	creator             *account
	created             time.Time
}

type activity struct {
	id            int64
	kind          string
	before, after string
	ref           string
	actor         *account
	at            time.Time
}

const zeroSHA = "0000000000000000000000000000000000000000"

// tick moves the clock and gives the time of one write.
func (s *Server) tick() time.Time {
	next := s.last.Add(time.Second)
	if s.opt.RealTime {
		if now := time.Now().UTC().Truncate(time.Second); now.After(next) {
			next = now
		}
	}
	s.last = next
	return next
}

func (s *Server) nextID() int64 {
	s.lastID++
	return s.lastID
}

func (s *Server) account(login string) *account {
	return s.accounts[strings.ToLower(login)]
}

func (s *Server) accountByID(id int64) *account {
	for _, a := range s.accounts {
		if a.id == id {
			return a
		}
	}
	return nil
}

// accountByEmail attributes a commit as GitHub does: by the e-mail addresses
// that accounts have verified.
func (s *Server) accountByEmail(email string) *account {
	for _, login := range slices.Sorted(maps.Keys(s.accounts)) {
		a := s.accounts[login]
		if email != "" && (slices.Contains(a.emails, email) || a.noreply() == email) {
			return a
		}
	}
	return nil
}

func (s *Server) repo(owner, name string) *repo {
	return s.repos[strings.ToLower(owner+"/"+name)]
}

func (s *Server) sortedRepos() []*repo {
	list := slices.Collect(maps.Values(s.repos))
	slices.SortFunc(list, func(a, b *repo) int { return int(a.id - b.id) })
	return list
}

func (s *Server) team(org, slug string) *team {
	for _, t := range s.teams {
		if strings.EqualFold(t.org.login, org) && t.slug == slug {
			return t
		}
	}
	return nil
}

// teamMembers are the members of the team and of the teams below it.
func (s *Server) teamMembers(t *team) []*account {
	ids := map[int64]bool{}
	for _, other := range s.teams {
		for up := other; up != nil; up = up.parent {
			if up == t {
				maps.Copy(ids, other.members)
			}
		}
	}
	var list []*account
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if a := s.accountByID(id); a != nil {
			list = append(list, a)
		}
	}
	return list
}

var levels = []string{"none", "read", "triage", "write", "maintain", "admin"}

// permission is an account's strongest role in a repository.
func (s *Server) permission(r *repo, a *account) string {
	best := 0
	if !r.private {
		best = 1
	}
	raise := func(role string) { best = max(best, slices.Index(levels, role)) }
	if a == nil {
		return levels[best]
	}
	if a == r.owner || r.owner.owners[a.id] {
		return "admin"
	}
	if r.owner.members[a.id] {
		raise("read")
	}
	raise(r.grants[a.id])
	for t, role := range r.teamGrants {
		if slices.Contains(s.teamMembers(t), a) {
			raise(role)
		}
	}
	return levels[best]
}

func atLeast(have, want string) bool {
	return slices.Index(levels, have) >= slices.Index(levels, want)
}

// association is GitHub's word for what an author is to a repository.
func (s *Server) association(r *repo, a *account) string {
	switch {
	case a == nil:
		return "NONE"
	case a == r.owner:
		return "OWNER"
	case r.owner.members[a.id] || r.owner.owners[a.id]:
		return "MEMBER"
	case r.grants[a.id] != "":
		return "COLLABORATOR"
	}
	for _, p := range r.pulls {
		if p.author == a && p.merged {
			return "CONTRIBUTOR"
		}
	}
	return "NONE"
}
