package hub

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lockkeeper/forge/forgetest/bare"
)

// Account is a user, a bot or an organisation.
type Account struct {
	ID      int64
	Login   string
	Kind    string // User, Bot, Organization
	emails  []string
	Owners  map[int64]bool
	Members map[int64]bool
	Created time.Time
}

func (a *Account) noreply() string {
	return fmt.Sprintf("%d+%s@users.noreply.github.com", a.ID, a.Login)
}

// ownsNoreply goes by the number: addresses outlive a change of the login.
func (a *Account) ownsNoreply(email string) bool {
	return strings.HasPrefix(email, fmt.Sprintf("%d+", a.ID)) && strings.HasSuffix(email, "@users.noreply.github.com")
}

// Email is what the account commits with.
func (a *Account) Email() string {
	if len(a.emails) > 0 {
		return a.emails[0]
	}
	return a.noreply()
}

// Team is a team of an organisation.
type Team struct {
	ID      int64
	Org     *Account
	Slug    string
	parent  *Team
	members map[int64]bool
	Created time.Time
}

// Repo is a repository with all that hangs on it.
type Repo struct {
	ID            int64
	Owner         *Account
	Name          string
	private       bool
	Archived      bool
	DefaultBranch string
	Parent        *Repo // the repository this one was forked from
	grants        map[int64]string
	teamGrants    map[*Team]string
	Protection    map[string]Protection
	Methods       map[string]bool // merge, squash, rebase
	Git           *bare.Repo
	Refs          map[string]string
	Pulls         map[int]*Pull
	Issues        map[int]*Pull
	LastNumber    int
	Comments      map[int64]*Comment
	Checks        []*Check
	Statuses      []*Status
	Activity      []Activity
	Hooks         []*Hook
	created       time.Time
	updated       time.Time
	pushed        time.Time
}

// Full is "owner/name".
func (r *Repo) Full() string { return r.Owner.Login + "/" + r.Name }

// Branch is the tip of a branch, "" without one.
func (r *Repo) Branch(name string) string { return r.Refs["refs/heads/"+name] }

// Pull is a pull request, or an issue when head is nil.
type Pull struct {
	ID, issueID int64
	Number      int
	Repo        *Repo
	Title, Body string
	Author      *Account
	ViaApp      bool
	Draft       bool
	Closed      bool
	Merged      bool
	MergeSHA    string
	MergedBy    *Account
	BaseRef     string
	BaseSHA     string
	HeadRepo    *Repo // nil when the fork was deleted
	HeadOwner   *Account
	HeadRef     string
	HeadSHA     string
	Labels      []string
	Reviews     []*Review
	// Requested and RequestedTeams were asked for a review and owe one.
	Requested      []*Account
	RequestedTeams []*Team
	Created        time.Time
	Updated        time.Time
	ClosedAt       time.Time
	mergeKnown     string // base and head for which mergeable is known
	mergeable      bool
	mergeAsked     string // base and head for which somebody asked
	looked         string // base and head that the two below were read for
	commitsKnown   []bare.Commit
	filesKnown     []bare.FileChange
	IsIssue        bool
	ClosedBy       *Account
	Maintainable   bool
	mergedFrom     string // where the base was before the merge
}

// State is open or closed.
func (p *Pull) State() string {
	if p.Closed {
		return "closed"
	}
	return "open"
}

// Comment is a conversation comment.
type Comment struct {
	ID        int64
	Pull      *Pull
	Author    *Account
	ViaApp    bool
	Body      string
	Created   time.Time
	Updated   time.Time
	Reactions []*Reaction
}

// Reaction is a mark on a comment.
type Reaction struct {
	ID      int64
	User    *Account
	Content string
	Created time.Time
}

// Review is a review, submitted or pending.
type Review struct {
	ID        int64
	Author    *Account
	State     string // APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED, PENDING
	Body      string
	SHA       string
	Submitted time.Time
}

// Check is a check run.
type Check struct {
	ID, Suite        int64
	Name, SHA        string
	Status           string
	Conclusion       string
	ExternalID       string
	Details          string
	Title, Summary   string
	Text             string
	Started, Ended   time.Time
	App              *App
	AnnotationsCount int
}

// Status is a commit status.
type Status struct {
	ID                  int64
	SHA, State, Context string
	Description, Target string
	Creator             *Account
	Created             time.Time
}

// Activity is one push, or what amounts to one.
type Activity struct {
	ID            int64
	Kind          string
	before, after string
	Ref           string
	Actor         *Account
	at            time.Time
}

const zeroSHA = "0000000000000000000000000000000000000000"

// Tick moves the clock and gives the time of one write.
func (s *Hub) Tick() time.Time {
	next := s.Last.Add(time.Second)
	if s.Opt.RealTime {
		if now := time.Now().UTC().Truncate(time.Second); now.After(next) {
			next = now
		}
	}
	s.Last = next
	return next
}

// NextID is a number never given before.
func (s *Hub) NextID() int64 {
	s.LastID++
	return s.LastID
}

// Account finds an account by login, nil without one.
func (s *Hub) Account(login string) *Account {
	return s.Accounts[strings.ToLower(login)]
}

// AccountByID finds an account, nil without one.
func (s *Hub) AccountByID(id int64) *Account {
	for _, a := range s.Accounts {
		if a.ID == id {
			return a
		}
	}
	return nil
}

// AccountByEmail attributes a commit as GitHub does: by the e-mail addresses
// that accounts have verified.
func (s *Hub) AccountByEmail(email string) *Account {
	for _, login := range slices.Sorted(maps.Keys(s.Accounts)) {
		a := s.Accounts[login]
		if email != "" && (slices.Contains(a.emails, email) || a.ownsNoreply(email)) {
			return a
		}
	}
	return nil
}

// Repo finds a repository, nil without one.
func (s *Hub) Repo(owner, name string) *Repo {
	return s.Repos[strings.ToLower(owner+"/"+name)]
}

// SortedRepos are all repositories by id.
func (s *Hub) SortedRepos() []*Repo {
	list := slices.Collect(maps.Values(s.Repos))
	slices.SortFunc(list, func(a, b *Repo) int { return int(a.ID - b.ID) })
	return list
}

// Team finds a team, nil without one.
func (s *Hub) Team(org, slug string) *Team {
	for _, t := range s.Teams {
		if strings.EqualFold(t.Org.Login, org) && t.Slug == slug {
			return t
		}
	}
	return nil
}

// TeamMembers are the members of the team and of the teams below it.
func (s *Hub) TeamMembers(t *Team) []*Account {
	ids := map[int64]bool{}
	for _, other := range s.Teams {
		for up := other; up != nil; up = up.parent {
			if up == t {
				maps.Copy(ids, other.members)
			}
		}
	}
	var list []*Account
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if a := s.AccountByID(id); a != nil {
			list = append(list, a)
		}
	}
	return list
}

var levels = []string{"none", "read", "triage", "write", "maintain", "admin"}

// Permission is an account's strongest role in a repository.
func (s *Hub) Permission(r *Repo, a *Account) string {
	best := 0
	if !r.private {
		best = 1
	}
	raise := func(role string) { best = max(best, slices.Index(levels, role)) }
	if a == nil {
		return levels[best]
	}
	if a == r.Owner || r.Owner.Owners[a.ID] {
		return "admin"
	}
	if r.Owner.Members[a.ID] {
		raise("read")
	}
	raise(r.grants[a.ID])
	for t, role := range r.teamGrants {
		if slices.Contains(s.TeamMembers(t), a) {
			raise(role)
		}
	}
	return levels[best]
}

// AtLeast compares two roles.
func AtLeast(have, want string) bool {
	return slices.Index(levels, have) >= slices.Index(levels, want)
}

// association is GitHub's word for what an author is to a repository.
func (s *Hub) association(r *Repo, a *Account) string {
	switch {
	case a == nil:
		return "NONE"
	case a == r.Owner:
		return "OWNER"
	case r.Owner.Members[a.ID] || r.Owner.Owners[a.ID]:
		return "MEMBER"
	case r.grants[a.ID] != "":
		return "COLLABORATOR"
	}
	for _, p := range r.Pulls {
		if p.Author == a && p.Merged {
			return "CONTRIBUTOR"
		}
	}
	return "NONE"
}

// EmptyTree is the tree of nothing, which Git knows without storing it.
const EmptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// obj is a JSON object on its way out.
type obj = map[string]any
