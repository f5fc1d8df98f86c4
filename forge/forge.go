// Package forge names what every forge (GitHub, GitLab, Gitea) has in common:
// repositories, pulls, comments, reviews, people and teams. It holds nouns and
// one interface; drivers live in sub-packages and keep their SDKs to themselves.
//
// Nothing in this package or below it knows about clusters or policy.
package forge

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RepoRef finds a repository. ID is the forge's immutable number and decides;
// Owner and Name are what the forge called it last and serve URLs and people.
type RepoRef struct {
	ID    int64  `json:"id"`
	Owner string `json:"owner"`
	Name  string `json:"name"`
}

// String is "owner/name".
func (r RepoRef) String() string { return r.Owner + "/" + r.Name }

// Repo is what the forge says of a repository.
type Repo struct {
	RepoRef
	DefaultBranch string
	CloneURL      string // HTTP(S), without credentials
	WebURL        string
	Archived      bool
}

// AccountType tells people from programs.
type AccountType string

// The account types that forges tell apart.
const (
	Person  AccountType = "person"
	Bot     AccountType = "bot"
	Deleted AccountType = "deleted" // GitHub's "ghost": nobody in particular
)

// User is an account. Accounts are compared by ID, never by Login, because a
// login can be given up and registered by somebody else (threat 26). ID 0
// means that the forge could not name an account.
type User struct {
	ID    int64       `json:"id"`
	Login string      `json:"login"`
	Type  AccountType `json:"type"`
}

// Branch is one end of a pull at the moment of reading.
type Branch struct {
	Name   string `json:"name"`
	SHA    string `json:"sha"`
	RepoID int64  `json:"repoId"` // 0 when the fork it came from is gone
}

// PullState is open or closed; a merged pull is closed with Merged set.
type PullState string

// The states of a pull.
const (
	Open   PullState = "open"
	Closed PullState = "closed"
)

// Pull is a pull request (GitLab: merge request) as read from the forge.
type Pull struct {
	Number   int
	Title    string
	Body     string
	WebURL   string
	State    PullState
	Draft    bool
	Merged   bool
	MergeSHA string // commit on the base branch, when Merged
	MergedBy User
	Author   User
	Base     Branch
	Head     Branch
	// Mergeable is nil while the forge is still computing it.
	Mergeable *bool
	// MergeState is the forge's own word for why a merge would be refused
	// (GitHub: clean, dirty, blocked, behind, unstable, draft, unknown).
	MergeState string
	// Requested is who was asked for a review and has not given one since.
	Requested Reviewers
	// ClosedBy is who closed a pull that is closed and not merged; whoever
	// deleted its head branch did. Only what Forge.Pull reads has it.
	ClosedBy  User
	UpdatedAt time.Time
}

// NewPull is a pull to open. Head and Base are branches of the repository.
type NewPull struct {
	Title, Body string
	Head, Base  string
	Draft       bool
}

// PullEdit changes what is not nil; State closes or reopens.
type PullEdit struct {
	Title, Body *string
	State       *PullState
}

// FileMode is how Git keeps a file.
type FileMode string

// The modes of files that can be committed.
const (
	RegularFile  FileMode = "100644"
	Executable   FileMode = "100755"
	SymbolicLink FileMode = "120000"
)

// FileEdit is what becomes of a file: a new content, or its deletion. Mode is
// that of the file afterwards, whatever it was before; "" is RegularFile. The
// content of a link is where it points.
type FileEdit struct {
	Content []byte
	Delete  bool
	Mode    FileMode
}

// NewCommit is a commit to put on a branch. With Parent the branch must be
// there; without it the branch is made, and grows out of Base.
type NewCommit struct {
	Branch  string
	Parent  string // SHA
	Base    string // SHA
	Message string
	Edits   map[string]FileEdit // by path; at least one
	// Tree is the SHA of the tree that the commit will have, where the caller
	// knows it. By it a commit whose answer was lost is recognised.
	Tree string
}

// Reviewers are people and teams asked for a review.
type Reviewers struct {
	Users []User
	Teams []Team
}

// Fork reports whether the head lives in another repository than the base.
func (p Pull) Fork() bool { return p.Head.RepoID != p.Base.RepoID }

// Commit is one commit of base..head with the accounts the forge attributes
// it to. Author or Committer with ID 0 could not be attributed.
type Commit struct {
	SHA         string
	Parents     []string
	Subject     string
	Author      User
	Committer   User
	CoAuthors   []User
	AuthorEmail string
	Verified    bool // the forge verified its signature
}

// Comment is a conversation comment. Times are the forge's clock.
type Comment struct {
	ID        int64
	Author    User
	Body      string
	URL       string
	CreatedAt time.Time
	UpdatedAt time.Time
	// Outside is true when the forge calls the author an outside collaborator:
	// invited to this repository without belonging to the organisation that
	// owns it. It is what the author is now, not what they were then. Nobody
	// is outside in a repository that a person owns.
	Outside bool
}

// Edited reports whether the body changed after the comment was made.
func (c Comment) Edited() bool { return c.UpdatedAt.After(c.CreatedAt) }

// ReviewState is what a review says.
type ReviewState string

// The review states that matter to a gate.
const (
	Approved         ReviewState = "approved"
	ChangesRequested ReviewState = "changes_requested"
	Commented        ReviewState = "commented"
	Dismissed        ReviewState = "dismissed"
)

// Review is one submitted review. CommitSHA is the head it was made on.
type Review struct {
	ID          int64
	Author      User
	State       ReviewState
	Body        string
	CommitSHA   string
	URL         string
	SubmittedAt time.Time
	Outside     bool // as in Comment
}

// Permission is what an account may do in a repository, least first.
type Permission int

// The permissions in rising order.
const (
	None Permission = iota
	Read
	Write
	Admin
)

// Reaction is one of the small marks a forge can put on a comment.
type Reaction string

// The reactions the bot uses.
const (
	Eyes     Reaction = "eyes"     // seen, working
	Rocket   Reaction = "rocket"   // done
	Confused Reaction = "confused" // refused or not understood
)

// CheckState is where a check run (or commit status) stands.
type CheckState string

// The states of a check. ActionRequired maps to failure where a forge lacks
// it. Neutral and Skipped are only read, never written by us: forges let them
// pass, though nothing was shown to work. Every other way not to succeed
// (cancelled, timed out, stale) is Failure.
const (
	Pending        CheckState = "pending"
	Success        CheckState = "success"
	Failure        CheckState = "failure"
	ActionRequired CheckState = "action_required"
	Neutral        CheckState = "neutral"
	Skipped        CheckState = "skipped"
)

// Check is the bot's verdict on one commit. Name identifies it: writing a
// check again under the same name and SHA replaces what was there. ID is the
// forge's number of a check written before, 0 for a first one.
type Check struct {
	ID         int64
	Name       string
	SHA        string
	State      CheckState
	Title      string // one line
	Summary    string // Markdown
	DetailsURL string
}

// CheckResult is what some system says of a commit, as a check run or as a
// commit status.
type CheckResult struct {
	Name  string
	State CheckState
	// AppID and AppSlug name the App that wrote it, by the forge's word; 0 and
	// "" where it was no App. Everybody who may write to the repository can
	// write a status under any name, and every App a check run (threat 25):
	// whoever cares who said so compares AppID or By.ID.
	AppID   int64
	AppSlug string
	// By is the account that wrote it: an App's bot, or the person or machine
	// user behind a token. ID is 0 where the forge does not tell (GitHub: check
	// runs, which name their App instead).
	By  User
	URL string // details, for people
}

// PushKind is how a branch came to point elsewhere.
type PushKind string

// The kinds of a push. The merges are the forge's own: of a pull, and of a
// merge queue's group.
const (
	PlainPush       PushKind = "push"
	ForcePush       PushKind = "force_push"
	PullMerge       PushKind = "pr_merge"
	MergeQueueMerge PushKind = "merge_queue_merge"
	BranchCreation  PushKind = "branch_creation"
	BranchDeletion  PushKind = "branch_deletion"
)

// BranchPush is one change of where a branch points. Before is empty for a
// branch that was created, After for one that was deleted.
type BranchPush struct {
	Before, After string
	By            User // who pushed, or asked for the merge
	At            time.Time
	Kind          PushKind
}

// Issue is an issue that our own account opened.
type Issue struct {
	Number    int
	Title     string
	Body      string
	WebURL    string
	State     PullState
	Author    User
	CreatedAt time.Time
	UpdatedAt time.Time
}

// IssueEdit changes an issue: Body where it is not nil, and Close closes it.
type IssueEdit struct {
	Body  *string
	Close bool
}

// MergeMethod is how the forge should merge.
type MergeMethod string

// The merge methods. MethodMerge makes a merge commit.
const (
	MethodMerge  MergeMethod = "merge"
	MethodSquash MergeMethod = "squash"
	MethodRebase MergeMethod = "rebase"
)

// Team names a group of people: an organisation's team, or a (sub)group.
type Team struct {
	Org  string `json:"org"`
	Slug string `json:"slug"`
}

// String is "org/slug".
func (t Team) String() string { return t.Org + "/" + t.Slug }

// ParseTeam splits "org/slug"; the organisation is all but the last part, since
// groups of GitLab nest.
func ParseTeam(name string) (Team, bool) {
	at := strings.LastIndexByte(name, '/')
	if at < 0 {
		return Team{}, false
	}
	t := Team{Org: name[:at], Slug: name[at+1:]}
	return t, t.Slug != "" && !slices.Contains(strings.Split(t.Org, "/"), "")
}

// Limits are the differences between forges, as data.
type Limits struct {
	Comment   int  // longest comment body, in characters
	Summary   int  // longest check summary, in characters
	HasChecks bool // check runs with a summary, rather than commit statuses
	// Reserved are words that the forge takes for itself when a line of a comment
	// begins with a slash and one of them: it carries them out and removes the
	// line (GitLab's quick actions). Only those that are commands of ours count.
	Reserved []string
	// PullSign stands before the number of a pull where people refer to it: "#",
	// which "" is too, or "!" on GitLab, where "#" is for issues.
	PullSign string
}

// PullName is what people call a pull, such as "#7".
func (l Limits) PullName(number int) string {
	return cmp.Or(l.PullSign, "#") + strconv.Itoa(number)
}

// Forge is what the bot needs of a forge. Implementations are safe for
// concurrent use, return errors that Code understands, and never put a
// credential into an error. Lists are complete (all pages) or an error.
type Forge interface {
	// Kind is "github", "gitlab" or "gitea".
	Kind() string
	Limits() Limits
	// Self is the account the bot acts as.
	Self(ctx context.Context) (User, error)
	// Repo reads a repository by ID where the forge can, else by name.
	Repo(ctx context.Context, ref RepoRef) (Repo, error)
	// GitAuth is the value of an HTTP Authorization header for fetching from
	// (and pushing to) the repository; "" for anonymous access.
	GitAuth(ctx context.Context, ref RepoRef) (string, error)

	// OpenPulls lists open pulls, newest first.
	OpenPulls(ctx context.Context, ref RepoRef) ([]Pull, error)
	Pull(ctx context.Context, ref RepoRef, number int) (Pull, error)
	// PullsOf lists the pulls, open and closed, whose head is a branch of this
	// repository, newest first.
	PullsOf(ctx context.Context, ref RepoRef, branch string) ([]Pull, error)
	// CreatePull opens a pull. Conflict tells that one is open for that head and
	// base already, Invalid that a branch is unknown or that nothing differs.
	// After a lost answer PullsOf tells whether it was opened.
	CreatePull(ctx context.Context, ref RepoRef, p NewPull) (Pull, error)
	// UpdatePull edits, closes or reopens a pull; again is harmless. Invalid
	// tells that it cannot be reopened: it was merged, or its branch is gone or
	// was rewritten since.
	UpdatePull(ctx context.Context, ref RepoRef, number int, e PullEdit) (Pull, error)
	// Commit puts a commit of our own account on a branch, through the forge's
	// API and signed by the forge where it signs, and returns its SHA. Conflict
	// tells that the branch is not at Parent, or without Parent that it exists
	// and is not at Base: the caller reads where it is, and decides anew. After a
	// lost answer the caller asks again with the same NewCommit: if the commit was
	// made, its SHA is returned where Tree tells it, else that is a Conflict too.
	// A new branch may be left behind at Base by a call that failed.
	Commit(ctx context.Context, ref RepoRef, c NewCommit) (string, error)
	// DeleteBranch deletes a branch that is at sha; one that is gone already is
	// no error, one that moved is a Conflict.
	DeleteBranch(ctx context.Context, ref RepoRef, branch, sha string) error
	// Commits lists base..head, oldest first, complete beyond the forge's own
	// truncation of pull commit lists.
	Commits(ctx context.Context, ref RepoRef, p Pull) ([]Commit, error)
	// Pushes lists what moved the head branch since its creation, newest first;
	// ok is false where the forge does not tell all of it.
	Pushes(ctx context.Context, ref RepoRef, p Pull) (pushes []BranchPush, ok bool, err error)
	Comments(ctx context.Context, ref RepoRef, number int) ([]Comment, error)
	Reviews(ctx context.Context, ref RepoRef, number int) ([]Review, error)

	CreateComment(ctx context.Context, ref RepoRef, number int, body string) (Comment, error)
	// A comment is found by its pull and its ID; forges whose IDs suffice do not
	// look at the pull.
	UpdateComment(ctx context.Context, ref RepoRef, number int, id int64, body string) (Comment, error)
	DeleteComment(ctx context.Context, ref RepoRef, number int, id int64) error
	React(ctx context.Context, ref RepoRef, number int, commentID int64, r Reaction) error
	// RequestReview asks people and teams for a review; asking again whom
	// Pull.Requested names already changes nothing. A forge refuses the whole
	// request (Invalid) when it names the pull's author or somebody who cannot
	// read the repository.
	RequestReview(ctx context.Context, ref RepoRef, number int, users []User, teams []Team) error
	// SetCheck writes the check and returns its ID.
	SetCheck(ctx context.Context, ref RepoRef, c Check) (int64, error)
	// Checks lists the latest result of every check on a commit, by name and
	// writer, ours included. Several of one name may stand side by side.
	Checks(ctx context.Context, ref RepoRef, sha string) ([]CheckResult, error)

	// CreateIssue opens an issue in the repository.
	CreateIssue(ctx context.Context, ref RepoRef, title, body string) (Issue, error)
	UpdateIssue(ctx context.Context, ref RepoRef, number int, e IssueEdit) (Issue, error)
	// Issues lists the open issues that our account opened, pulls left out.
	Issues(ctx context.Context, ref RepoRef) ([]Issue, error)

	// CommitPulls lists the pulls that brought a commit into the repository, or
	// that hold it while it is in no branch they were merged into. An unknown
	// commit is an error. MergedBy and Mergeable are only in what Pull reads.
	CommitPulls(ctx context.Context, ref RepoRef, sha string) ([]Pull, error)
	// BranchPushes lists what moved a branch at or after since, newest first;
	// ok is false where the forge does not tell.
	BranchPushes(ctx context.Context, ref RepoRef, branch string, since time.Time) (pushes []BranchPush, ok bool, err error)

	// MergeBlockers lists, in plain words, what besides the check named own
	// keeps the forge from merging the pull now; empty means nothing does.
	MergeBlockers(ctx context.Context, ref RepoRef, p Pull, own string) ([]string, error)
	// Merge merges the pull if its head is still headSHA and returns the
	// commit on the base branch. ErrConflict tells that it no longer is.
	Merge(ctx context.Context, ref RepoRef, number int, headSHA string, m MergeMethod) (string, error)

	// FailedDeliveries lists webhooks, of all repositories, that were sent at or
	// after since and that no attempt brought to us, newest first. ok is false
	// where the forge does not tell. Only the newest few thousand are looked at.
	FailedDeliveries(ctx context.Context, since time.Time) (failed []Delivery, ok bool, err error)
	// Redeliver asks for another attempt of a delivery, by the ID of any of its
	// attempts. It comes under the same GUID.
	Redeliver(ctx context.Context, id int64) error

	// Permission of an account, by ID; login only serves the API's URL and a
	// mismatch of the two is None.
	Permission(ctx context.Context, ref RepoRef, u User) (Permission, error)
	// TeamMembers lists a team's members, child teams included.
	TeamMembers(ctx context.Context, ref RepoRef, t Team) ([]User, error)
}

// Delivery is a webhook that the forge sent, or tried to.
type Delivery struct {
	ID       int64  // of the newest attempt
	GUID     string // of the delivery, the same for every attempt
	Event    string // the forge's name of the event
	RepoID   int64  // 0 when the event concerns none
	Attempts int    // how many were seen
	At       time.Time
	// Status is the HTTP status that the newest attempt was answered with, 0 when
	// it was not answered.
	Status int
}

// Event is what a webhook delivery amounts to: a hint to look again.
type Event struct {
	Delivery string // the forge's unique id of the delivery
	Type     string // the forge's name of the event, for logs
	Repo     RepoRef
	// Pull is the pull to reconcile, 0 when the event concerns none.
	Pull int
	// Branch is set for pushes to a branch (without refs/heads/), and for
	// merge-queue groups.
	Branch string
	// HeadSHA is set for merge-queue groups: the commit that wants our check.
	HeadSHA string
	// Commit is set when a check or status on a commit changed and the event
	// does not name one pull: open pulls with this head want a look.
	Commit string
	// Sender is the account that caused the event, 0 if the forge does not say.
	Sender int64
	// Installation is set when repositories may be reached or found in another way
	// than before: they were added, removed, renamed, archived; the App suspended.
	Installation bool
}
