// Package graphql answers the part of GitHub's GraphQL API that lockkeeper
// asks for, by its published schema.
package graphql

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/forgetest/internal/hub"
)

// schemaText is the part of GitHub's GraphQL schema that is answered, in its
// own words and types. A query for anything else is refused by the parser.
const schemaText = `
scalar URI
scalar DateTime
scalar GitObjectID
scalar GitRefname
scalar Base64String
interface Node { id: ID! }
interface Actor { login: String! }
type Query {
  repository(owner: String!, name: String!, followRenames: Boolean = true): Repository
  node(id: ID!): Node
  nodes(ids: [ID!]!): [Node]!
  viewer: User!
}
type User implements Node & Actor { id: ID! databaseId: Int login: String! }
type Bot implements Node & Actor { id: ID! databaseId: Int login: String! }
type Repository implements Node {
  id: ID! databaseId: Int name: String! nameWithOwner: String! isArchived: Boolean!
  pullRequest(number: Int!): PullRequest ref(qualifiedName: String!): Ref
  object(oid: GitObjectID, expression: String): GitObject
}
interface GitObject { oid: GitObjectID! id: ID! }
type Commit implements Node & GitObject {
  id: ID! oid: GitObjectID! message: String! messageHeadline: String! parents(first: Int, after: String): CommitConnection!
  authors(first: Int, after: String): GitActorConnection! author: GitActor committer: GitActor
}
type CommitConnection { totalCount: Int! nodes: [Commit] pageInfo: PageInfo! }
type GitActor { name: String email: String user: User }
type GitActorConnection { totalCount: Int! nodes: [GitActor] pageInfo: PageInfo! }
type PageInfo { hasNextPage: Boolean! endCursor: String }
enum PullRequestReviewDecision { APPROVED CHANGES_REQUESTED REVIEW_REQUIRED }
enum PullRequestState { OPEN CLOSED MERGED }
type PullRequest implements Node {
  id: ID! number: Int! title: String! state: PullRequestState! isDraft: Boolean! merged: Boolean! author: Actor
  headRefOid: GitObjectID! baseRefName: String! reviewDecision: PullRequestReviewDecision baseRef: Ref
  reviewThreads(first: Int, after: String): PullRequestReviewThreadConnection!
  commits(first: Int, after: String): PullRequestCommitConnection!
}
type PullRequestReviewThreadConnection { totalCount: Int! nodes: [PullRequestReviewThread] pageInfo: PageInfo! }
type PullRequestReviewThread { isResolved: Boolean! }
type PullRequestCommit { commit: Commit! }
type PullRequestCommitConnection { totalCount: Int! nodes: [PullRequestCommit] pageInfo: PageInfo! }
type Ref { name: String! target: GitObject refUpdateRule: RefUpdateRule }
type RefUpdateRule {
  requiresConversationResolution: Boolean! requiresSignatures: Boolean! viewerCanPush: Boolean!
  requiredApprovingReviewCount: Int requiredStatusCheckContexts: [String] allowsForcePushes: Boolean!
}
type Mutation {
  markPullRequestReadyForReview(input: MarkPullRequestReadyForReviewInput!): MarkPullRequestReadyForReviewPayload
  convertPullRequestToDraft(input: ConvertPullRequestToDraftInput!): ConvertPullRequestToDraftPayload
  createCommitOnBranch(input: CreateCommitOnBranchInput!): CreateCommitOnBranchPayload
  updateRefs(input: UpdateRefsInput!): UpdateRefsPayload
}
input MarkPullRequestReadyForReviewInput { clientMutationId: String pullRequestId: ID! }
type MarkPullRequestReadyForReviewPayload { clientMutationId: String pullRequest: PullRequest }
input ConvertPullRequestToDraftInput { clientMutationId: String pullRequestId: ID! }
type ConvertPullRequestToDraftPayload { clientMutationId: String pullRequest: PullRequest }
input CreateCommitOnBranchInput {
  branch: CommittableBranch! clientMutationId: String expectedHeadOid: GitObjectID! fileChanges: FileChanges message: CommitMessage!
}
input CommittableBranch { branchName: String id: ID repositoryNameWithOwner: String }
input CommitMessage { body: String headline: String! }
input FileChanges { additions: [FileAddition!] = [] deletions: [FileDeletion!] = [] }
input FileAddition { contents: Base64String! path: String! }
input FileDeletion { path: String! }
type CreateCommitOnBranchPayload { clientMutationId: String commit: Commit ref: Ref }
input UpdateRefsInput { clientMutationId: String refUpdates: [RefUpdate!]! repositoryId: ID! }
input RefUpdate { afterOid: GitObjectID! beforeOid: GitObjectID force: Boolean = false name: GitRefname! }
type UpdateRefsPayload { clientMutationId: String }
`

var published = gqlparser.MustLoadSchema(&ast.Source{Name: "github", Input: schemaText})

// field answers one field with its arguments.
type field func(args map[string]any) (any, error)

// node is one object: its type, and its fields as values or functions.
type node struct {
	kind   string
	fields map[string]any
}

var errNotFound = errors.New("NOT_FOUND")

// refusal is an error with GitHub's type for it.
type refusal struct{ kind, message string }

func (e *refusal) Error() string { return e.message }

// ask is one query being answered, with the hub's lock held.
type ask struct {
	s    *hub.Hub
	ctx  context.Context
	cred *hub.Credential
}

func (c *ask) actor() *hub.Account { return c.cred.Actor }

// Answer runs a query or a mutation for a credential. GraphQL answers
// 200 with its errors inside.
func Answer(ctx context.Context, s *hub.Hub, cred *hub.Credential, query string, vars map[string]any) map[string]any {
	doc, errs := gqlparser.LoadQueryWithRules(published, query, rules.NewDefaultRules())
	if len(errs) > 0 || len(doc.Operations) != 1 {
		return obj{"errors": []any{obj{"message": errs.Error()}}}
	}
	c, op := &ask{s, ctx, cred}, doc.Operations[0]
	vars, err := validator.VariableValues(published, op, vars)
	if err != nil {
		return obj{"errors": []any{obj{"message": err.Error()}}}
	}
	root := c.root()
	if op.Operation == ast.Mutation {
		root = c.mutation()
	}
	run := &runner{vars: vars}
	out := obj{"data": run.object(root, op.SelectionSet, nil)}
	if len(run.errs) > 0 {
		out["errors"] = run.errs
	}
	return out
}

// runner walks a query over the nodes.
type runner struct {
	vars map[string]any
	errs []any
}

func (g *runner) object(n *node, set ast.SelectionSet, path []any) obj {
	out := obj{}
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.InlineFragment:
			if is(n.kind, sel.TypeCondition) {
				for k, v := range g.object(n, sel.SelectionSet, path) {
					out[k] = v
				}
			}
		case *ast.FragmentSpread:
			if is(n.kind, sel.Definition.TypeCondition) {
				for k, v := range g.object(n, sel.Definition.SelectionSet, path) {
					out[k] = v
				}
			}
		case *ast.Field:
			out[sel.Alias] = g.field(n, sel, append(path[:len(path):len(path)], sel.Alias))
		}
	}
	return out
}

// is reports whether a fragment on condition applies to an object type.
func is(kind, condition string) bool {
	if condition == "" || kind == condition {
		return true
	}
	for _, def := range published.GetPossibleTypes(published.Types[condition]) {
		if def.Name == kind {
			return true
		}
	}
	return false
}

func (g *runner) field(n *node, sel *ast.Field, path []any) any {
	if sel.Name == "__typename" {
		return n.kind
	}
	value := n.fields[sel.Name]
	if f, isFunc := value.(field); isFunc {
		var err error
		if value, err = f(sel.ArgumentMap(g.vars)); err != nil {
			kind := "UNPROCESSABLE"
			var known *refusal
			switch {
			case errors.As(err, &known):
				kind = known.kind
			case errors.Is(err, errNotFound):
				kind = "NOT_FOUND"
			}
			g.errs = append(g.errs, obj{"type": kind, "path": path, "message": err.Error()})
			return nil
		}
	}
	switch v := value.(type) {
	case *node:
		if v == nil {
			return nil
		}
		return g.object(v, sel.SelectionSet, path)
	case []*node:
		list := []any{}
		for i, item := range v {
			if item == nil {
				list = append(list, nil)
				continue
			}
			list = append(list, g.object(item, sel.SelectionSet, append(path[:len(path):len(path)], i)))
		}
		return list
	}
	return value
}

func (c *ask) root() *node {
	return &node{"Query", map[string]any{
		"viewer": user(c.actor()),
		"repository": field(func(a map[string]any) (any, error) {
			r := c.s.Repo(a["owner"].(string), a["name"].(string))
			if r == nil || !c.s.Sees(c.cred, r) {
				//lint:ignore ST1005 GitHub's own words
				return nil, fmt.Errorf("%w: Could not resolve to a Repository with the name '%s/%s'.", errNotFound, a["owner"], a["name"])
			}
			return c.repo(r), nil
		}),
		"node": field(func(a map[string]any) (any, error) { return c.byID(a["id"].(string)) }),
		"nodes": field(func(a map[string]any) (any, error) {
			list := []*node{}
			for _, id := range a["ids"].([]any) {
				n, err := c.byID(id.(string))
				if err != nil {
					return nil, err
				}
				list = append(list, n)
			}
			return list, nil
		}),
	}}
}

// byID finds a commit or a pull by its node id.
func (c *ask) byID(id string) (*node, error) {
	kind, rest, _ := strings.Cut(id, "_")
	for _, r := range c.s.SortedRepos() {
		if !c.s.Sees(c.cred, r) {
			continue
		}
		if sha, found := strings.CutPrefix(rest, fmt.Sprintf("%d_", r.ID)); found && kind == "C" {
			if commit, err := r.Git.Commit(c.ctx, sha); err == nil {
				return c.commit(r, commit), nil
			}
		}
		for _, p := range r.Pulls {
			if hub.Node("PR", p.ID) == id {
				return c.pull(p), nil
			}
		}
	}
	return nil, fmt.Errorf("%w: Could not resolve to a node with the global id of '%s'", errNotFound, id)
}

func user(a *hub.Account) *node {
	if a == nil {
		return nil
	}
	kind := "User"
	if a.Kind == "Bot" {
		kind = "Bot"
	}
	return &node{kind, map[string]any{"id": hub.Node("U", a.ID), "databaseId": a.ID, "login": strings.TrimSuffix(a.Login, "[bot]")}}
}

func (c *ask) repo(r *hub.Repo) *node {
	return &node{"Repository", map[string]any{
		"id": hub.Node("R", r.ID), "databaseId": r.ID, "name": r.Name, "nameWithOwner": r.Full(), "isArchived": r.Archived,
		"pullRequest": field(func(a map[string]any) (any, error) {
			n, err := toInt(a["number"])
			if p := r.Pulls[n]; err == nil && p != nil {
				return c.pull(p), nil
			}
			//lint:ignore ST1005 GitHub's own words
			return nil, fmt.Errorf("%w: Could not resolve to a PullRequest with the number of %v.", errNotFound, a["number"])
		}),
		"ref": field(func(a map[string]any) (any, error) {
			name := a["qualifiedName"].(string)
			sha := r.Refs[name]
			if sha == "" {
				return (*node)(nil), nil
			}
			return ref(r, name, sha, nil), nil
		}),
		"object": field(func(a map[string]any) (any, error) {
			rev, _ := a["oid"].(string)
			if rev == "" {
				rev, _ = a["expression"].(string)
			}
			commit, err := r.Git.Commit(c.ctx, rev)
			if err != nil {
				return (*node)(nil), nil
			}
			return c.commit(r, commit), nil
		}),
	}}
}

func toInt(v any) (int, error) {
	var n int
	_, err := fmt.Sscan(fmt.Sprint(v), &n)
	return n, err
}

// connection is a connection, whole in one page up to GitHub's 100.
func connection(kind string, list []*node) field {
	return func(a map[string]any) (any, error) {
		first, err := toInt(a["first"])
		if err != nil {
			//lint:ignore ST1005 GitHub's own words
			return nil, fmt.Errorf("You must provide a `first` or `last` value to properly paginate the %s connection.", kind)
		}
		from, _ := toInt(a["after"])
		to := min(from+min(first, 100), len(list))
		more := to < len(list)
		var cursor any
		if more {
			cursor = strconv.Itoa(to)
		}
		page := &node{"PageInfo", map[string]any{"hasNextPage": more, "endCursor": cursor}}
		return &node{kind + "Connection", map[string]any{"totalCount": len(list), "nodes": list[min(from, len(list)):to], "pageInfo": page}}, nil
	}
}

func (c *ask) pull(p *hub.Pull) *node {
	state := strings.ToUpper(p.State())
	if p.Merged {
		state = "MERGED"
	}
	rules := p.Repo.Protection[p.BaseRef]
	var rule *node
	if !rules.IsZero() && !rules.Ruleset {
		rule = &node{"RefUpdateRule", map[string]any{
			"requiresConversationResolution": false, "requiresSignatures": rules.Signatures, "viewerCanPush": true,
			"requiredApprovingReviewCount": rules.Reviews, "requiredStatusCheckContexts": rules.Checks, "allowsForcePushes": false}}
	}
	var commits []*node
	for _, m := range p.Commits(c.ctx) {
		commits = append(commits, &node{"PullRequestCommit", map[string]any{"commit": c.commit(p.Repo, m)}})
	}
	return &node{"PullRequest", map[string]any{
		"id": hub.Node("PR", p.ID), "number": p.Number, "title": p.Title, "state": state, "isDraft": p.Draft, "merged": p.Merged,
		"author": user(p.Author), "headRefOid": p.HeadSHA, "baseRefName": p.BaseRef, "reviewDecision": hub.OrNil(c.s.Decision(p)),
		"baseRef":       ref(p.Repo, "refs/heads/"+p.BaseRef, p.Repo.Branch(p.BaseRef), rule),
		"reviewThreads": connection("PullRequestReviewThread", nil), "commits": connection("PullRequestCommit", commits),
	}}
}

func ref(r *hub.Repo, name, sha string, rule *node) *node {
	target := &node{"Commit", map[string]any{"id": hub.CommitNode(r, sha), "oid": sha}}
	return &node{"Ref", map[string]any{"name": strings.TrimPrefix(name, "refs/heads/"), "target": target, "refUpdateRule": rule}}
}

var coAuthor = regexp.MustCompile(`(?im)^co-authored-by:\s*(.+)$`)

// commit lists authors as GitHub does: the author, then the trailers'.
func (c *ask) commit(r *hub.Repo, m bare.Commit) *node {
	who := func(p bare.Person) *node {
		return &node{"GitActor", map[string]any{"name": p.Name, "email": p.Email, "user": user(c.s.AccountByEmail(p.Email))}}
	}
	authors := []*node{who(m.Author)}
	seen := map[string]bool{m.Author.Email: true}
	for _, match := range coAuthor.FindAllStringSubmatch(m.Message, -1) {
		addr, err := mail.ParseAddress(strings.TrimSpace(match[1]))
		if err == nil && !seen[addr.Address] {
			seen[addr.Address] = true
			authors = append(authors, who(bare.Person{Name: addr.Name, Email: addr.Address}))
		}
	}
	var parents []*node
	for _, p := range m.Parents {
		parents = append(parents, &node{"Commit", map[string]any{"id": hub.CommitNode(r, p), "oid": p}})
	}
	headline, _, _ := strings.Cut(m.Message, "\n")
	return &node{"Commit", map[string]any{
		"id": hub.CommitNode(r, m.SHA), "oid": m.SHA, "message": m.Message, "messageHeadline": headline, "author": who(m.Author),
		"committer": who(m.Committer), "authors": connection("GitActor", authors), "parents": connection("Commit", parents),
	}}
}

// obj is a JSON object on its way out.
type obj = map[string]any
