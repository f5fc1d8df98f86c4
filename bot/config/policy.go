package config

import (
	"lockkeeper/bot/policy/calendar"
)

// Policy is who has to agree to what: in a repository's file at its top level,
// and in the operator's under `floors`, where it is added to what repositories
// ask for.
type Policy struct {
	// Owners approve changes of policy, targets and CODEOWNERS; default:
	// accounts with admin access.
	Owners *People `yaml:"owners,omitempty" json:"owners,omitempty"`
	// Groups are people under a name that `from` can use.
	Groups map[string]People `yaml:"groups,omitempty" json:"groups,omitempty"`
	// Environments by the names that targets use, or globs of them. An
	// environment whose approvals a repository does not mention asks for one.
	Environments map[string]Environment `yaml:"environments,omitempty" json:"environments,omitempty"`
	// Rules ask for approvals of the changes that they select. All that match
	// have to hold.
	Rules []Rule `yaml:"rules,omitempty" json:"rules,omitempty"`
	// Drift says what is looked for when live objects are compared with what
	// was applied. What the operator lists is added to what repositories do.
	Drift *Watching `yaml:"drift,omitempty" json:"drift,omitempty"`
}

// Watching is how drift is looked for.
type Watching struct {
	// Ignore are differences that are no drift.
	Ignore []Ignore `yaml:"ignore,omitempty" json:"ignore,omitempty"`
	// Humans are field managers behind which people are, beside kubectl and the
	// like: fields that they add are drift.
	Humans []string `yaml:"humans,omitempty" json:"humans,omitempty"`
}

// Ignore drops differences that match each list that is given, and in each list
// at least one entry. Entries are globs, but for fields.
type Ignore struct {
	// Kinds are as Deployment.apps, or Service for the core group.
	Kinds      []string `yaml:"kinds,omitempty" json:"kinds,omitempty"`
	Namespaces []string `yaml:"namespaces,omitempty" json:"namespaces,omitempty"`
	Names      []string `yaml:"names,omitempty" json:"names,omitempty"`
	// Fields are paths such as spec.template.spec.containers[*].image; a path
	// covers what is below it.
	Fields []string `yaml:"fields,omitempty" json:"fields,omitempty"`
}

// Environment is what one environment asks for.
type Environment struct {
	// Approvals that a change needs before it is applied.
	Approvals *Approvals `yaml:"approvals,omitempty" json:"approvals,omitempty"`
	// Separation is the segregation of duties.
	Separation *Separation `yaml:"separation,omitempty" json:"separation,omitempty"`
	// Freeze are times at which nothing is applied.
	Freeze []calendar.Window `yaml:"freeze,omitempty" json:"freeze,omitempty"`
	// Checks must have succeeded on the head.
	Checks []Check `yaml:"checks,omitempty" json:"checks,omitempty"`
	// MinimumAge is how long a plan must have been published.
	MinimumAge Duration `yaml:"minimumAge,omitempty" json:"minimumAge,omitempty"`
	// Soak asks that the pull proved itself elsewhere first.
	Soak *Soak `yaml:"soak,omitempty" json:"soak,omitempty"`
	// Ticket asks for an external change ticket, given with `/ticket`.
	Ticket *Ticket `yaml:"ticket,omitempty" json:"ticket,omitempty"`
	// Override names who may break the glass with `/override`.
	Override *Override `yaml:"override,omitempty" json:"override,omitempty"`
	// Drift is what becomes of drift.
	Drift *Drift `yaml:"drift,omitempty" json:"drift,omitempty"`
	// Rollback is enough, in place of approvals, for a pull that does nothing but
	// go back to what was applied before and was healthy.
	Rollback *Approvals `yaml:"rollback,omitempty" json:"rollback,omitempty"`
}

// Drift is what becomes of drift in an environment.
type Drift struct {
	// Heal is whether what was applied last is put back by itself, through the
	// gate: auto, or ask for only when somebody says /restore; default ask.
	Heal string `yaml:"heal,omitempty" json:"heal,omitempty" jsonschema:"enum=auto,enum=ask"`
	// Silence is how long a drift pull that an approver closed stays closed
	// unless something new is found; default 720h.
	Silence Duration `yaml:"silence,omitempty" json:"silence,omitempty"`
	// From are people of whom one has to approve a drift pull, because nobody
	// knows who made the live change; default: one approval more than otherwise.
	From People `yaml:"from,omitempty" json:"from,omitempty"`
}

// Approvals asks for people who did not contribute to the pull.
type Approvals struct {
	// Required is how many different people must approve; 0 asks for none. It
	// has no default, so that nobody gets 0 by leaving it out.
	Required int `yaml:"required" json:"required" jsonschema:"minimum=0"`
	// From limits whose approval counts; empty: anybody with write access.
	From People `yaml:"from,omitempty" json:"from,omitempty"`
}

// People are accounts, teams, groups of the file, and code owners.
type People struct {
	// Users are logins, or `login#id`: then the account id decides, and a
	// login that was given up and registered again does not match. A bare login
	// counts only with write access to the repository.
	Users []string `yaml:"users,omitempty" json:"users,omitempty"`
	// Teams are `org/slug`.
	Teams []string `yaml:"teams,omitempty" json:"teams,omitempty"`
	// Groups are names of the file's groups.
	Groups []string `yaml:"groups,omitempty" json:"groups,omitempty"`
	// CodeOwners adds, file by file, those whom CODEOWNERS of the base branch
	// names for the changed files.
	CodeOwners bool `yaml:"codeowners,omitempty" json:"codeowners,omitempty"`
}

// Separation is the segregation of duties.
type Separation struct {
	// Contributors are the ways to contribute that keep a person from
	// approving: opener, author, committer, coauthor, pusher, suggester;
	// default all.
	Contributors []string `yaml:"contributors,omitempty" json:"contributors,omitempty" jsonschema:"minItems=1,enum=opener,enum=author,enum=committer,enum=coauthor,enum=pusher,enum=suggester"`
	// ApproverMayApply, if false, keeps who approved from applying; default true.
	ApproverMayApply *bool `yaml:"approverMayApply,omitempty" json:"approverMayApply,omitempty"`
	// ContributorMayApply, if false, keeps contributors from applying; default
	// true.
	ContributorMayApply *bool `yaml:"contributorMayApply,omitempty" json:"contributorMayApply,omitempty"`
	// Signatures asks that the forge verified every commit's; default false.
	Signatures *bool `yaml:"signatures,omitempty" json:"signatures,omitempty"`
	// Unattributable is what happens to commits whose people have no account:
	// block or allow; default block where approvals are asked for.
	Unattributable string `yaml:"unattributable,omitempty" json:"unattributable,omitempty" jsonschema:"enum=block,enum=allow"`
	// Digest lets only `/approve <digest>` count; default false.
	Digest *bool `yaml:"digest,omitempty" json:"digest,omitempty"`
	// KeepOnBaseMerge keeps approvals over a merge of the base branch that
	// leaves all digests as they were; default false.
	KeepOnBaseMerge *bool `yaml:"keepOnBaseMerge,omitempty" json:"keepOnBaseMerge,omitempty"`
	// OutsideCollaborators lets their approvals count; default false: only
	// those named by login#id do.
	OutsideCollaborators *bool `yaml:"outsideCollaborators,omitempty" json:"outsideCollaborators,omitempty"`
}

// Check is a check run or commit status by name.
type Check struct {
	Name string `yaml:"name" json:"name" jsonschema:"minLength=1"`
	// App is the forge's number of the app that has to have written it; 0:
	// anybody.
	App int64 `yaml:"app,omitempty" json:"app,omitempty" jsonschema:"minimum=0"`
	// By is the forge's number of the account that has to have written it, for
	// commit statuses and for forges without apps; 0: anybody.
	By int64 `yaml:"by,omitempty" json:"by,omitempty" jsonschema:"minimum=0"`
}

// Soak asks that the same head was applied in another environment, and has been
// healthy there for a time.
type Soak struct {
	In  string   `yaml:"in" json:"in" jsonschema:"minLength=1"`
	For Duration `yaml:"for" json:"for"`
	// Untouched is what happens to a pull that changes nothing there: deny or
	// allow; default deny.
	Untouched string `yaml:"untouched,omitempty" json:"untouched,omitempty" jsonschema:"enum=deny,enum=allow"`
}

// Ticket asks for an external change ticket.
type Ticket struct {
	// Pattern is a regular expression for the whole ticket, such as CHG[0-9]{7}.
	Pattern string `yaml:"pattern" json:"pattern" jsonschema:"minLength=1"`
	// Window is whether a ticket needs a start and an end: required or optional;
	// default optional.
	Window string `yaml:"window,omitempty" json:"window,omitempty" jsonschema:"enum=required,enum=optional"`
}

// Override is who may break the glass, and how far.
type Override struct {
	By People `yaml:"by" json:"by"`
	// Expires is how long an override lasts, at most 24h.
	Expires Duration `yaml:"expires" json:"expires"`
	// Review is how soon somebody else has to review it.
	Review Duration `yaml:"review" json:"review"`
	// Actions and Targets (globs) limit what it can be used for; default all.
	Actions []string `yaml:"actions,omitempty" json:"actions,omitempty" jsonschema:"enum=create,enum=update,enum=replace,enum=delete,enum=adopt,enum=transfer,enum=takeover"`
	Targets []string `yaml:"targets,omitempty" json:"targets,omitempty"`
}

// Rule asks for approvals of the changes that it selects.
type Rule struct {
	// Name is what people see.
	Name string `yaml:"name" json:"name" jsonschema:"minLength=1"`
	// When selects changes; empty: all.
	When    Selector    `yaml:"when,omitempty" json:"when,omitempty"`
	Require Requirement `yaml:"require" json:"require"`
}

// Selector picks a change that matches each list that is given, and in each list
// at least one entry. Entries are globs, but for actions and fields.
type Selector struct {
	Environments []string `yaml:"environments,omitempty" json:"environments,omitempty"`
	Targets      []string `yaml:"targets,omitempty" json:"targets,omitempty"`
	Clusters     []string `yaml:"clusters,omitempty" json:"clusters,omitempty"`
	Kinds        []string `yaml:"kinds,omitempty" json:"kinds,omitempty"`
	// APIGroups are as in apiVersion, without the version; core is the one
	// without a name.
	APIGroups  []string `yaml:"apiGroups,omitempty" json:"apiGroups,omitempty"`
	Namespaces []string `yaml:"namespaces,omitempty" json:"namespaces,omitempty"`
	Names      []string `yaml:"names,omitempty" json:"names,omitempty"`
	Actions    []string `yaml:"actions,omitempty" json:"actions,omitempty" jsonschema:"enum=create,enum=update,enum=replace,enum=delete,enum=adopt,enum=transfer,enum=takeover"`
	// Fields are paths such as spec.template.spec.containers[*].image.
	Fields []string `yaml:"fields,omitempty" json:"fields,omitempty"`
	// Files are changed files of the pull.
	Files []string `yaml:"files,omitempty" json:"files,omitempty"`
}

// Requirement is what a rule asks for: all that it lists.
type Requirement struct {
	// Approvals is how many different people, out of From, must approve.
	Approvals int    `yaml:"approvals,omitempty" json:"approvals,omitempty" jsonschema:"minimum=1"`
	From      People `yaml:"from,omitempty" json:"from,omitempty"`
	// All have to hold, and of Any one.
	All []Requirement `yaml:"all,omitempty" json:"all,omitempty"`
	Any []Requirement `yaml:"any,omitempty" json:"any,omitempty"`
}

// Empty reports whether the policy says nothing.
func (p Policy) Empty() bool {
	return p.Owners == nil && len(p.Groups) == 0 && len(p.Environments) == 0 && len(p.Rules) == 0 && p.Drift == nil
}

// Empty reports whether nobody is listed.
func (p People) Empty() bool {
	return len(p.Users) == 0 && len(p.Teams) == 0 && len(p.Groups) == 0 && !p.CodeOwners
}
